"""A CLIP of open_clip that compares clips with captions for the alignment gate: `clip:ViT-B-32#WEIGHTS`.

It writes nothing. A long caption is compared sentence by sentence: CLIP reads 77 tokens and silently drops the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captioner.base import Captioner, CaptionRequest, CaptionResult, Clip, Identity
from captioner.weights import hash_file
from curate.blend import split_sentences
from curate.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """Where a CLIP runs."""

    device: str | None = None
    """For example cuda, cuda:1 or cpu; None takes a GPU when there is one."""


def identify(spec: str, config: ClipConfig) -> Identity:
    """Who a CLIP is, without loading it."""
    import open_clip

    name, _, weights = spec.partition("#")
    if name not in open_clip.list_models():
        raise UsageError(f"clip:{spec}: open_clip has no model {name}; python -m open_clip.list names them")
    if not weights:
        raise UsageError(f"clip:{spec}: name its weights, a file or a tag, for example clip:{name}#laion2b_s34b_b79k")
    revision = hash_file(Path(weights))[:16] if Path(weights).is_file() else weights
    return Identity(id=f"clip:{name}", revision=revision, kinds=frozenset(), follows_prompt=False)


class ClipScorer(Captioner):
    """A CLIP that stays loaded."""

    def __init__(self, spec: str, config: ClipConfig, identity: Identity | None = None) -> None:
        import open_clip
        import torch

        self.identity = identity or identify(spec, config)
        name, _, weights = spec.partition("#")
        self._device = config.device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            model = open_clip.create_model(name, pretrained=weights, device=self._device)
        except (RuntimeError, OSError) as error:
            raise UsageError(f"clip:{spec}: these weights cannot be loaded: {error}") from None
        self._model: Any = model.eval()
        self._tokenizer = open_clip.get_tokenizer(name)
        self._picture = open_clip.get_model_preprocess_cfg(model)
        self._lock = threading.Lock()

    def caption(self, clips: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        """It writes nothing: every clip fails."""
        error = f"{self.identity.id} compares clips with captions and writes none"
        return [CaptionResult(clip_id=clip.clip_id, error_kind="captioner", error=error) for clip in clips]

    def score(self, clips: Sequence[Clip], texts: Sequence[str]) -> np.ndarray:
        """Cosine of the mean over a clip's frames with each sentence, mean over the sentences of a text."""
        import torch

        sentences = [split_sentences(text) or [text] for text in texts]
        owners = np.repeat(np.arange(len(texts)), [len(parts) for parts in sentences])
        with self._lock, torch.no_grad():
            looks = torch.cat([self._look(clips[start : start + 8]) for start in range(0, len(clips), 8)])
            said = self._read([sentence for parts in sentences for sentence in parts])
        cosines = (looks @ said.T).cpu().numpy()
        shares = (owners[:, None] == np.arange(len(texts))) / np.bincount(owners, minlength=len(texts))
        return (cosines @ shares).astype(np.float32)

    def close(self) -> None:
        """Free the memory of the model."""
        self._model = None

    def _look(self, clips: Sequence[Clip]) -> Tensor:
        """Unit vectors `[clips, E]`."""
        import torch

        from captioner.frames import FrameConfig, fit_frames, normalise

        size = self._picture["size"]
        size_px = size if isinstance(size, int) else size[0]
        mean, std = tuple(self._picture["mean"]), tuple(self._picture["std"])
        vectors = []
        for clip in clips:
            config = FrameConfig(num_frames=len(clip.frames), size_px=size_px, fit="crop", mean=mean, std=std)
            frames = torch.from_numpy(fit_frames(clip.frames, config)).to(self._device)
            vectors.append(self._model.encode_image(normalise(frames[None], config)[0], normalize=True).mean(0))
        return torch.nn.functional.normalize(torch.stack(vectors), dim=-1)

    def _read(self, sentences: Sequence[str]) -> Tensor:
        """Unit vectors `[sentences, E]`."""
        import torch

        parts = [sentences[start : start + _BATCH] for start in range(0, len(sentences), _BATCH)]
        tokens = [self._tokenizer(list(part)).to(self._device) for part in parts]
        return torch.cat([self._model.encode_text(part, normalize=True) for part in tokens])
