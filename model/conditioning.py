"""Which tokens of a training clip are given, so that one model learns every way of prompting with images and video.

    none     all tokens are to be made                          text to video, text to image
    first    the first slot                                     image to video
    head     some slots at the start                            extending forward, long videos
    tail     some slots at the end                              extending backward
    ends     some slots at both ends                            connecting two videos
    frames   slots here and there                               key frames
    region   what lies outside (or inside) of a box, throughout edits of a region, other aspect ratios
    pace     none, but noise differs from slot to slot          interpolating between two videos

Given tokens stay as they are, or a little noisy, and the model is told so by their time. T rows columns: token frames,
rows, columns; n tokens in the clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from curate.config import nearest
from model.tokens import Shape

KINDS = ("none", "first", "head", "tail", "ends", "frames", "region", "pace")
_SPATIAL = ("none", "region")  # what a single picture can have


@dataclass(frozen=True, slots=True, kw_only=True)
class PinConfig:
    """The mix of what is given in training."""

    shares: Mapping[str, float] = field(
        default_factory=lambda: {
            "none": 0.54, "first": 0.13, "head": 0.08, "tail": 0.05, "ends": 0.07, "frames": 0.05, "region": 0.05,
            "pace": 0.03,
        }
    )  # fmt: skip
    """Share of each kind; they are scaled to a sum of 1."""
    noisy_share: float = 0.5
    """Share of clips whose given tokens carry some noise: what is given to a sampler is never perfect."""
    noise_mean: float = -3.0
    """Mean of the logarithm of that noise level (a flow time)."""
    noise_std: float = 0.5

    def __post_init__(self) -> None:
        for kind, share in self.shares.items():
            if kind not in KINDS:
                raise ValueError(f"shares.{kind}: no such kind; {nearest(kind, KINDS)}")
            if share < 0:
                raise ValueError(f"shares.{kind} must not be negative, got {share}")
        if not self.shares.get("none"):
            raise ValueError("shares.none must be positive, or the model never learns to make a whole clip")
        if not 0 <= self.noisy_share <= 1:
            raise ValueError(f"noisy_share is a share, from 0 to 1, got {self.noisy_share}")


@dataclass(frozen=True)
class Given:
    """What is given of a clip."""

    pinned: np.ndarray
    """Tokens that are given, bool `[T, rows, columns]`; never all of them."""
    level: float = 0.0
    """Flow time of the given tokens."""
    pace: np.ndarray | None = None
    """Share of the clip's time that each token frame has, `[T]`; None: all of it."""

    def times(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """The distinct times of a clip at time t `[u]`, and which of them each token has `[n]`."""
        if self.pace is not None:
            frames, *rest = self.pinned.shape
            return t * self.pace, np.arange(frames).repeat(int(np.prod(rest)))
        if not self.pinned.any():
            return np.array([t]), np.zeros(self.pinned.size, dtype=np.int64)
        return np.array([t, min(t, self.level)]), self.pinned.reshape(-1).astype(np.int64)


def draw_given(random: np.random.Generator, shape: Shape, config: PinConfig) -> Given:
    """Draw a kind that the shape allows, where it applies, and how noisy what is given is."""
    kinds = [kind for kind in KINDS if config.shares.get(kind) and (shape[0] > 1 or kind in _SPATIAL)]
    if shape[1] * shape[2] == 1:
        kinds = [kind for kind in kinds if kind != "region"]
    shares = np.array([config.shares[kind] for kind in kinds])
    kind = kinds[int(random.choice(len(kinds), p=shares / shares.sum()))]
    noisy, noise = random.random() < config.noisy_share, random.standard_normal()
    level = min(float(np.exp(config.noise_mean + config.noise_std * noise)), 0.5) if noisy else 0.0
    if kind == "pace":
        return Given(np.zeros(shape, dtype=bool), pace=_draw_pace(random, shape[0]))
    return Given(_draw_pinned(random, shape, kind), level)


def _draw_pinned(random: np.random.Generator, shape: Shape, kind: str) -> np.ndarray:
    pinned = np.zeros(shape, dtype=bool)
    frames = shape[0]
    some = int(random.integers(1, frames)) if frames > 1 else 0
    if kind == "first":
        pinned[:1] = True
    elif kind == "head":
        pinned[:some] = True
    elif kind == "tail":
        pinned[frames - some :] = True
    elif kind == "ends":
        left = int(random.integers(0, some + 1))
        pinned[:left] = True
        pinned[frames - (some - left) :] = True
    elif kind == "frames":
        pinned[random.permutation(frames)[:some]] = True
    elif kind == "region":
        inside = _draw_box(random, shape)
        pinned[:] = inside if random.random() < 0.5 else ~inside
    return pinned


def _draw_box(random: np.random.Generator, shape: Shape) -> np.ndarray:
    """A box of rows and columns `[rows, columns]` that is neither empty nor everything."""
    box = np.zeros(shape[1:], dtype=bool)
    while box.all() or not box.any():
        (top, bottom), (left, right) = (sorted(random.integers(0, size + 1, 2)) for size in shape[1:])
        box[:] = False
        box[top:bottom, left:right] = True
    return box


def _draw_pace(random: np.random.Generator, frames: int) -> np.ndarray:
    """Straight from one level to another, or up and down again: what joins and blends of videos need."""
    start, end = random.random(2)
    if random.random() < 0.5:
        return np.linspace(start, end, frames)
    return start + (1 - start) * np.sin(np.pi * (np.arange(frames) + 0.5) / frames)
