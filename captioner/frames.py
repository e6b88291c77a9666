"""Frames as the captioner's video encoder wants them: so many, spread over the clip, at one size.

Any clip fits: `stretch` keeps the whole picture and spends every pixel on it, `crop` keeps the middle, as CLIP was
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
    fit: Literal["stretch", "crop"] = "stretch"
    """Whether pictures that are not square are squeezed or lose their edges."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    """Mean of red, green and blue, 0 to 1."""
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
    size = config.size_px
    chosen = frames[spread_indices(len(frames), config.num_frames)]
    if config.fit == "crop":
        return _crop(_resize(chosen, size / min(chosen.shape[1:3])), size)
    return _resize(chosen, (size, size))


def normalise(frames: Tensor, config: FrameConfig) -> Tensor:
    """uint8 `[B, N, S, S, 3]` to float `[B, N, 3, S, S]` with the mean and spread that the encoder was trained on."""
    pixels = frames.permute(0, 1, 4, 2, 3).float() / 255
    mean = torch.tensor(config.mean, device=frames.device)[:, None, None]
    std = torch.tensor(config.std, device=frames.device)[:, None, None]
    return (pixels - mean) / std


def _resize(frames: np.ndarray, to: float | tuple[int, int]) -> np.ndarray:
    """Scale by a factor, or to a height and width."""
    height, width = frames.shape[1:3]
    size = to if isinstance(to, tuple) else (max(1, round(height * to)), max(1, round(width * to)))
    if size == (height, width):
        return frames
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float()
    pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True, align_corners=False)
    return pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def _crop(frames: np.ndarray, size: int) -> np.ndarray:
    """The square in the middle."""
    top, left = (frames.shape[1] - size) // 2, (frames.shape[2] - size) // 2
    return np.ascontiguousarray(frames[:, top : top + size, left : left + size])
