"""Scores of a clip from the signals of its frames: light, sharpness, motion, camera, bars, and what disturbs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

SCORES_VERSION = 1
"""Raised whenever the same signals would give other scores."""

SCORED = (
    *("luma", "contrast", "saturation", "sharpness", "change_luma", "damaged"),
    *("motion", "residual_motion", "pan", "tilt", "zoom", "box_left", "box_top", "box_right", "box_bottom"),
)
"""Columns of a signals table that scores are made from."""

_FROZEN_CHANGE = 0.1  # mean change of brightness, of 255, below which a frame repeats the one before
_BLACK = 10.0  # a black frame is dark, and dark all over: stars in the night are not
_STATIC_SPEED = 0.008  # diagonals per second: below that no camera movement can be told
_SHAKY_SPEED = 0.06
_DOMINANT = 1.7  # times the next strongest movement
_SMOOTH_SAMPLES = 5
_MEAN_RADIUS = 0.27  # mean distance of a picture's points from its centre, in diagonals: what a zoom moves them by


def clip_scores(
    values: Mapping[str, np.ndarray], inner_change: float | None, num_flashes: int, video: Mapping[str, Any]
) -> dict[str, Any]:
    """The score columns of `clips` from the columns `SCORED` over the frames of a clip, NaN where null.

    What cannot be computed is None. `inner_change` is the strongest evidence of a transition.
    """
    return {
        "luma": _mean(values["luma"]),
        "contrast": _mean(values["contrast"]),
        "saturation": _mean(values["saturation"]),
        "sharpness": _median(values["sharpness"]),
        **_motion(values, video),
        "frozen_fraction": _share(values["change_luma"][1:] < _FROZEN_CHANGE),
        "black_fraction": _share((values["luma"] < _BLACK) & (values["contrast"] < _BLACK)),
        **_content(values, video),
        "inner_change": inner_change,
        "flashes": num_flashes,
        "bits_per_pixel": _bits_per_pixel(video),
        "damaged_frames": int(values["damaged"].sum()),
    }


def camera_label(pan: float, tilt: float, zoom: float, shake: float) -> str:
    """Name the camera's movement from its mean speeds, all in frame diagonals per second at the picture's points."""
    speeds = {
        "pan_right" if pan > 0 else "pan_left": abs(pan),
        "tilt_up" if tilt > 0 else "tilt_down": abs(tilt),
        "zoom_in" if zoom > 0 else "zoom_out": abs(zoom),
    }
    (name, first), (_, second), _ = sorted(speeds.items(), key=lambda entry: -entry[1])
    if shake > _SHAKY_SPEED and shake > first:
        return "shaky"
    if first < _STATIC_SPEED:
        return "static"
    return name if first >= _DOMINANT * second else "mixed"


def _motion(values: Mapping[str, np.ndarray], video: Mapping[str, Any]) -> dict[str, Any]:
    measured = np.flatnonzero(np.isfinite(values["motion"]))
    # The first measurement looks back to a frame before the clip, which may belong to another shot.
    measured = measured[1:] if len(measured) > 1 else measured
    if not len(measured):
        names = ("motion", "motion_p95", "subject_motion", "pan", "tilt", "zoom", "shake", "camera_motion")
        return dict.fromkeys(names)
    motion, residual, pan, tilt, zoom = (
        values[name][measured].astype(float) for name in ("motion", "residual_motion", "pan", "tilt", "zoom")
    )
    width, height = video["width_px"], video["height_px"]
    diagonal = math.hypot(width, height)
    path = np.stack([pan * width / diagonal, tilt * height / diagonal], axis=1)
    shake = float(np.sqrt(((path - _smoothed(path)) ** 2).sum(1).mean()))
    across, up = path.mean(0)
    return {
        "motion": _quantile(motion, 0.5),
        "motion_p95": _quantile(motion, 0.95),
        "subject_motion": _quantile(residual, 0.5),
        "pan": float(pan.mean()),
        "tilt": float(tilt.mean()),
        "zoom": float(zoom.mean()),
        "shake": shake,
        "camera_motion": camera_label(float(across), float(up), float(zoom.mean()) * _MEAN_RADIUS, shake),
    }


def _smoothed(path: np.ndarray) -> np.ndarray:
    """Moving mean over a few samples, shorter at the ends."""
    window = min(_SMOOTH_SAMPLES, len(path))
    kernel = np.ones(window)
    weight = np.convolve(np.ones(len(path)), kernel, "same")
    return np.stack([np.convolve(column, kernel, "same") / weight for column in path.T], axis=1)


def _content(values: Mapping[str, np.ndarray], video: Mapping[str, Any]) -> dict[str, Any]:
    """The picture inside its bars, in displayed pixels, over all frames that are not black."""
    names = ("content_x_px", "content_y_px", "content_width_px", "content_height_px", "letterbox_fraction")
    seen = np.isfinite(values["box_left"])
    if not seen.any():
        return dict.fromkeys(names)
    # A few frames may be darker than their bars; a few others may show a glint on a bar.
    left, top = (_quantile(values[name][seen], 0.02) for name in ("box_left", "box_top"))
    right, bottom = (_quantile(values[name][seen], 0.98) for name in ("box_right", "box_bottom"))
    width, height = video["width_px"], video["height_px"]
    x, y = round(left * width), round(top * height)
    content = (x, y, max(1, round(right * width) - x), max(1, round(bottom * height) - y))
    return dict(zip(names, (*content, 1 - content[2] * content[3] / (width * height)), strict=True))


def _bits_per_pixel(video: Mapping[str, Any]) -> float | None:
    if not video["bitrate_bps"] or not video["fps"]:
        return None
    return video["bitrate_bps"] / (video["fps"] * video["width_px"] * video["height_px"])


def _mean(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else None


def _median(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return _quantile(finite, 0.5) if len(finite) else None


def _quantile(values: np.ndarray, share: float) -> float:
    """As NumPy's, which takes ten times as long over the few values of a clip."""
    ordered = np.sort(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)])
    return low + (place - below) * (high - low)


def _share(holds: np.ndarray) -> float | None:
    return float(holds.mean()) if len(holds) else None
