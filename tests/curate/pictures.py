"""Pictures made in tests, and as the scan sees them."""

from __future__ import annotations

import cv2
import numpy as np

from curate.video import ReducedFrame


def frame_of(picture: np.ndarray, pts: int) -> ReducedFrame:
    """A reduced frame of an RGB picture with even sides."""
    height, width = picture.shape[:2]
    planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    y, u, v = np.split(planes, [height * width, height * width * 5 // 4])
    half = (height // 2, width // 2)
    return ReducedFrame(pts, None, y.reshape(height, width), u.reshape(half), v.reshape(half), False, False)


def texture(seed: int, width: int = 256, height: int = 144) -> np.ndarray:
    """A picture with structure at several scales."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (4, 9, 24):
        part = rng.uniform(0, 255, (max(1, cells * height // width), cells, 3)).astype(np.float32)
        picture += cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture / 3, 0, 255).astype(np.uint8)
