"""Captions from a chat server that sees pictures or video: `openai:http://localhost:8000/v1#MODEL`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from captioner.base import Captioner, CaptionRequest, CaptionResult, Clip, Decode, Identity
from captioner.chat import ChatAnswer, ChatClient, ChatConfig, ChatServer, Unanswered, choose_model

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIConfig(ChatConfig):
    """How a chat server is spoken to, and how it is shown clips."""

    send: Literal["frames", "video"] = "frames"
    """JPEG pictures, which every server takes, or an mp4 as `video_url`, which vLLM takes."""
    jpeg_quality: int = 90
    logprobs: bool = False
    """Ask for the probabilities of tokens, to fill `mean_logprob`."""


def identify(spec: str, config: OpenAIConfig) -> Identity:
    """Ask the server which models it has. Raises CaptionerError when it is down, refuses us or lacks the model."""
    model, revision = choose_model(ChatServer.parse(spec), config)
    return Identity(
        id=f"openai:{model}",
        revision=revision,
        settings={"send": config.send, "extra": config.extra},
        kinds=frozenset({"short", "medium", "descriptive", "structured"}),
        decode=Decode(repetition_penalty=1.0, max_new_tokens=512),
    )


class OpenAICaptioner(Captioner):
    """Captions by a chat server."""

    def __init__(self, spec: str, config: OpenAIConfig, identity: Identity | None = None) -> None:
        self.identity = identity or identify(spec, config)
        self._config = config
        model = self.identity.id.removeprefix("openai:")
        self._client = ChatClient(replace(ChatServer.parse(spec), model=model), config)

    def caption(self, clips: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        """One request per clip."""
        answers = self._client.ask_all({clip.clip_id: partial(self._fields, clip, request) for clip in clips})
        return [_result(clip_id, answer) for clip_id, answer in answers.items()]

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _fields(self, clip: Clip, request: CaptionRequest) -> dict[str, Any]:
        decode = request.decode
        fields: dict[str, Any] = {
            "messages": [{"role": "user", "content": content_of(clip, request.prompt.text, self._config)}],
            "max_tokens": decode.max_new_tokens,
            "temperature": decode.temperature,
            "top_p": decode.top_p,
            "seed": decode.seed,
        }
        if decode.repetition_penalty > 1:  # the protocol's own means against repetition: 1.1 -> 0.4
            fields["frequency_penalty"] = round(min(2.0, 4 * (decode.repetition_penalty - 1)), 3)
        if self._config.logprobs:
            fields["logprobs"] = True
        return fields


def content_of(clip: Clip, prompt: str, config: OpenAIConfig) -> list[dict[str, Any]]:
    """The message about a clip: pictures or a video, then what is asked."""
    if config.send == "video":
        return [{"type": "video_url", "video_url": {"url": _data_url("video/mp4", _mp4(clip))}}, _text(prompt)]
    urls = [_data_url("image/jpeg", _jpeg(frame, config.jpeg_quality)) for frame in clip.frames]
    if len(urls) > 1:
        prompt = f"These {len(urls)} pictures are moments of one shot of {clip.duration_s:.1f} s, in order. {prompt}"
    return [*({"type": "image_url", "image_url": {"url": url}} for url in urls), _text(prompt)]


def _result(clip_id: str, answer: ChatAnswer | Unanswered) -> CaptionResult:
    if isinstance(answer, Unanswered):
        return CaptionResult(clip_id=clip_id, error_kind="captioner", error=answer.reason)
    return CaptionResult(
        clip_id=clip_id,
        text=answer.text,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        mean_logprob=answer.mean_logprob,
        latency_s=answer.latency_s,
    )


def _text(prompt: str) -> dict[str, Any]:
    return {"type": "text", "text": prompt}


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _jpeg(frame: np.ndarray, quality: int) -> bytes:
    import cv2

    _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()


def _mp4(clip: Clip) -> bytes:
    from curate.video_write import write_video

    with TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        write_video(path, clip.frames, fps=Fraction(clip.fps).limit_denominator(1000))
        return path.read_bytes()
