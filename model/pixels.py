"""Frames as people store them and videos as codecs take them.

frames uint8 [T, H, W, 3]        video float [1, 3, T, H, W] in [-1, 1]
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_video(frames: np.ndarray) -> Tensor:
    """A video of one clip; a picture `[H, W, 3]` becomes a video of one frame."""
    if frames.ndim == 3:
        frames = frames[None]
    return torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 0)[None].float() / 127.5 - 1


def to_frames(video: Tensor) -> np.ndarray:
    """Frames of the only clip of a video; values outside [-1, 1] are clipped."""
    if video.ndim == 5:
        (video,) = video
    levels = (video.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    return levels.round().to(torch.uint8).movedim(0, -1).numpy()
