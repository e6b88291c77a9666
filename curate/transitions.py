"""How strongly each frame looks like a cut, a dissolve, a wipe or a fade, from the columns of `curate.evidence`.

Strengths are 0 for none and 1 at the threshold. A cut is held against a few conditions, of which the weakest counts.
Dissolves and wipes are logistic regressions on ratios, which know no units: `benchmarks/shot_training.py` fits them on
transitions composed from real clips, and prints `WEIGHTS`. Fades are runs of plain pictures and the ramps to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from curate.evidence import GRADUAL, RETURN_S, SCALES_S, STEP, at, gradual_column

Columns: TypeAlias = Mapping[str, np.ndarray]
"""Columns of a signals table as float arrays, NaN where null."""

NEEDED = (*STEP, *(gradual_column(name, scale_s) for scale_s in SCALES_S for name in GRADUAL))


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where each condition becomes 1. Chosen on the tune half of `benchmarks/shots.py`, which tries others, too."""

    jump: float = 16.0
    """Cut: unexplained difference, times the root of its ratio to those around."""
    ratio: float = 2.0
    """Cut: its ratio to the largest of those around."""
    stays: float = 0.6
    """Cut: share of the step by which the pictures within 0.17 s on both sides differ; less is a flash."""
    kept: float = 0.3
    """Cut: share of the structure that survives it; more is a change of light, or a title."""
    lasting: float = 0.6
    """Gradual: how much of the change is left over a longer time; less is something that passed by."""
    plain: float = 2.0
    """Fade: relief of a picture with nothing on it."""
    apart: float = 12.0
    """Any: difference of the pictures on both sides of a gradual transition or a short fade."""


WEIGHTS = {
    "dissolve": {
        "bias": -1.68,
        "separation": 0.64,
        "blend": -9.13,
        "dip": -7.03,
        "kept": -5.02,
        "imbalance": -0.92,
        "pieces": 15.32,
        "turn": 0.75,
        "travel": -2.29,
        "extent": 9.38,
    },
    "wipe": {
        "bias": -13.11,
        "separation": 1.14,
        "kept": -11.94,
        "extent": 14.29,
        "order": 10.13,
        "panned": -6.16,
        "turn": 1.8,
    },
}
"""Log odds per unit of each of `gradual_features`."""

_NOTHING_KEPT = 0.1
_SMEAR_FRAMES = 2  # over which compression spreads a step
_MORE_THAN_PLAIN = 1.5
_NEARLY_PLAIN = 0.1  # of the relief at the other end of a ramp
_LEVELS_OFF = 0.25  # of its steepness so far: there a ramp ends
_LONGEST_HOLD_S = 1.0  # a plain picture that stays for longer is a scene of its own
_AROUND_S = 0.07  # and at least two frames: within that a cut has no rival
_USUAL_RELIEF, _LEAST_CONTRAST = 35.0, 0.3
_PUSHED = 0.1  # share of the difference that a push leaves unexplained; twice as much is none
_WIDE = 0.4  # extent of a change that is all over the picture
_STEEPNESS = 6.0  # log odds from nothing to the threshold


@dataclass(frozen=True, slots=True)
class Fade:
    """Frames from the first that fades to the last before the new picture is whole."""

    start: int
    end: int
    is_boundary: bool  # not at the edges of the video, and not within one shot


class Course:
    """The columns `NEEDED` of a video as the strengths want them, and what several of them share.

    Where a step or a gradual change was too faint to be looked at, nothing of the structure is lost.
    """

    def __init__(self, columns: Columns, seconds: np.ndarray) -> None:
        self.seconds = seconds
        self.columns = dict(columns)
        for name in (*STEP, *(gradual_column("apart", scale_s) for scale_s in SCALES_S)):
            self.columns[name] = _filled(columns[name], 1.0 if name == "kept" else 0.0)
        self.relief = self.columns["relief"]
        self._path = np.cumsum(self.columns["slide_x"]), np.cumsum(self.columns["slide_y"])
        self._sides = {
            scale_s: (at(seconds, seconds - scale_s), at(seconds, seconds + scale_s)) for scale_s in SCALES_S
        }

    def gradual(self, name: str, scale_s: float) -> np.ndarray:
        """A column of `GRADUAL`; NaN where nothing changes."""
        return self.columns[gradual_column(name, scale_s)]

    def on_both_sides(self, values: np.ndarray, scale_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Values at one of `SCALES_S` before and after each frame."""
        before, after = self._sides[scale_s]
        return values[before], values[after]

    def contrast(self, scale_s: float) -> np.ndarray:
        """Contrast of the pictures on both sides, 1 for what is usual: in dark and fog, less change is enough."""
        return np.clip(np.maximum(*self.on_both_sides(self.relief, scale_s)) / _USUAL_RELIEF, _LEAST_CONTRAST, 1)

    def travel(self, scale_s: float) -> np.ndarray:
        """Way of the whole picture from one side to the other, in widths or heights, at most 1."""
        (left, right), (top, bottom) = (self.on_both_sides(path, scale_s) for path in self._path)
        return np.minimum(np.hypot(right - left, bottom - top), 1)


def _filled(values: np.ndarray, nothing: float) -> np.ndarray:
    return np.where(np.isnan(values), nothing, values)


def jump_strength(course: Course, k: Thresholds) -> np.ndarray:
    """How far the change before each frame stands out, whatever it is."""
    jump = course.columns["jump"]
    ratio = (jump + 0.5) / (_largest_around(jump, course.seconds) + 0.5)
    stands_out = jump * np.sqrt(ratio) / (k.jump * course.contrast(0.1))
    # Where no structure survives and all around is calm, half the difference is enough.
    other_picture = course.columns["kept"] < _NOTHING_KEPT
    return np.maximum(
        np.minimum(stands_out, ratio / k.ratio), other_picture * np.minimum(2 * stands_out, ratio / (2 * k.ratio))
    )


def cut_strength(course: Course, change: np.ndarray, k: Thresholds) -> tuple[np.ndarray, np.ndarray]:
    """Strength of a cut before each frame, and whether a flash begins there instead. `change` is `jump_strength`."""
    step = course.columns["step"] + 1
    returns, was_before = course.columns["returns"] / step, course.columns["was_before"] / step
    changed = (1 - course.columns["kept"]) / (1 - k.kept)
    strength = np.minimum.reduce([change, changed, returns / k.stays, was_before / k.stays])
    jump_needed = k.jump * course.contrast(0.1)
    is_flash = (course.columns["jump"] >= jump_needed) & (returns < 0.5 * k.stays) & (was_before >= k.stays)
    return np.maximum(strength, 0), is_flash


def gradual_features(course: Course, scale_s: float) -> dict[str, np.ndarray]:
    """What the logistic regressions look at, for each frame at one scale. NaN where nothing changes."""
    apart, relief = course.gradual("apart", scale_s), course.relief
    before, after = course.on_both_sides(relief, scale_s)
    travel = course.travel(scale_s)
    share = np.clip(_filled(course.gradual("share", scale_s), 0.5), 0, 1)
    earlier, later = (share[at(course.seconds, course.seconds + way * scale_s / 2)] for way in (-1, 1))
    return {
        "separation": np.log((apart + 2) / (course.gradual("drift", scale_s) + 2)),
        "blend": course.gradual("blend", scale_s),
        # Two unlike pictures, mixed, have less contrast than either.
        "dip": np.minimum(relief / (np.sqrt((before**2 + after**2) / 2) + 1), 1.1),
        "kept": course.gradual("kept", scale_s),
        "imbalance": np.abs(course.gradual("share", scale_s) - 0.5),
        "pieces": np.minimum(course.gradual("pieces", scale_s), 0.5),  # more is a flash
        "extent": np.minimum(course.gradual("extent", scale_s), _WIDE),
        "order": _filled(course.gradual("order", scale_s), 0.0),
        # A little earlier it is mostly the one picture, a little later mostly the other; a pan is always in between.
        "turn": later - earlier,
        "travel": travel,
        # One picture that pushes the other out travels, too, but by a whole width or height, and that explains all.
        "panned": travel * np.clip((_filled(course.gradual("pushed", scale_s), 1.0) - _PUSHED) / _PUSHED, 0, 1),
    }


def lasting(course: Course, scale_s: float) -> np.ndarray:
    """Share of the change that is left over longer times: what passes by is gone by then."""
    apart = course.gradual("apart", scale_s)
    longer = [course.gradual("apart", other_s) for other_s in SCALES_S if other_s > scale_s]
    return np.minimum(np.minimum.reduce([*longer, apart * 2]) / (apart + 1), 1.2)


def gradual_strength(course: Course, ends: list[Fade], scale_s: float, k: Thresholds) -> dict[str, np.ndarray]:
    """Strength of a dissolve and of a wipe whose middle is each frame and whose length is about twice the scale.

    `ends` are the fades with which the video begins and ends.
    """
    seconds = course.seconds
    features = gradual_features(course, scale_s)
    enough = course.gradual("apart", scale_s) / (k.apart * course.contrast(scale_s))
    # Nearer to the edges of a video, or to a fade there, nothing shows how much each side moves, and that it is a shot.
    begins_s = max([seconds[0], *(seconds[fade.end] for fade in ends if fade.start == 0)])
    closes_s = min([seconds[-1], *(seconds[fade.start] for fade in ends if fade.start > 0)])
    whole = (seconds >= begins_s + 2 * scale_s) & (seconds <= closes_s - 2 * scale_s)
    needed = {"dissolve": enough, "wipe": np.minimum(enough, lasting(course, scale_s) / k.lasting)}
    strengths = {}
    for kind, weights in WEIGHTS.items():
        log_odds = weights["bias"] + sum(w * features[name] for name, w in weights.items() if name != "bias")
        strengths[kind] = whole * np.fmax(np.minimum(needed[kind], 1 + log_odds / _STEEPNESS), 0)  # NaN gives 0
    return strengths


def find_fades(course: Course, change: np.ndarray, k: Thresholds) -> list[Fade]:
    """Runs of plain pictures within the video, with the ramps on both sides. `change` is `jump_strength`."""
    relief, seconds = course.relief, course.seconds
    way = np.cumsum(course.columns["step"])
    edges = np.flatnonzero(np.diff(np.r_[False, relief < k.plain, False]))
    abrupt = change >= 1
    fades: list[Fade] = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        if fades and first < fades[-1].end:
            continue  # within the ramp that was just climbed
        low, high = (_ramp(relief, seconds, abrupt, *side) for side in ((int(first), -1), (int(end) - 1, 1)))
        if way[high] - way[low] < relief[low]:
            continue  # nothing changed but what counts as black bars
        inner = low > 0 and high < len(relief) - 1
        if inner and min(relief[low], relief[high]) < 2 * np.median(relief[first:end]) + _MORE_THAN_PLAIN:
            continue  # a plain scene, in which the relief wavers
        if seconds[end - 1] - seconds[first] > _LONGEST_HOLD_S:  # a plain scene: each ramp is a fade, each step a cut
            ramps = [(low, int(first), abrupt[first]), (int(end) - 1, high, abrupt[min(end, len(relief) - 1)])]
            fades += [Fade(a, b, a > 0 and b < len(relief) - 1) for a, b, is_step in ramps if not is_step]
            continue
        blinks = inner and (_is_flash(course, int(first), k) or _is_blink(course, low, high, k))
        fades.append(Fade(low, high, inner and not blinks))
    return fades


def fades_at_the_ends(course: Course, change: np.ndarray) -> list[Fade]:
    """Fades with which the video begins or ends, even if something is left on the first or last picture."""
    relief = course.relief
    fades = []
    for edge, way in ((0, 1), (len(relief) - 1, -1)):
        whole = _ramp(relief, course.seconds, change >= 1, edge, way)
        if relief[edge] < _NEARLY_PLAIN * relief[whole]:
            fades.append(Fade(min(edge, whole), max(edge, whole), False))
    return fades


def _ramp(relief: np.ndarray, seconds: np.ndarray, abrupt: np.ndarray, index: int, way: int) -> int:
    """The last frame in one direction up to which the relief keeps growing: two seconds, or one abrupt step."""
    start, last = index, len(relief) - 1
    while abs(seconds[index] - seconds[start]) < 2:
        # A few frames ahead, because bars and noise make it waver.
        ahead = [i for i in (index + way, index + 2 * way, index + 3 * way) if 0 <= i <= last]
        if not ahead:
            break
        if abrupt[index + max(way, 0)]:  # part of the fade when there is no ramp before it, else a cut beside it
            return index + way if abs(index - start) <= _SMEAR_FRAMES else index
        best = max(ahead, key=lambda i: relief[i])
        usual = (relief[index] - relief[start]) / max(1, abs(index - start))
        gained = relief[best] - relief[index]
        if gained <= 0.008 * relief[index] + 0.1 or gained < _LEVELS_OFF * usual * abs(best - index):
            break
        index = best
    return index


def _is_flash(course: Course, first: int, k: Thresholds) -> bool:
    """Whether what was there before the plain picture returns at once."""
    columns = course.columns
    is_abrupt = columns["jump"][first] > k.apart
    return bool(is_abrupt and columns["returns"][first] < 0.5 * k.stays * (columns["step"][first] + 1))


def _is_blink(course: Course, low: int, high: int, k: Thresholds) -> bool:
    """Whether a short fade has the same picture on both sides: a flash, or frames that were lost."""
    length_s = course.seconds[high] - course.seconds[low]
    longer = [scale_s for scale_s in SCALES_S if scale_s > length_s / 2 + 0.03]
    if length_s >= 2 * RETURN_S or not longer:
        return False
    middle = (low + high) // 2
    across = min(course.gradual("apart", scale_s)[middle] for scale_s in longer)
    return bool(across < k.apart * course.contrast(longer[0])[middle])


def _largest_around(values: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The largest of the values around each, without itself."""
    frame_s = float(np.median(np.diff(seconds))) if len(seconds) > 1 else _AROUND_S
    reach = max(2, round(_AROUND_S / max(frame_s, 1e-3)))
    largest = np.zeros(len(values))
    for shift in range(1, min(reach, len(values) - 1) + 1):
        np.maximum(largest[shift:], values[:-shift], out=largest[shift:])
        np.maximum(largest[:-shift], values[shift:], out=largest[:-shift])
    return largest
