"""A trained run, ready to make videos: canvases in, pictures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from model.canvas import Canvas, make_job, to_pictures
from model.codec.base import Codec
from model.sample import SampleConfig, draw_samples
from model.tokens import Shape
from model.video_model import VideoModel


@dataclass(frozen=True)
class Studio:
    """Model and codec that belong together. `load_studio` makes one from a run folder."""

    model: VideoModel
    codec: Codec
    config: SampleConfig
    provenance: dict[str, Any]
    """What made the weights: run, step, fingerprints; stored beside every sample."""
    usual: dict[str, float] = field(default_factory=lambda: {"frames": 17, "height": 64, "width": 64, "fps": 8.0})
    """Length, size and rate of the footage that it was trained on, for requests that do not say."""
    negative: str | None = None
    """What everything that is made leads away from, unless a canvas says otherwise."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Wished curation scores of everything that is made; those of a canvas go before them."""

    @property
    def patch(self) -> Shape:
        return self.model.dit.config.patch

    def draw(self, canvases: Sequence[Canvas]) -> list[np.ndarray]:
        """Pictures uint8 `[frames, height, width, 3]` of each canvas. All are computed together, of whatever sizes."""
        canvases = [
            replace(canvas, negative=canvas.negative or self.negative, scores={**self.scores, **canvas.scores})
            for canvas in canvases
        ]
        jobs = [make_job(canvas, self.codec, self.patch) for canvas in canvases]
        samples = draw_samples(self.model, jobs, self.config)
        return [
            to_pictures(tokens, canvas, self.codec, self.patch)
            for tokens, canvas in zip(samples, canvases, strict=True)
        ]
