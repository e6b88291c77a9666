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
    travel: float = 0.3
    """Gradual: way of the whole picture, in widths or heights; more is a whip pan."""
    lasting: float = 0.6
    """Gradual: how much of the change is left over a longer time; less is something that passed by."""
    plain: float = 2.0
    """Fade: relief of a picture with nothing on it."""
    apart: float = 12.0
    """Any: difference of the pictures on both sides of a gradual transition or a short fade."""


WEIGHTS = {
    "dissolve": {
        "bias": 4.95,
        "separation": 0.37,
        "blend": -10.01,
        "dip": -7.16,
        "kept": -8.35,
        "imbalance": -4.91,
        "pieces": 8.65,
    },
    "wipe": {
        "bias": -6.4,
        "separation": 1.77,
        "pieces": -9.23,
        "blend": 8.81,
        "kept": -5.97,
        "extent": 6.57,
        "undone": -1.45,
    },
}
"""Log odds per unit of each of `gradual_features`."""

_NOTHING_KEPT = 0.1
_SMEAR_FRAMES = 2  # over which compression spreads a step
_MORE_THAN_PLAIN = 1.5
_LONGEST_HOLD_S = 1.0  # a plain picture that stays for longer is a scene of its own
_AROUND_S = 0.07  # and at least two frames: within that a cut has no rival
_USUAL_RELIEF, _LEAST_CONTRAST = 35.0, 0.3
_STEEPNESS = 6.0  # log odds from nothing to the threshold


def jump_strength(columns: Columns, seconds: np.ndarray, k: Thresholds) -> np.ndarray:
    """How far the change before each frame stands out, whatever it is."""
    jump = np.nan_to_num(columns["jump"])
    ratio = (jump + 0.5) / (_largest_around(jump, seconds) + 0.5)
    stands_out = jump * np.sqrt(ratio) / (k.jump * contrast_around(columns, seconds, 0.1))
    # Where no structure survives and all around is calm, half the difference is enough.
    other_picture = np.nan_to_num(columns["kept"], nan=1.0) < _NOTHING_KEPT
    return np.maximum(
        np.minimum(stands_out, ratio / k.ratio), other_picture * np.minimum(2 * stands_out, ratio / (2 * k.ratio))
    )


def cut_strength(
    columns: Columns, seconds: np.ndarray, change: np.ndarray, k: Thresholds
) -> tuple[np.ndarray, np.ndarray]:
    """Strength of a cut before each frame, and whether a flash begins there instead. `change` is `jump_strength`."""
    step = np.nan_to_num(columns["step"]) + 1
    returns, was_before = np.nan_to_num(columns["returns"]) / step, np.nan_to_num(columns["was_before"]) / step
    changed = (1 - np.nan_to_num(columns["kept"], nan=1.0)) / (1 - k.kept)
    strength = np.minimum.reduce([change, changed, returns / k.stays, was_before / k.stays])
    jump_needed = k.jump * contrast_around(columns, seconds, 0.1)
    is_flash = (np.nan_to_num(columns["jump"]) >= jump_needed) & (returns < 0.5 * k.stays) & (was_before >= k.stays)
    return np.maximum(strength, 0), is_flash


def contrast_around(columns: Columns, seconds: np.ndarray, reach_s: float) -> np.ndarray:
    """Contrast of the pictures on both sides, 1 for what is usual: in the dark and in fog, less change is enough."""
    relief = np.nan_to_num(columns["relief"])
    sides = np.maximum(relief[at(seconds, seconds - reach_s)], relief[at(seconds, seconds + reach_s)])
    return np.clip(sides / _USUAL_RELIEF, _LEAST_CONTRAST, 1)


def gradual_features(columns: Columns, seconds: np.ndarray, scale_s: float) -> dict[str, np.ndarray]:
    """What the logistic regressions look at, for each frame at one scale. NaN where nothing changes."""

    def column(name: str, at_scale_s: float = scale_s) -> np.ndarray:
        return np.asarray(columns[gradual_column(name, at_scale_s)])

    apart, relief = column("apart"), np.nan_to_num(columns["relief"])
    a, b = at(seconds, seconds - scale_s), at(seconds, seconds + scale_s)
    path_x, path_y = (np.cumsum(np.nan_to_num(columns[name])) for name in ("slide_x", "slide_y"))
    travel = np.minimum(np.hypot(path_x[b] - path_x[a], path_y[b] - path_y[a]), 1)
    longer = [column("apart", other_s) for other_s in SCALES_S if other_s > scale_s]
    return {
        "separation": np.log((apart + 2) / (column("drift") + 2)),
        "blend": column("blend"),
        # Two unlike pictures, mixed, have less contrast than either.
        "dip": np.minimum(relief / (np.sqrt((relief[a] ** 2 + relief[b] ** 2) / 2) + 1), 1.1),
        "kept": column("kept"),
        "travel": travel,
        "imbalance": np.abs(column("share") - 0.5),
        "pieces": column("pieces"),
        "undone": np.nan_to_num(column("undone"), nan=1.0),
        # What passes by is gone at a longer scale.
        "lasting": np.minimum(np.minimum.reduce([*longer, apart * 2]) / (apart + 1), 1.2),
        "extent": column("extent"),
    }


def gradual_strength(columns: Columns, seconds: np.ndarray, scale_s: float, k: Thresholds) -> dict[str, np.ndarray]:
    """Strength of a dissolve and of a wipe whose middle is each frame and whose length is about twice the scale."""
    features = gradual_features(columns, seconds, scale_s)
    needed = k.apart * contrast_around(columns, seconds, scale_s)
    enough = np.nan_to_num(columns[gradual_column("apart", scale_s)]) / needed
    still = (1 - features["travel"]) / (1 - k.travel)
    stays = features["lasting"] / k.lasting
    # Nearer to the edges of a video there is no telling how much each side moves.
    whole = (seconds >= seconds[0] + 1.5 * scale_s) & (seconds <= seconds[-1] - 1.5 * scale_s)
    strengths = {}
    for kind, weights in WEIGHTS.items():
        log_odds = weights["bias"] + sum(w * features[name] for name, w in weights.items() if name != "bias")
        likely = 1 + np.nan_to_num(log_odds, nan=-_STEEPNESS) / _STEEPNESS
        weakest = np.minimum.reduce([likely, enough, still, *([stays] if kind == "wipe" else [])])
        strengths[kind] = whole * np.maximum(weakest, 0)
    return strengths


@dataclass(frozen=True, slots=True)
class Fade:
    """Frames from the first that fades to the last before the new picture is whole."""

    start: int
    end: int
    is_boundary: bool  # not at the edges of the video, and not within one shot


def find_fades(columns: Columns, seconds: np.ndarray, change: np.ndarray, k: Thresholds) -> list[Fade]:
    """Runs of plain pictures with the ramps on both sides. `change` is `jump_strength`."""
    relief = np.nan_to_num(columns["relief"])
    edges = np.flatnonzero(np.diff(np.r_[False, relief < k.plain, False]))
    abrupt = change >= 1
    fades: list[Fade] = []
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        low, high = (_ramp(relief, seconds, abrupt, *side) for side in ((int(first), -1), (int(end) - 1, 1)))
        inner = low > 0 and high < len(relief) - 1
        if inner and min(relief[low], relief[high]) < 2 * np.median(relief[first:end]) + _MORE_THAN_PLAIN:
            continue  # a plain scene, in which the relief wavers
        if seconds[end - 1] - seconds[first] > _LONGEST_HOLD_S:  # a plain scene: each ramp is a fade, each step a cut
            ramps = [(low, int(first), abrupt[first]), (int(end) - 1, high, abrupt[min(end, len(relief) - 1)])]
            fades += [Fade(a, b, a > 0 and b < len(relief) - 1) for a, b, is_step in ramps if not is_step]
            continue
        blinks = inner and (_is_flash(columns, int(first), k) or _is_blink(columns, seconds, low, high, k))
        fades.append(Fade(low, high, inner and not blinks))
    return fades


def _ramp(relief: np.ndarray, seconds: np.ndarray, abrupt: np.ndarray, index: int, way: int) -> int:
    """The last frame in one direction up to which the relief keeps growing: two seconds, or one abrupt step."""
    start, last = index, len(relief) - 1
    while 0 < index < last and abs(seconds[index] - seconds[start]) < 2:
        if abrupt[index + max(way, 0)]:  # part of the fade when there is no ramp before it, else a cut beside it
            return index + way if abs(index - start) <= _SMEAR_FRAMES else index
        # A few frames ahead, because bars and noise make it waver.
        ahead = [i for i in (index + way, index + 2 * way, index + 3 * way) if 0 <= i <= last]
        best = max(ahead, key=lambda i: relief[i])
        if relief[best] <= 1.008 * relief[index] + 0.1:
            break
        index = best
    return index


def _is_flash(columns: Columns, first: int, k: Thresholds) -> bool:
    """Whether what was there before the plain picture returns at once."""
    is_abrupt = columns["jump"][first] > k.apart
    return bool(is_abrupt and columns["returns"][first] < 0.5 * k.stays * (columns["step"][first] + 1))


def _is_blink(columns: Columns, seconds: np.ndarray, low: int, high: int, k: Thresholds) -> bool:
    """Whether a short fade has the same picture on both sides: a flash, or frames that were lost."""
    length_s = seconds[high] - seconds[low]
    if length_s >= 2 * RETURN_S:
        return False
    across = [columns[gradual_column("apart", s)][(low + high) // 2] for s in SCALES_S if s > length_s / 2 + 0.03]
    needed = k.apart * contrast_around(columns, seconds, length_s / 2 + 0.1)[(low + high) // 2]
    return bool(across) and min(across) < needed


def _largest_around(values: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """The largest of the values around each, without itself."""
    frame_s = float(np.median(np.diff(seconds))) if len(seconds) > 1 else _AROUND_S
    reach = max(2, round(_AROUND_S / max(frame_s, 1e-3)))
    largest = np.zeros(len(values))
    for shift in range(1, min(reach, len(values) - 1) + 1):
        np.maximum(largest[shift:], values[:-shift], out=largest[shift:])
        np.maximum(largest[:-shift], values[shift:], out=largest[:-shift])
    return largest
