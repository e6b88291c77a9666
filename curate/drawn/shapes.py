"""Shapes and their textures as signed distances: smooth edges at any size and sub-pixel position.

Local coordinates: u to the right, v down, in units of the shape's radius. Distances are negative inside. All shapes
cover about the same area (1.8 to 2.6 square radii), so that large and small mean the same for a star and a square.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

EXTENT = 1.25
"""No shape, however it is turned, reaches further from its centre than this many radii."""

BOTTOM = {
    "circle": 0.9,
    "square": 0.8,
    "triangle": 0.6,
    "star": 1.011,
    "cross": 1.05,
    "ring": 1.0,
    "heart": 1.05,
    "crescent": 1.05,
}
"""How far below its centre an upright shape touches the floor, in radii."""


def _circle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 0.9


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - 0.8


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u) * 0.8660254 - v * 0.5, v) - 0.6


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # Five-fold symmetry by reflections, then one edge: from the tip (0, -1.25) to the notch at radius 0.55.
    u, v = np.abs(u), -v
    for sign in (1.0, -1.0):
        fold = 2.0 * np.maximum(sign * 0.80901699 * u - 0.58778525 * v, 0.0)
        u, v = u - fold * sign * 0.80901699, v + fold * 0.58778525
    return np.abs(u) * 0.9286587 + (v - 1.25) * 0.3709346


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v = np.abs(u), np.abs(v)
    return np.minimum(np.maximum(u - 1.05, v - 0.36), np.maximum(v - 1.05, u - 0.36))


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(u, v) - 0.75) - 0.25


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v, half = np.abs(u), v - 0.2, 0.85  # a square on its corner, and a disc on each of its upper edges
    corner = (u + np.abs(v) - half) * 0.70710678
    return np.minimum(corner, np.hypot(u - half / 2, v + half / 2) - half * 0.70710678)


def _crescent(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u = u - 0.2  # the disc without the disc to its right, centred
    return np.maximum(np.hypot(u, v) - 1.05, 0.8 - np.hypot(u - 0.55, v))


DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
}


def square_wave(x: np.ndarray, period: float) -> np.ndarray:
    """Signed distance of x to the stripes that cover every other half period: positive inside."""
    return np.abs(x - period * np.floor(x / period + 0.5)) - 0.25 * period


def texture_distance(texture: str, u: np.ndarray, v: np.ndarray) -> np.ndarray | None:
    """Signed distance to the second colour of a texture, positive inside; None where there is no second colour."""
    if texture == "striped":
        return square_wave(u + 0.175, 0.7)
    if texture == "checkered":
        across, down = square_wave(u + 0.2, 0.8), square_wave(v + 0.2, 0.8)
        return np.where(across * down > 0, 1.0, -1.0) * np.minimum(np.abs(across), np.abs(down))
    if texture == "dotted":
        return 0.2 - np.hypot(u - 0.64 * np.floor(u / 0.64 + 0.5), v - 0.64 * np.floor(v / 0.64 + 0.5))
    return None
