"""Clips to be examined on: drawn, so that everything that can be seen of them is known."""

from __future__ import annotations

from dataclasses import dataclass

from captioner.base import Clip
from captioner.evaluate.facts import Facts
from curate.counter_random import generator
from curate.drawn.describe import describe
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shot import World, facts

SIZES = ((96, 96), (128, 96), (168, 96), (96, 128))
"""Width and height of the drawn clips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClip:
    """A clip, its facts, and one true caption."""

    clip: Clip
    truth: Facts
    reference: str


def drawn_clips(
    count: int, *, kind: str, held_out: bool = True, seed: int = 0, num_frames: int = 8, world: World | None = None
) -> list[KnownClip]:
    """Draw clips of several shapes; `held_out` ones show combinations that are in no training footage."""
    return [_draw(index, kind, held_out, seed, num_frames, world) for index in range(count)]


def _draw(index: int, kind: str, held_out: bool, seed: int, num_frames: int, world: World | None) -> KnownClip:
    shot = sample_shot(generator(seed, "examination", index), world, held_out=held_out)
    fps = num_frames / shot.duration_s
    frames = render_shot(shot, *SIZES[index % len(SIZES)], fps, num_frames, seed=index, grain=2.0)
    times_s = tuple(frame / fps for frame in range(num_frames))
    clip = Clip(clip_id=f"drawn-{seed}-{index:05}", frames=frames, times_s=times_s, duration_s=shot.duration_s)
    wording = "descriptive" if kind not in ("alt", "short") else kind
    return KnownClip(clip=clip, truth=facts(shot), reference=describe(shot, wording, seed=index))  # type: ignore[arg-type]
