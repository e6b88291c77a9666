"""Does a captioner look? Three doctored versions of clips whose facts are known.

reversed    time runs backwards: what moved left must be said to move right, what grew to shrink
shuffled    frames in random order: motion must fall to chance, or it was never read from time
blank       plain grey: what is still claimed comes from the language alone, not from the clip
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from captioner.base import Clip
from captioner.evaluate.facts import Facts, score_facts

_PAIRS = {
    "motion": (("left", "right"), ("up", "down"), ("grows", "shrinks")),
    "camera": (("pan_left", "pan_right"), ("tilt_up", "tilt_down"), ("zoom_in", "zoom_out")),
}
OPPOSITES = {slot: {a: b for pair in pairs for a, b in (pair, pair[::-1])} for slot, pairs in _PAIRS.items()}
"""What time reversal exchanges, by slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    flipped: dict[str, float | None]
    """By slot, share of rightly described movements that are described as their opposite in reversed time."""
    flippable: dict[str, int]
    """By slot, the number of such movements."""
    shuffled_motion: float | None
    """Share of moving subjects whose motion is still right when the frames are shuffled."""
    blank_f1: float | None
    """F1 against the facts of the real clips of what is said about grey: the prior of the language."""
    blank_captions: int
    """Different captions for grey clips."""


def reversed_clips(clips: Sequence[Clip]) -> list[Clip]:
    return [replace(clip, frames=clip.frames[::-1].copy()) for clip in clips]


def shuffled_clips(clips: Sequence[Clip], *, seed: int = 0) -> list[Clip]:
    rng = np.random.default_rng(seed)
    return [replace(clip, frames=clip.frames[rng.permutation(len(clip.frames))]) for clip in clips]


def blank_clips(clips: Sequence[Clip]) -> list[Clip]:
    return [replace(clip, frames=np.full_like(clip.frames, 128)) for clip in clips]


def compare_controls(
    truth: Sequence[Facts],
    claims: Sequence[Facts | None],
    *,
    reversed_claims: Sequence[Facts | None],
    shuffled_claims: Sequence[Facts | None],
    blank_claims: Sequence[Facts | None],
) -> Controls:
    """Judge what was claimed of the doctored clips against the truth and the claims about the clips themselves."""
    flips: dict[str, list[bool]] = {slot: [] for slot in OPPOSITES}
    for facts, claim, backwards in zip(truth, claims, reversed_claims, strict=True):
        for slot, opposites in OPPOSITES.items():
            value = facts.get(slot)
            if value in opposites and (claim or {}).get(slot) == value:
                flips[slot].append((backwards or {}).get(slot) == opposites[value])
    moving = [
        (shuffled or {}).get("motion") == facts["motion"]
        for facts, shuffled in zip(truth, shuffled_claims, strict=True)
        if facts.get("motion") not in (None, "still")
    ]
    return Controls(
        flipped={slot: float(np.mean(each)) if each else None for slot, each in flips.items()},
        flippable={slot: len(each) for slot, each in flips.items()},
        shuffled_motion=float(np.mean(moving)) if moving else None,
        blank_f1=score_facts(truth, blank_claims, resamples=0).f1,
        blank_captions=len({repr(claim) for claim in blank_claims}),
    )
