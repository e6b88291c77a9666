"""What a sample becomes each time it is trained on: which part, at which time, with which noise, caption and pins.

Every draw comes from (seed, purpose, epoch, sample id) and from nothing else. So neither workers, ranks nor packing
change what is drawn, and a resumed run draws the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from curate.blend import BlendConfig, choose_caption
from curate.counter_random import generator, uniform
from model.conditioning import PinConfig, draw_given
from model.flow import FlowConfig, add_noise
from model.packed import Segment
from model.tokens import Grid, Shape, grid_shape, patchify

if TYPE_CHECKING:
    from model.dataset import Sample


class TrainingData(Protocol):
    """Samples by index, and what packing must know of them without reading any. `model.dataset` offers it."""

    @property
    def sample_ids(self) -> Sequence[str]: ...
    @property
    def latent_shapes(self) -> np.ndarray:
        """Latent frames, rows and columns of each sample, `[len, 3]`."""
        ...

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sample: ...


class MemoryData:
    """`TrainingData` of samples in memory, for small sets and studies."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)
        self.sample_ids = [sample.sample_id for sample in samples]
        self.latent_shapes = np.array([sample.latent.shape[1:] for sample in samples])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleConfig:
    """How samples are varied from epoch to epoch."""

    drop_text: float = 0.1
    """Share without a caption, for guidance."""
    drop_conditions: float = 0.1
    """Share without any condition; and the chance of each condition to be left out by itself."""
    image_share: float = 0.15
    """Share of videos of which only the first frame is used, as an image."""
    window_share: float = 0.1
    """Share of videos without their first slot, so that the model can go on from the middle of a video."""
    captions: BlendConfig = field(default_factory=BlendConfig)
    pins: PinConfig = field(default_factory=PinConfig)

    def __post_init__(self) -> None:
        for name in ("drop_text", "drop_conditions", "image_share", "window_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, from 0 to 1, got {getattr(self, name)}")
        if self.image_share + self.window_share > 1:
            raise ValueError("image_share and window_share together exceed 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Slots of a latent, `[start, stop)`."""

    start: int
    stop: int


class Examples:
    """Turns samples into segments. `patch`, `stride` and `budget` are fixed for a run."""

    def __init__(
        self, config: ExampleConfig, flow: FlowConfig, *, patch: Shape, stride: int, budget: int, seed: int
    ) -> None:
        self.config, self.flow, self.patch, self.stride = config, flow, patch, stride
        self.budget, self.seed = budget, seed

    def window(self, sample_id: str, latent_shape: Shape, epoch: int) -> Window | None:
        """The part of a latent that an epoch uses: all of it, its first slot, or all but that; cut to the budget.

        A prefix of a causal latent is the latent of a shorter video, so what is cut off at the end costs nothing.
        None when not even one token frame fits the budget.
        """
        frames, rows, columns = latent_shape
        per_token_frame = (rows // self.patch[1]) * (columns // self.patch[2])
        most = self.budget // max(per_token_frame, 1) * self.patch[0]
        if min(per_token_frame, most, frames // self.patch[0]) < 1:
            return None
        share = uniform(self.seed, "window", epoch, sample_id)
        start, stop = 0, frames
        if share < self.config.image_share and self.patch[0] == 1:
            stop = 1
        elif share > 1 - self.config.window_share and frames - 1 >= self.patch[0]:
            start = 1
        stop = start + min(stop - start, most) // self.patch[0] * self.patch[0]
        return Window(start=start, stop=stop)

    def exceeds(self, latent_shape: Shape) -> bool:
        """Whether a whole latent has more tokens than the budget."""
        return math.prod(size // part for size, part in zip(latent_shape, self.patch, strict=True)) > self.budget

    def num_tokens(self, sample_id: str, latent_shape: Shape, epoch: int) -> int:
        """Tokens of a sample in an epoch; 0 when it does not fit the budget."""
        window = self.window(sample_id, latent_shape, epoch)
        if window is None:
            return 0
        _, rows, columns = latent_shape
        return (window.stop - window.start) // self.patch[0] * (rows // self.patch[1]) * (columns // self.patch[2])

    def segment(self, sample: Sample, epoch: int) -> Segment:
        """A sample as the model trains on it in an epoch."""
        clean, grid = self.clean_tokens(sample, epoch)
        random = generator(self.seed, "example", epoch, sample.sample_id)
        t = self.flow.draw_time(random, grid.num_tokens)
        given = draw_given(random, grid.shape, self.config.pins)
        noise = torch.from_numpy(random.standard_normal(tuple(clean.shape), dtype=np.float32))
        times, time_index = (torch.from_numpy(values) for values in given.times(t))
        pinned = torch.from_numpy(given.pinned.reshape(-1))
        return Segment(
            x=add_noise(clean, noise, times.float()[time_index, None]),
            grid=grid,
            times=times.float(),
            time_index=time_index,
            pinned=pinned,
            text=self.caption(sample, epoch),
            conditions=self.conditions(sample, epoch),
            target=noise - clean,
            weight=sample.weight * self.flow.segment_weight(int((~pinned).sum())),
            sample_id=sample.sample_id,
        )

    def clean_tokens(self, sample: Sample, epoch: int) -> tuple[Tensor, Grid]:
        """The tokens of the part of a sample that an epoch uses, without noise."""
        window = self.window(sample.sample_id, tuple(sample.latent.shape[1:]), epoch)  # type: ignore[arg-type]
        if window is None:
            raise ValueError(f"sample {sample.sample_id} does not fit a budget of {self.budget} tokens")
        latent = sample.draw(self.seed, epoch)[:, window.start : window.stop].float()
        return to_tokens(latent, patch=self.patch, stride=self.stride, fps=sample.fps, single=window.start == 0)

    def caption(self, sample: Sample, epoch: int) -> str | None:
        if uniform(self.seed, "drop_text", epoch, sample.sample_id) < self.config.drop_text:
            return None
        choice = choose_caption(
            sample.captions, self.config.captions, seed=self.seed, epoch=epoch, sample_id=sample.sample_id
        )
        return choice.text or None

    def conditions(self, sample: Sample, epoch: int) -> dict[str, float]:
        share, key = self.config.drop_conditions, (epoch, sample.sample_id)
        if uniform(self.seed, "drop_conditions", *key) < share:
            return {}
        return {
            name: value
            for name, value in sample_conditions(sample).items()
            if uniform(self.seed, "drop_condition", *key, name) >= share
        }


def to_tokens(latent: Tensor, *, patch: Shape, stride: int, fps: float, single: bool = True) -> tuple[Tensor, Grid]:
    """A latent `[z, t, h, w]` as tokens. Rows and columns beyond the last whole patch are left off, at the end."""
    _, frames, rows, columns = latent.shape
    whole = latent[:, : frames - frames % patch[0], : rows - rows % patch[1], : columns - columns % patch[2]]
    shape = grid_shape(tuple(whole.shape[1:]), patch)  # type: ignore[arg-type]
    return patchify(whole, patch), Grid(shape=shape, fps=fps, stride=stride, slots=patch[0], single=single)


def sample_conditions(sample: Sample) -> dict[str, float]:
    """All that is known about a sample, by the names in `DiTConfig.conditions`."""
    height_px, width_px = sample.native_size
    _, _, crop_height_px, crop_width_px = sample.crop
    crop = crop_height_px * crop_width_px / (height_px * width_px)
    known = picture_conditions(fps=sample.fps, width_px=width_px, height_px=height_px, crop=crop)
    return known | {
        name: float(score) for name, score in sample.scores.items() if score is not None and math.isfinite(score)
    }


def picture_conditions(*, fps: float, width_px: int, height_px: int, crop: float = 1.0) -> dict[str, float]:
    """Conditions that describe the picture itself, as the model is told them: rates and sizes by their logarithm.

    The size is that of the original footage, `crop` the share of it that is shown.
    """
    return {"fps": math.log2(fps), "width": math.log2(width_px), "height": math.log2(height_px), "crop": crop}


def condition_scales(samples: Iterable[Sample], names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Centre and spread of each condition over samples; 0 and 1 for one that is never known or never varies."""
    known = [sample_conditions(sample) for sample in samples]
    centres, scales = [], []
    for name in names:
        values = [conditions[name] for conditions in known if name in conditions]
        spread = float(np.std(values)) if values else 0.0
        centres.append(float(np.mean(values)) if values else 0.0)
        scales.append(spread if spread > 1e-6 else 1.0)
    return centres, scales


def value_deviations(samples: Iterable[Sample], examples: Examples) -> Tensor:
    """How far each value of a token lies from zero, in the mean over samples: root mean squares `[P]`.

    Tokens that are no numbers are passed over.
    """
    tokens = torch.cat([examples.clean_tokens(sample, 0)[0] for sample in samples])
    return tokens[tokens.isfinite().all(dim=1)].square().mean(dim=0).sqrt().clamp(min=1e-3)
