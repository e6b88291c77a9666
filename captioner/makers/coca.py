"""Captions by our own VideoCoCa: `coca:FOLDER`, `coca:included` for the tiny one that comes with the package, or
`coca:coca_ViT-L-14#WEIGHTS` for a CoCa of open_clip.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from captioner.base import Captioner, CaptionRequest, CaptionResult, Clip, Decode, Identity
from captioner.bundled import BUNDLED
from captioner.makers.batches import Batches
from captioner.weights import hash_file, hash_folder
from curate.errors import UsageError

if TYPE_CHECKING:
    from captioner.video_coca import VideoCoCa

_FILES = ("config.json", "generation_config.json", "tokenizer.json", "*.safetensors")  # reports may lie beside them
_GREEDY = Decode(temperature=0.0, repetition_penalty=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CocaConfig:
    """Where and how a VideoCoCa runs."""

    batch_size: int = 32
    """Clips at a time; halved when memory runs out."""
    device: str | None = None
    """For example cuda, cuda:1 or cpu; None takes a GPU when there is one."""


def identify(spec: str, config: CocaConfig) -> Identity:
    """Who a VideoCoCa is, without loading its weights."""
    name, _, weights = spec.partition("#")
    if weights:
        revision = hash_file(Path(weights))[:16] if Path(weights).is_file() else weights
        return _identity(name, revision, ["short"])
    folder = _folder(name)
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"coca:{spec}: no trained captioner in that folder; train one with `reelwright captioner train`, or name a "
            "CoCa of open_clip with its weights, for example coca:coca_ViT-L-14#mscoco_finetuned_laion2B-s13B-b90k"
        )
    kinds = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("kinds")
    return _identity(folder.resolve().name, hash_folder(folder, _FILES), kinds or ["short", "medium", "descriptive"])


def _identity(name: str, revision: str, kinds: Sequence[str]) -> Identity:
    return Identity(
        id=f"coca:{name}",
        revision=revision,
        kinds=frozenset(kinds),
        decode=_GREEDY,
        follows_prompt=False,
        wants_gpu=True,
    )


class CocaCaptioner(Captioner):
    """A VideoCoCa that stays loaded; it can also compare clips with texts."""

    def __init__(self, spec: str, config: CocaConfig, identity: Identity | None = None) -> None:
        import torch

        self.identity = identity or identify(spec, config)
        device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._model: VideoCoCa = _load(spec).to(device)  # type: ignore[arg-type]
        self._batches = Batches(config.batch_size)
        self._lock = threading.Lock()

    def caption(self, clips: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        """Results in order."""
        return self._batches.run(clips, lambda batch: self._write(batch, request))

    def score(self, clips: Sequence[Clip], texts: Sequence[str]) -> np.ndarray | None:
        """Cosine similarities."""
        size = self._batches.size
        with self._lock:
            videos = [self._model.embed_video([clip.frames for clip in part]) for part in _parts(clips, size)]
            words = [self._model.embed_text(part) for part in _parts(texts, size)]
        return np.concatenate(videos) @ np.concatenate(words).T

    def close(self) -> None:
        """Free the memory of the model."""
        del self._model

    def _write(self, batch: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        started = time.perf_counter()
        with self._lock:
            captions = self._model.caption([clip.frames for clip in batch], kind=request.kind, decode=request.decode)
        latency_s = (time.perf_counter() - started) / len(batch)
        return [
            CaptionResult(
                clip_id=clip.clip_id,
                text=caption.text,
                finish_reason=caption.finish_reason,
                output_tokens=len(caption.token_ids),
                mean_logprob=caption.mean_logprob,
                latency_s=latency_s,
            )
            for clip, caption in zip(batch, captions, strict=True)
        ]


def _folder(name: str) -> Path:
    return BUNDLED if name == "included" else Path(name)


def _load(spec: str) -> VideoCoCa:
    from captioner.video_coca import VideoCoCa

    name, _, weights = spec.partition("#")
    if not weights:
        return VideoCoCa.from_pretrained(_folder(name))
    try:
        return VideoCoCa.from_open_clip(name, weights)
    except RuntimeError as error:  # open_clip's word for a name or weights that it does not know
        raise UsageError(f"coca:{spec}: {error}") from None


def _parts(items: Sequence, size: int) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]
