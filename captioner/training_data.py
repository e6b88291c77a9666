"""Frames and captions to learn from: footage drawn as it is needed, or the clips and captions of a dataset.

    source.example("short", 17)    frames as the encoder wants them, and a caption of that kind
    batches(source, stage, ...)    what the training loop iterates over

What a source answers depends on its arguments alone: any number of workers and any restart see the same data.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from captioner.claims import claimed_values
from captioner.frames import FrameConfig, fit_frames
from captioner.tokenizer import CaptionTokenizer
from captioner.training_config import StageConfig, TrainingConfig, frames_of
from curate.config import fingerprint
from curate.counter_random import generator, uniform
from curate.drawn.describe import describe
from curate.drawn.render import add_grain, draw_frames
from curate.drawn.sample import sample_shot
from curate.drawn.shot import MOVING_SLOTS, Shot, World, facts
from curate.schema import CAPTION_KINDS


@dataclass(frozen=True, slots=True)
class Example:
    frames: np.ndarray
    """uint8 `[N, S, S, 3]`; of a still, `[1, S, S, 3]`."""
    text: str


class CaptionSource(Protocol):
    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of captions that it has."""

    @property
    def fingerprint(self) -> str:
        """Changes with everything that it answers."""

    def example(self, kind: str, index: int, *, held_out: bool = False, still: bool = False) -> Example:
        """The example of that number, from 0 up without end. What is held out never comes up otherwise.

        A `still` shows one frame of the clip; where captions can be made for it, they do not tell what moves.
        """

    def texts(self, kinds: frozenset[str]) -> Iterator[str]:
        """Captions to learn a vocabulary from."""


ASPECTS = ((1, 1), (1, 1), (4, 3), (16, 9), (3, 4))
"""Shapes of drawn frames, width to height."""

_CLIPS_APART = 1024


class DrawnSource:
    """Footage drawn here, without end, of which a tenth of the combinations is held out.

    The first `ramp` examples grow from simple to what the world has: among large bright things before nothing, shapes
    are learnt in a hundred steps, among everything at once hardly in a thousand. Each clip comes up `shows` times, a
    thousand examples apart and in other words, because drawing costs half as much as learning.
    """

    kinds = frozenset({"alt", "short", "descriptive"})

    def __init__(
        self, frames: FrameConfig, *, world: World | None = None, hidden: Collection[str] = (), ramp: int = 30_000,
        shows: int = 2, seed: int = 0,
    ) -> None:  # fmt: skip
        """`hidden` names slots that are not told, such as those that are the same in the whole world."""
        self.frames, self.world, self.ramp, self.shows, self.seed = frames, world or World(), ramp, shows, seed
        self.hidden = tuple(hidden)
        self._simple = simple_world(self.world)
        self._drawn: dict[int, np.ndarray] = {}

    @property
    def fingerprint(self) -> str:
        return fingerprint("drawn", self.world, self.hidden, self.ramp, self.shows, self.seed)

    def shot(self, index: int, *, held_out: bool = False) -> Shot:
        """The shot that all captions of that number are about."""
        number = self._clip_number(index, held_out)
        is_simple = not held_out and uniform(self.seed, "simple", number) * self.ramp > number * self.shows
        rng = generator(self.seed, "shot", number, int(held_out))
        return sample_shot(rng, self._simple if is_simple else self.world, held_out=held_out)

    def truth(self, index: int, *, held_out: bool = False) -> dict[str, str | None]:
        """Its facts."""
        return facts(self.shot(index, held_out=held_out))

    def example(self, kind: str, index: int, *, held_out: bool = False, still: bool = False) -> Example:
        shot = self.shot(index, held_out=held_out)
        frames = self._frames(shot, index, held_out, still)
        return Example(frames, self._say(shot, kind, index, still))

    def pair(self, index: int) -> tuple[str, str]:
        """A short and a descriptive caption of a shot."""
        shot = self.shot(self.ramp + index)
        return self._say(shot, "short", index), self._say(shot, "descriptive", index)

    def texts(self, kinds: frozenset[str], num_shots: int = 1500) -> Iterator[str]:
        for index in range(num_shots):
            shot = self.shot(self.ramp + index)
            for kind in sorted(kinds):
                yield self._say(shot, kind, index)

    def _say(self, shot: Shot, kind: str, index: int, still: bool = False) -> str:
        hidden = (*self.hidden, *(MOVING_SLOTS if still else ()))
        return describe(shot, kind, seed=index, hidden=hidden)  # type: ignore[arg-type]

    def _clip_number(self, index: int, held_out: bool) -> int:
        block, place = divmod(index, _CLIPS_APART * self.shows)
        return index if held_out else block * _CLIPS_APART + place % _CLIPS_APART

    def _frames(self, shot: Shot, index: int, held_out: bool, still: bool) -> np.ndarray:
        number = self._clip_number(index, held_out)
        if held_out or still or self.shows == 1:
            return self._draw(shot, number, held_out, still)
        if number not in self._drawn:
            if len(self._drawn) >= _CLIPS_APART:
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[number] = self._draw(shot, number, held_out, still)
        return self._drawn[number]

    def _draw(self, shot: Shot, number: int, held_out: bool, still: bool) -> np.ndarray:
        rng = generator(self.seed, "look", number, int(held_out))
        wide, tall = ASPECTS[int(rng.integers(len(ASPECTS)))]
        short = self.frames.size_px
        size = (max(short, round(short * wide / tall)), max(short, round(short * tall / wide)))
        num_frames = self.frames.num_frames
        times_s = (np.arange(num_frames) + 0.5) / num_frames * shot.duration_s
        if still:
            times_s = times_s[rng.integers(num_frames, size=1)]
        pictures = add_grain(np.stack([*draw_frames(shot, *size, times_s)]), float(rng.uniform(0, 4)), rng)
        return fit_frames(pictures, replace(self.frames, num_frames=len(times_s)))


def drawn_source(config: TrainingConfig) -> DrawnSource:
    """Drawn footage for a training: simple at first, all of the world when descriptive captions are to be learnt."""
    num_examples = 0
    for stage in config.stages.values():
        if stage.mix.get("descriptive"):
            break
        num_examples += stage.steps * stage.batch_size
    return DrawnSource(frames_of(config), hidden=config.untold, ramp=num_examples, seed=config.seed)


def simple_world(world: World) -> World:
    """The shapes, colours and motions of a world: one large thing at a time, in bright light, before nothing."""
    return replace(
        world,
        sizes=world.sizes[-1:],
        textures=world.textures[:1],
        counts=world.counts[:1],
        background_patterns=world.background_patterns[:1],
        lightings=world.lightings[:1],
        cameras=world.cameras[:1],
        other_share=0.0,
        text_share=0.0,
    )


@dataclass(frozen=True, slots=True)
class Batch:
    frames: Tensor
    """uint8 `[B, N, S, S, 3]`, or with 1 for N."""
    ids: Tensor
    """`[B, L]`, padded."""
    kinds: Tensor
    """`[B]`, positions in CAPTION_KINDS."""
    claims: Tensor
    """`[B, slots]`, what the captions say of the drawn world, where the stage learns from it; see `claims.py`."""


class _StageExamples(Dataset):
    """The endless row of examples of a stage, by number."""

    def __init__(self, source: CaptionSource, name: str, stage: StageConfig, *, first: int, seed: int) -> None:
        self.source, self.name, self.first, self.seed, self.stills = source, name, first, seed, stage.stills
        self.kinds, shares = zip(*stage.mix.items(), strict=True)
        self.limits = np.cumsum(shares) / sum(shares)

    def __getitem__(self, index: int) -> tuple[Example, str]:
        draw = uniform(self.seed, "kind", self.name, index)
        kind = self.kinds[int(np.searchsorted(self.limits, draw, side="right"))]
        return self.source.example(kind, self.first + index, still=self.stills), kind


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
            claimed_values([example.text if stage.facts else "" for example, _ in items]),  # reading them takes time
        )

    steps = range(start_step, stage.steps)
    numbers = [[*range(step * stage.batch_size + rank, (step + 1) * stage.batch_size, world_size)] for step in steps]
    examples = _StageExamples(source, name, stage, first=first, seed=seed)
    return iter(DataLoader(examples, batch_sampler=numbers, collate_fn=collate, num_workers=workers))
