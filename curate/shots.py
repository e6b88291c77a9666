"""Shot boundaries from signals: cuts, dissolves, fades and wipes; flashes, pans and passers-by are none.

    signals ──▶ curate/transitions.py: strength of each kind at each frame, 1 = found ──▶ peaks ──▶ boundaries
                                                                                     └──▶ inner change of clips

A pure function of the signals table: a changed setting costs milliseconds and decodes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from curate.config import nearest
from curate.detectors import column_of
from curate.errors import ConfigError
from curate.evidence import RETURN_S, SCALES_S, at
from curate.signals import seconds_of
from curate.transitions import (
    NEEDED,
    Columns,
    Course,
    Fade,
    Thresholds,
    cut_strength,
    fades_at_the_ends,
    find_fades,
    gradual_strength,
    jump_strength,
)

_AS_STRONG = 0.9  # of the strength at shorter scales, that a transition has at longer ones up to its own length


@dataclass(frozen=True, slots=True, kw_only=True)
class ShotConfig:
    """How readily a boundary is seen, and by whom."""

    sensitivity: float = 1.0
    """Above 1 finds fainter transitions and more false ones, below 1 the other way round."""
    detector: str = "default"
    """Ours, or one of PySceneDetect's that looked on when the video was scanned, by the same name."""

    def __post_init__(self) -> None:
        if not 0.1 <= self.sensitivity <= 10:
            raise ConfigError(f"sensitivity must be from 0.1 to 10, got {self.sensitivity}; 1 is the default")


@dataclass(frozen=True, slots=True)
class Boundary:
    """A transition. Frames `[start_index, end_index)` belong to neither shot; a cut has none."""

    kind: str  # cut, dissolve, fade or wipe
    start_index: int
    end_index: int
    confidence: float  # its strength: 1 at the threshold


@dataclass(frozen=True, slots=True)
class Shots:
    """All that is known about the shots of a video."""

    boundaries: list[Boundary]
    flashes: list[int]
    """First frame of every flash."""
    seconds: np.ndarray
    strengths: Mapping[float, np.ndarray]
    """Per frame, evidence of a cut before it (at 0), and of a gradual transition by half its length in seconds."""

    def inner_change(self, start: int, end: int) -> float | None:
        """Strongest evidence of a transition inside frames `[start, end)`: 0 none, 1 the threshold; None for one frame.

        What looks across the ends is left out: a clip is not to blame for what it was cut from.
        """
        seconds = self.seconds[start:end]
        if len(seconds) < 2:
            return None
        strongest = float(self.strengths[0.0][start + 1 : end].max())
        for scale_s in SCALES_S:
            inside = (seconds - scale_s >= seconds[0]) & (seconds + scale_s <= seconds[-1])
            strongest = max(strongest, float(self.strengths[scale_s][start:end][inside].max(initial=0)))
        return min(strongest, 1.0)


def find_boundaries(signals: pa.Table, config: ShotConfig | None = None) -> list[Boundary]:
    """The boundaries of a video in the order of time; they do not overlap."""
    return analyse_shots(signals, config).boundaries


def analyse_shots(signals: pa.Table, config: ShotConfig | None = None) -> Shots:
    """Boundaries, and the evidence that clips carry. Raises ConfigError for a detector that did not look on."""
    config = config or ShotConfig()
    columns = {name: signals.column(name).to_numpy() for name in NEEDED}
    shots = decide(columns, seconds_of(signals), config.sensitivity)
    if config.detector == "default":
        return shots
    name = column_of(config.detector)
    if name not in signals.column_names:
        known = [
            "default",
            *(other.removeprefix(column_of("")) for other in signals.column_names if column_of("") in other),
        ]
        raise ConfigError(
            f"detector {config.detector!r} did not look on at the scan; {nearest(config.detector, known)}"
        )
    cuts = np.flatnonzero(signals.column(name).to_numpy())
    return replace(shots, boundaries=[Boundary("cut", int(i), int(i), 1.0) for i in cuts])


def decide(
    columns: Columns, seconds: np.ndarray, sensitivity: float = 1.0, thresholds: Thresholds | None = None
) -> Shots:
    """The shots from the columns `NEEDED` of a signals table, NaN where null."""
    k = thresholds or Thresholds()
    course = Course(columns, seconds)
    change = jump_strength(course, k)
    cut, is_flash = cut_strength(course, change, k)
    cut *= sensitivity
    found = [Boundary("cut", i, i, float(cut[i])) for i in _peaks(cut, seconds, 0.05)]
    flashes = np.flatnonzero(is_flash)
    # A picture that is lit for a moment is halfway between no two others.
    unlit = np.ones(len(seconds), bool)
    for flash in flashes:
        unlit[flash : np.searchsorted(seconds, seconds[flash] + RETURN_S)] = False
    ends = fades_at_the_ends(course, change)
    strengths = {0.0: cut}
    for scale_s in SCALES_S:
        by_kind = {kind: unlit * strength for kind, strength in gradual_strength(course, ends, scale_s, k).items()}
        strengths[scale_s] = sensitivity * np.maximum.reduce(list(by_kind.values()))
        for kind, strength in by_kind.items():
            for i in _peaks(sensitivity * strength, seconds, scale_s):
                start, end = _window(seconds, i, scale_s)
                found.append(Boundary(kind, start, end, float(sensitivity * strength[i])))
    boundaries = _without_overlaps(found, [*ends, *find_fades(course, change, k)])
    return Shots(_lengthened(boundaries, strengths, seconds), flashes.tolist(), seconds, strengths)


def _window(seconds: np.ndarray, index: int, scale_s: float) -> tuple[int, int]:
    """The frames of a gradual transition around its middle, half open."""
    first, last = at(seconds, seconds[index] + np.array([-scale_s, scale_s]))
    return int(first) + 1, max(int(first) + 1, int(last))


def _lengthened(
    boundaries: list[Boundary], strengths: Mapping[float, np.ndarray], seconds: np.ndarray
) -> list[Boundary]:
    """Gradual transitions in their full length: longer scales count while the strength there is not less."""
    result: list[Boundary] = []
    for i, boundary in enumerate(boundaries):
        start, end = boundary.start_index, boundary.end_index
        if boundary.kind in ("dissolve", "wipe"):
            strongest, middle = 1.0, (start + end) // 2
            for scale_s in SCALES_S:
                strength = float(strengths[scale_s][boundary.start_index : end + 1].max())
                if strength >= max(1.0, _AS_STRONG * strongest):
                    low, high = _window(seconds, middle, scale_s)
                    start, end, strongest = min(start, low), max(end, high), max(strongest, strength)
            if i > 0:
                start = min(boundary.start_index, max(start, boundaries[i - 1].end_index))
            if i + 1 < len(boundaries):
                end = max(boundary.end_index, min(end, boundaries[i + 1].start_index))
        result.append(replace(boundary, start_index=start, end_index=end))
    return result


def _peaks(strength: np.ndarray, seconds: np.ndarray, reach_s: float) -> list[int]:
    """Frames of strength 1 or more that are the strongest within reach, strongest first."""
    peaks: list[int] = []
    candidates = np.flatnonzero(strength >= 1)
    for i in candidates[np.argsort(-strength[candidates], kind="stable")]:
        if all(abs(seconds[i] - seconds[j]) > reach_s for j in peaks):
            peaks.append(int(i))
    return peaks


def _without_overlaps(found: list[Boundary], fades: list[Fade]) -> list[Boundary]:
    """Fades first, then cuts, then what is strongest; each frame belongs to one boundary at most."""
    kept = [Boundary("fade", fade.start, fade.end, 1.0) for fade in fades if fade.is_boundary]
    taken = [(fade.start, fade.end) for fade in fades]
    for boundary in sorted(found, key=lambda b: (b.kind != "cut", -b.confidence)):
        # A fade may begin with the first frame after a cut.
        reach = boundary.end_index - (boundary.kind == "cut")
        if all(reach < start or boundary.start_index > end for start, end in taken):
            kept.append(boundary)
            taken.append((boundary.start_index, boundary.end_index))
    return sorted(kept, key=lambda boundary: boundary.start_index)
