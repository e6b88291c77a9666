"""Evidence for shot transitions: geometry of thumbnails in time, from which `curate.shots` decides.

A film is a path through the space of pictures. A cut is a step that stays; a flash is a step that returns; a dissolve
is a straight line between two places; a wipe goes there pixel by pixel; a pan wanders. All evidence measures that path,
with lengths in seconds, so that it means the same at 12 and at 120 frames per second.

Everything here is a function of arrays: `luma` uint8 `[N, h, w]`, `colour` uint8 `[N, 3, h', w']` (luma and both
chroma). A difference of two pictures is the mean over pixels of the absolute difference, summed over the three planes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SCALES_S = (0.1, 0.2, 0.4, 0.8)
"""Half lengths over which gradual transitions are looked for."""

RETURN_S = 0.17
"""A step that returns within this time is a flash."""

REACH_S = 2 * SCALES_S[-1] + 0.1
"""How far, in time, the evidence of a frame looks to either side."""

EVIDENCE = {
    "jump": "Difference to the frame before that movement by 3 % of the picture cannot explain.",
    "step": "Difference to the frame before, without regard to movement.",
    "extent": "Share of the picture that this difference is spread over.",
    "likeness": "Correlation of the structure of this frame and the one before, -1 to 1.",
    "returns": "Smallest difference between the frame before and those that follow within 0.17 s.",
    "was_before": "Smallest difference between this frame and those in the 0.17 s before the frame before.",
}
for _scale_s in SCALES_S:
    _ms = round(1000 * _scale_s)
    EVIDENCE |= {
        f"apart_{_ms}": f"Difference between the pictures {_ms} ms before and after.",
        f"drift_{_ms}": f"Difference of these to the pictures {_ms} ms further away: how much each side moves.",
        f"blend_{_ms}": "Share of the difference that no mixture of the two explains; near 0 in a dissolve.",
        f"share_{_ms}": "Share of the later picture in the best mixture.",
        f"pieces_{_ms}": "Share of the difference that no patchwork of the two explains; near 0 in a wipe.",
        f"extent_{_ms}": "Share of the picture that the difference is spread over.",
        f"likeness_{_ms}": "Correlation of the structure of the two pictures.",
    }

_CHROMA_TOLERANCE = 1  # pixels of movement that count as none, on each side
_LUMA_TOLERANCE = 2
_NOISE = 1.0  # differences below that are compression
_FLAT = 16.0  # variance below which a picture has no structure to compare


def evidence(
    seconds: np.ndarray, luma: np.ndarray, colour: np.ndarray, rows: slice, is_start: bool
) -> dict[str, np.ndarray]:
    """The columns of `EVIDENCE` for the frames `rows`; the others are context.

    `is_start` tells that the first frame given is the first of the video; there, what looks back is NaN.
    """
    index = np.arange(len(seconds))[rows]
    before = np.maximum(index - 1, 0)
    flat = colour.reshape(len(colour), -1).astype(np.float32)
    shape = colour[:, 0].reshape(len(colour), -1).astype(np.float32)
    shape -= shape.mean(1, keepdims=True)
    step, extent = _difference(flat[before], flat[index])
    columns = {
        "jump": _jump(luma, colour, index, before),
        "step": step,
        "extent": extent,
        "likeness": _likeness(shape[before], shape[index]),
        "returns": _smallest(flat, before, _later(seconds, index)),
        "was_before": _smallest(flat, index, _earlier(seconds, before)),
    }
    for values in columns.values():
        values[(index == 0) & is_start] = np.nan
    for scale_s in SCALES_S:
        columns |= _gradual(flat, shape, seconds, index, scale_s)
    return columns


def at(seconds: np.ndarray, when_s: np.ndarray) -> np.ndarray:
    """Index of the frame nearest to each time; the first or last frame for times outside."""
    right = np.clip(np.searchsorted(seconds, when_s), 1, max(1, len(seconds) - 1))
    left = right - 1
    right = np.minimum(right, len(seconds) - 1)
    return np.where(when_s - seconds[left] <= seconds[right] - when_s, left, right)


def _difference(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean absolute difference, and the share of the picture that it is spread over (its participation ratio)."""
    apart = np.abs(a - b)
    total = apart.sum(1)
    spread = total * total / (apart.shape[1] * np.einsum("ij,ij->i", apart, apart) + 1e-6)
    return total * (3 / apart.shape[1]), spread


def _likeness(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    num_pixels = a.shape[1]
    power = np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b)
    return np.einsum("ij,ij->i", a, b) / (np.sqrt(power) + _FLAT * num_pixels)


def _smallest(flat: np.ndarray, index: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    return np.min([_difference(flat[index], flat[other])[0] for other in others], axis=0)


def _later(seconds: np.ndarray, index: np.ndarray) -> list[np.ndarray]:
    """Up to five frames after each frame, evenly within `RETURN_S`, and always the next one."""
    last = len(seconds) - 1
    return [
        np.clip(at(seconds, seconds[index] + RETURN_S * k / 5), np.minimum(index + 1, last), last) for k in range(1, 6)
    ]


def _earlier(seconds: np.ndarray, index: np.ndarray) -> list[np.ndarray]:
    return [np.clip(at(seconds, seconds[index] - RETURN_S * k / 5), 0, np.maximum(index - 1, 0)) for k in range(1, 6)]


def _gradual(
    flat: np.ndarray, shape: np.ndarray, seconds: np.ndarray, index: np.ndarray, scale_s: float
) -> dict[str, np.ndarray]:
    last = len(seconds) - 1
    now = seconds[index]
    # At low frame rates a scale may be less than a frame: then it is one.
    a_index = np.clip(at(seconds, now - scale_s), 0, np.maximum(index - 1, 0))
    b_index = np.clip(at(seconds, now + scale_s), np.minimum(index + 1, last), last)
    a2_index = np.clip(at(seconds, now - 2 * scale_s), 0, np.maximum(a_index - 1, 0))
    b2_index = np.clip(at(seconds, now + 2 * scale_s), np.minimum(b_index + 1, last), last)
    a, m, b = flat[a_index], flat[index], flat[b_index]
    planes = 3 / flat.shape[1]
    way, from_a, from_b = b - a, m - a, m - b
    apart, extent = _difference(a, b)
    share = np.einsum("ij,ij->i", from_a, way) / (np.einsum("ij,ij->i", way, way) + 1e-3)
    unmixed = np.abs(from_a - share[:, None] * way).sum(1) * planes
    patchwork = np.minimum(np.abs(from_a), np.abs(from_b)).sum(1) * planes
    drift = 0.5 * (_difference(flat[a2_index], a)[0] + _difference(b, flat[b2_index])[0])
    ms = round(1000 * scale_s)
    return {
        f"apart_{ms}": apart,
        f"drift_{ms}": drift,
        f"blend_{ms}": unmixed / (apart + _NOISE),
        f"share_{ms}": np.clip(share, -1, 2),
        f"pieces_{ms}": patchwork / (apart + _NOISE),
        f"extent_{ms}": extent,
        f"likeness_{ms}": _likeness(shape[a_index], shape[b_index]),
    }


def _jump(luma: np.ndarray, colour: np.ndarray, index: np.ndarray, before: np.ndarray) -> np.ndarray:
    total = _unexplained(luma, index, before, _LUMA_TOLERANCE)
    for plane in (1, 2):
        total += _unexplained(colour[:, plane], index, before, _CHROMA_TOLERANCE)
    return total


def _unexplained(planes: np.ndarray, index: np.ndarray, before: np.ndarray, tolerance: int) -> np.ndarray:
    """How far values lie outside those of their neighbourhood in the other frame, mean of both directions of time."""
    high, low = _around(planes, np.maximum, tolerance), _around(planes, np.minimum, tolerance)
    outside = sum(
        (np.maximum(planes[x], high[y]) - high[y]).sum((1, 2), dtype=np.uint32)
        + (low[y] - np.minimum(planes[x], low[y])).sum((1, 2), dtype=np.uint32)
        for x, y in ((index, before), (before, index))
    )
    return np.asarray(outside, np.float32) / (2 * planes[0].size)


def _around(planes: np.ndarray, extreme: Callable[..., np.ndarray], tolerance: int) -> np.ndarray:
    """The largest or smallest value within `tolerance` pixels."""
    for axis in (1, 2):
        size = planes.shape[axis]
        padding = [(0, 0)] * 3
        padding[axis] = (tolerance, tolerance)
        padded = np.pad(planes, padding, mode="edge")
        shifted = [padded.take(range(k, k + size), axis) for k in range(2 * tolerance + 1)]
        planes = extreme.reduce(shifted)  # type: ignore[attr-defined]
    return planes
