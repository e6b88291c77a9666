"""From one picture to the next: every transition as a blend of two pictures at a progress between 0 and 1."""

from __future__ import annotations

import cv2
import numpy as np

TRANSITIONS = {
    "cut": "cut",
    "dissolve": "dissolve",
    "fade_black": "fade_black",
    "fade_white": "fade_white",
    "black": "fade_black",  # a cut to black, which holds, and a cut to the next
    "wipe_left": "wipe",  # the edge between the two moves to the left
    "wipe_right": "wipe",
    "wipe_up": "wipe",
    "wipe_down": "wipe",
    "iris": "iris",  # the new picture in a growing circle
    "push_left": "push",  # the new picture pushes the old one out
    "push_right": "push",
}
"""Every transition, and the kind that it counts as."""

_FLAT = {"fade_black": 0, "fade_white": 255}


def blend(name: str, old: np.ndarray, new: np.ndarray, progress: float) -> np.ndarray:
    """The picture that far on the way from old to new; uint8 `[H, W, 3]`."""
    if name == "dissolve":
        return cv2.addWeighted(old, 1 - progress, new, progress, 0)
    if name == "black":
        return np.zeros_like(old)
    if name in _FLAT:
        picture, share = (old, 1 - 2 * progress) if progress < 0.5 else (new, 2 * progress - 1)
        return cv2.addWeighted(picture, share, np.full_like(picture, _FLAT[name]), 1 - share, 0)
    if name == "iris":
        return _iris(old, new, progress)
    motion, _, direction = name.partition("_")
    return (_wipe if motion == "wipe" else _push)(old, new, progress, direction)


def _wipe(old: np.ndarray, new: np.ndarray, progress: float, direction: str) -> np.ndarray:
    picture = old.copy()
    height, width = old.shape[:2]
    columns, rows = round(progress * width), round(progress * height)
    left, right = {"left": (width - columns, width), "right": (0, columns)}.get(direction, (0, width))
    top, bottom = {"up": (height - rows, height), "down": (0, rows)}.get(direction, (0, height))
    picture[top:bottom, left:right] = new[top:bottom, left:right]
    return picture


def _push(old: np.ndarray, new: np.ndarray, progress: float, direction: str) -> np.ndarray:
    width = old.shape[1]
    columns = round(progress * width)
    if direction == "left":
        return np.concatenate([old[:, columns:], new[:, :columns]], axis=1)
    return np.concatenate([new[:, width - columns :], old[:, : width - columns]], axis=1)


def _iris(old: np.ndarray, new: np.ndarray, progress: float) -> np.ndarray:
    height, width = old.shape[:2]
    y, x = np.ogrid[:height, :width]
    distance = np.hypot(x + 0.5 - width / 2, y + 0.5 - height / 2)
    inside = distance < progress * np.hypot(width, height) / 2
    return np.where(inside[..., None], new, old)
