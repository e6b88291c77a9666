"""Frames and captions to learn from: footage drawn as it is needed, or the clips and captions of a dataset.

    source.example("short", 17)    frames as the encoder wants them, and a caption of that kind
    batches(source, stage, ...)    what the training loop iterates over

What a source answers depends on its arguments alone: any number of workers and any restart see the same data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioner.frames import FrameConfig, fit_frames
from captioner.tokenizer import CaptionTokenizer
from captioner.training_config import StageConfig
from curate.counter_random import generator, uniform
from curate.drawn.describe import describe
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shot import Shot, World, facts
from curate.schema import CAPTION_KINDS


@dataclass(frozen=True, slots=True)
class Example:
    frames: np.ndarray
    """uint8 `[N, S, S, 3]`."""
    text: str


class CaptionSource(Protocol):
    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of captions that it has."""

    @property
    def fingerprint(self) -> str:
        """Changes with everything that it answers."""

    def example(self, kind: str, index: int, *, held_out: bool = False) -> Example:
        """The example of that number, from 0 up without end. What is held out never comes up otherwise."""

    def texts(self, kinds: frozenset[str]) -> Iterator[str]:
        """Captions to learn a vocabulary from."""


ASPECTS = ((1, 1), (1, 1), (4, 3), (16, 9), (3, 4))
"""Shapes of drawn frames, width to height."""


class DrawnSource:
    """Footage drawn here: no two examples are alike, and a tenth of the combinations is held out."""

    kinds = frozenset({"alt", "short", "descriptive"})

    def __init__(self, frames: FrameConfig, *, world: World | None = None, seed: int = 0) -> None:
        self.frames, self.world, self.seed = frames, world or World(), seed

    @property
    def fingerprint(self) -> str:
        return f"drawn:{self.seed}"

    def shot(self, index: int, *, held_out: bool = False) -> Shot:
        """The shot that all captions of that number are about."""
        return sample_shot(generator(self.seed, "shot", index, int(held_out)), self.world, held_out=held_out)

    def truth(self, index: int, *, held_out: bool = False) -> dict[str, str | None]:
        """Its facts."""
        return facts(self.shot(index, held_out=held_out))

    def example(self, kind: str, index: int, *, held_out: bool = False) -> Example:
        shot = self.shot(index, held_out=held_out)
        return Example(self._draw(shot, index, held_out), describe(shot, kind, seed=index))  # type: ignore[arg-type]

    def pair(self, index: int) -> tuple[str, str]:
        """A short and a descriptive caption of a shot."""
        shot = self.shot(index)
        return describe(shot, "short", seed=index), describe(shot, "descriptive", seed=index)

    def texts(self, kinds: frozenset[str], num_shots: int = 1500) -> Iterator[str]:
        for index in range(num_shots):
            shot = self.shot(index)
            for kind in sorted(kinds):
                yield describe(shot, kind, seed=index)  # type: ignore[arg-type]

    def _draw(self, shot: Shot, index: int, held_out: bool) -> np.ndarray:
        rng = generator(self.seed, "look", index, int(held_out))
        wide, tall = ASPECTS[int(rng.integers(len(ASPECTS)))]
        short = self.frames.size_px
        size = (max(short, round(short * wide / tall)), max(short, round(short * tall / wide)))
        fps, grain = self.frames.num_frames / shot.duration_s, float(rng.uniform(0, 4))
        drawn = render_shot(shot, *size, fps, self.frames.num_frames, seed=index, grain=grain)
        return fit_frames(drawn, self.frames)


@dataclass(frozen=True, slots=True)
class Batch:
    frames: Tensor
    """uint8 `[B, N, S, S, 3]`."""
    ids: Tensor
    """`[B, L]`, padded."""
    kinds: Tensor
    """`[B]`, positions in CAPTION_KINDS."""


class _StageExamples(Dataset):
    """The endless row of examples of a stage, by number."""

    def __init__(self, source: CaptionSource, name: str, stage: StageConfig, *, first: int, seed: int) -> None:
        self.source, self.name, self.first, self.seed = source, name, first, seed
        self.kinds, shares = zip(*stage.mix.items(), strict=True)
        self.limits = np.cumsum(shares) / sum(shares)

    def __getitem__(self, index: int) -> tuple[Example, str]:
        draw = uniform(self.seed, "kind", self.name, index)
        kind = self.kinds[int(np.searchsorted(self.limits, draw, side="right"))]
        return self.source.example(kind, self.first + index), kind


def batches(
    source: CaptionSource,
    tokenizer: CaptionTokenizer,
    name: str,
    stage: StageConfig,
    *,
    context: int,
    first: int,
    seed: int,
    start_step: int = 0,
    rank: int = 0,
    world_size: int = 1,
    workers: int = 0,
) -> Iterator[Batch]:
    """The batches of a stage from `start_step` on: of each, every `world_size`th example, beginning with `rank`.

    `first` is the number of the stage's first example, so that stages do not repeat each other's.
    """

    def collate(items: list[tuple[Example, str]]) -> Batch:
        ids = tokenizer.encode([example.text for example, _ in items], max_tokens=context)
        return Batch(
            torch.from_numpy(np.stack([example.frames for example, _ in items])),
            torch.from_numpy(ids),
            torch.tensor([CAPTION_KINDS.index(kind) for _, kind in items]),
        )

    steps = range(start_step, stage.steps)
    numbers = [[*range(step * stage.batch_size + rank, (step + 1) * stage.batch_size, world_size)] for step in steps]
    examples = _StageExamples(source, name, stage, first=first, seed=seed)
    return iter(DataLoader(examples, batch_sampler=numbers, collate_fn=collate, num_workers=workers))
