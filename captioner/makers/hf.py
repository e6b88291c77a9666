"""Captions by any image-text or video-text model of transformers: `hf:Qwen/Qwen2.5-VL-7B-Instruct`, `hf:FOLDER`.

Models with a chat template get the prompt and a video (or its frames as pictures, where they know no videos); others,
such as GIT and BLIP, get the pictures alone. Batches are padded on the left, and halved when memory runs out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captioner.base import Captioner, CaptionRequest, CaptionResult, Clip, Decode, Identity
from captioner.makers.batches import Batches
from captioner.weights import hash_folder
from curate.errors import UsageError

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig, ProcessorMixin


@dataclass(frozen=True, slots=True, kw_only=True)
class HfConfig:
    """Where and how a transformers model runs."""

    batch_size: int = 8
    """Clips at a time; halved when memory runs out."""
    device: str | None = None
    """For example cuda, cuda:1 or cpu; None takes a GPU when there is one."""
    dtype: str = "auto"
    """For example bfloat16 or float32; auto is what the weights are stored in."""
    logprobs: bool = False
    """Keep the probabilities of tokens, to fill `mean_logprob`; costs memory."""


def identify(name: str, config: HfConfig) -> Identity:
    """Who a model is, without loading its weights. Raises UsageError when there is no such model."""
    from transformers import AutoConfig

    settings = _load(AutoConfig.from_pretrained, name)
    processor = _load_processor(name)
    chats = bool(getattr(processor, "chat_template", None))
    folder = Path(name)
    revision = hash_folder(folder) if folder.is_dir() else getattr(settings, "_commit_hash", None) or "unknown"
    return Identity(
        id=f"hf:{folder.resolve().name if folder.is_dir() else name}",
        revision=revision,
        kinds=frozenset({"short", "medium", "descriptive", "structured"} if chats else {"short"}),
        decode=Decode() if chats else Decode(temperature=0.0, max_new_tokens=64),
        follows_prompt=chats,
        wants_gpu=True,
    )


class HfCaptioner(Captioner):
    """A transformers model that stays loaded."""

    def __init__(self, name: str, config: HfConfig, identity: Identity | None = None) -> None:
        import torch
        from transformers import AutoModelForImageTextToText
        from transformers.utils import logging

        self.identity = identity or identify(name, config)
        logging.disable_progress_bar()
        device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
        load = AutoModelForImageTextToText.from_pretrained
        self._model: Any = _load(load, name, dtype=config.dtype).to(device).eval()
        self._processor: Any = _load_processor(name)
        self._tokenizer = self._processor.tokenizer
        self._tokenizer.padding_side = "left"  # what is written continues the prompt, not its padding
        self._config = config
        self._batches = Batches(config.batch_size)
        self._lock = threading.Lock()

    def caption(self, clips: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        """Results in batches, in order."""
        return self._batches.run(clips, lambda batch: self._write(batch, request))

    def close(self) -> None:
        """Free the memory of the model."""
        self._model = None

    def _write(self, batch: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        import torch

        inputs = self._inputs(batch, request.prompt.text)
        started = time.perf_counter()
        with self._lock, torch.no_grad(), torch.random.fork_rng(devices=self._generators()):
            torch.manual_seed(request.decode.seed)
            inputs = inputs.to(self._model.device, dtype=self._model.dtype)  # of floating-point tensors only
            out = self._model.generate(**inputs, generation_config=self._generation(request.decode))
            written = self._without_prompt(out.sequences, inputs.get("input_ids")).cpu()
            lengths = [self._length(row.tolist()) for row in written]
            logprobs = self._logprobs(out, lengths)
        latency_s = (time.perf_counter() - started) / len(batch)
        padding = inputs.get("attention_mask")
        limit = request.decode.max_new_tokens
        return [
            CaptionResult(
                clip_id=clip.clip_id,
                text=self._tokenizer.decode(row[:length], skip_special_tokens=True).strip(),
                finish_reason="length" if length >= limit and int(row[length - 1]) not in self._ends else "stop",
                prompt_tokens=int(padding[index].sum()) if padding is not None else None,
                output_tokens=length,
                mean_logprob=logprobs[index] if logprobs is not None else None,
                latency_s=latency_s,
            )
            for index, (clip, row, length) in enumerate(zip(batch, written, lengths, strict=True))
        ]

    def _length(self, row: Sequence[int]) -> int:
        """Tokens of a row, the one that ends it included and the padding not."""
        return next((index + 1 for index, token in enumerate(row) if token in self._ends), len(row))

    def _without_prompt(self, sequences: torch.Tensor, prompt: torch.Tensor | None) -> torch.Tensor:
        """What was written: some models repeat the prompt in front of it, or the token that begins all texts."""
        import torch

        if prompt is not None:
            repeated = torch.equal(sequences[:, : prompt.shape[1]], prompt)
            return sequences[:, prompt.shape[1] :] if repeated else sequences
        own = self._model.generation_config
        first = own.bos_token_id if own.decoder_start_token_id is None else own.decoder_start_token_id
        return sequences[:, 1:] if bool((sequences[:, 0] == first).all()) else sequences

    def _inputs(self, batch: Sequence[Clip], prompt: str) -> Any:
        if not getattr(self._processor, "chat_template", None):
            return self._pictures_alone(batch)
        if getattr(self._processor, "video_processor", None) is not None:
            return self._chat_about_videos(batch, prompt)
        content = [[{"type": "image"}] * len(clip.frames) for clip in batch]
        pictures = [list(clip.frames) for clip in batch]
        return self._processor(text=self._chats(content, prompt), images=pictures, padding=True, return_tensors="pt")

    def _chat_about_videos(self, batch: Sequence[Clip], prompt: str) -> Any:
        from transformers.video_utils import VideoMetadata

        metadata = [
            VideoMetadata(
                total_num_frames=len(clip.frames),
                fps=clip.fps,
                width=clip.frames.shape[2],
                height=clip.frames.shape[1],
                duration=len(clip.frames) / clip.fps,
                frames_indices=list(range(len(clip.frames))),
            )
            for clip in batch
        ]
        return self._processor(
            text=self._chats([[{"type": "video"}]] * len(batch), prompt),
            videos=[clip.frames for clip in batch],
            video_metadata=metadata,
            do_sample_frames=False,  # they were chosen already
            padding=True,
            return_tensors="pt",
        )

    def _chats(self, contents: list[list[dict[str, str]]], prompt: str) -> list[str]:
        return [
            self._processor.apply_chat_template(
                [{"role": "user", "content": [*content, {"type": "text", "text": prompt}]}],
                tokenize=False,
                add_generation_prompt=True,
            )
            for content in contents
        ]

    def _pictures_alone(self, batch: Sequence[Clip]) -> Any:
        """GIT for video takes as many pictures as it has time embeddings for; others take the middle one."""
        from captioner.frames import spread_indices

        num_pictures = getattr(self._model.config, "num_image_with_embedding", None)
        pictures = [
            clip.frames[index] for clip in batch for index in spread_indices(len(clip.frames), num_pictures or 1)
        ]
        inputs = self._processor(images=pictures, return_tensors="pt")
        if num_pictures:
            inputs["pixel_values"] = inputs["pixel_values"].unflatten(0, (len(batch), num_pictures))
        return inputs

    def _generation(self, decode: Decode) -> GenerationConfig:
        from transformers import GenerationConfig

        sampled = decode.temperature > 0 and decode.num_beams == 1
        draw = {"temperature": decode.temperature, "top_p": decode.top_p, "top_k": 0} if sampled else {}
        own = self._model.generation_config
        return GenerationConfig(
            bos_token_id=own.bos_token_id,
            eos_token_id=own.eos_token_id,
            pad_token_id=own.pad_token_id if own.pad_token_id is not None else self._tokenizer.pad_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            max_new_tokens=decode.max_new_tokens,
            do_sample=sampled,
            num_beams=decode.num_beams,
            repetition_penalty=float(decode.repetition_penalty),
            no_repeat_ngram_size=decode.no_repeat_ngram,
            return_dict_in_generate=True,
            output_logits=self._config.logprobs and decode.num_beams == 1,
            **draw,
        )

    def _logprobs(self, out: Any, lengths: Sequence[int]) -> list[float] | None:
        """Mean log-probability of each row's tokens up to its end, under the model itself."""
        import torch

        if not getattr(out, "logits", None):
            return None
        logs = torch.stack(out.logits, dim=1).float().log_softmax(-1)  # [B L V]
        tokens = out.sequences[:, -logs.shape[1] :]
        picked = logs.gather(-1, tokens[..., None]).squeeze(-1).cpu().numpy()
        return [float(values[:length].mean()) for values, length in zip(picked, lengths, strict=True)]

    @property
    def _ends(self) -> set[int]:
        ends = self._model.generation_config.eos_token_id
        return set(ends if isinstance(ends, list) else [ends])

    def _generators(self) -> list[torch.device]:
        return [self._model.device] if self._model.device.type == "cuda" else []


def _load(load: Any, name: str, **settings: Any) -> Any:
    try:
        return load(name, **settings)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"hf:{name} is neither a folder with a captioning model nor one that the hub gives us: {reason}"
        ) from None


def _load_processor(name: str) -> ProcessorMixin:
    from transformers import AutoProcessor

    processor = _load(AutoProcessor.from_pretrained, name)
    if not hasattr(processor, "tokenizer"):
        raise UsageError(f"hf:{name} reads pictures but writes no text: its folder has no tokenizer")
    return processor
