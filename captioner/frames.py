"""Frames as the captioner's video encoder wants them: so many, spread over the clip, at one size.

Any clip fits: `pad` keeps the whole picture and its shape inside a grey margin, `crop` keeps the middle, as CLIP was
trained. Letters: `T` frames of the clip, `N` frames that the encoder sees, `S` its size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameConfig:
    """What the video encoder sees of a clip."""

    num_frames: int = 8
    """Frames, spread evenly over the clip; a shorter clip repeats some."""
    size_px: int = 64
    """Width and height."""
    fit: Literal["pad", "crop"] = "pad"
    """Whether other shapes get a margin or lose their edges."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Mean of red, green and blue, 0 to 1; also the colour of the margin."""
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Spread of red, green and blue."""

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {self.num_frames}")
        if self.size_px < 16:
            raise ValueError(f"size_px must be at least 16, got {self.size_px}")


def spread_indices(num_frames: int, num_samples: int) -> list[int]:
    """The middles of equal parts of a clip: 9 frames, 3 samples -> [1, 4, 7]. A short clip repeats some."""
    if num_frames < 1 or num_samples < 1:
        raise ValueError(f"a clip of {num_frames} frames has no {num_samples} samples")
    return [(2 * index + 1) * num_frames // (2 * num_samples) for index in range(num_samples)]


def fit_frames(frames: np.ndarray, config: FrameConfig) -> np.ndarray:
    """Reduce a clip, uint8 `[T, height, width, 3]` of any size, to uint8 `[N, S, S, 3]`."""
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    height, width = frames.shape[1:3]
    chosen = frames[spread_indices(len(frames), config.num_frames)]
    pick = max if config.fit == "pad" else min
    scale = config.size_px / pick(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size != (height, width):
        pixels = torch.from_numpy(chosen).permute(0, 3, 1, 2).float()
        pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)
        chosen = pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    return _place(chosen, config)


def normalise(frames: Tensor, config: FrameConfig) -> Tensor:
    """uint8 `[B, N, S, S, 3]` to float `[B, N, 3, S, S]` with the mean and spread that the encoder was trained on."""
    pixels = frames.permute(0, 1, 4, 2, 3).float() / 255
    mean = torch.tensor(config.mean, device=frames.device)[:, None, None]
    std = torch.tensor(config.std, device=frames.device)[:, None, None]
    return (pixels - mean) / std


def _place(frames: np.ndarray, config: FrameConfig) -> np.ndarray:
    """Put pictures in the middle of a square, or the square in the middle of the pictures."""
    size = config.size_px
    height, width = frames.shape[1:3]
    top, left = (height - size) // 2, (width - size) // 2
    if config.fit == "crop":
        return np.ascontiguousarray(frames[:, top : top + size, left : left + size])
    if (height, width) == (size, size):
        return frames
    grey = np.asarray([round(255 * level) for level in config.mean], np.uint8)
    square = np.empty((len(frames), size, size, 3), np.uint8)
    square[:] = grey
    square[:, -top : height - top, -left : width - left] = frames
    return square
