"""Mixed batches of images and videos of several sizes and lengths, for the training of a codec.

A bank holds some windows of footage in memory and is refilled in a fixed order, so decoding costs little however long
training lasts. What a step sees depends on the seed, the step and the footage alone: a resumed run sees the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from curate.counter_random import generator
from curate.errors import DatasetError, VideoError
from model.codec.base import Stride
from model.pixels import to_video


class Footage(Protocol):
    """Windows of footage by index: uint8 `[T, H, W, 3]` of any size. An item may raise VideoError."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchConfig:
    """What a codec is shown."""

    batch_pixels: int = 16 * 9 * 32 * 32
    """Pixels of a batch, all frames together: small crops come in larger batches."""
    frames: tuple[int, ...] = (1, 5, 9, 17)
    """Lengths, drawn evenly; 1 is an image."""
    crops_px: tuple[int, ...] = (32, 64)
    """Longest side of a crop, drawn evenly; smaller pictures are taken whole."""
    bank_windows: int = 256
    """Windows of footage in memory."""
    refill_steps: int = 500
    """Steps after which a bank that does not hold all footage takes the next windows."""

    def __post_init__(self) -> None:
        if min(self.batch_pixels, self.bank_windows, self.refill_steps, *self.frames, *self.crops_px) < 1:
            raise ValueError("batch_pixels, frames, crops_px, bank_windows and refill_steps must be at least 1")


class FrameBank:
    """Draws the batch of any step."""

    def __init__(self, footage: Footage, config: BatchConfig, stride: Stride, *, seed: int) -> None:
        self.footage = footage
        self.config = config
        self.stride = stride
        self.seed = seed
        self.unreadable: dict[int, str] = {}
        self._generation = -1
        self._windows: list[np.ndarray] = []

    def batch(self, step: int) -> Tensor:
        """Video `[B, 3, T, h, w]` in [-1, 1] of a step: equal crops of several windows, half of them mirrored."""
        windows = self.windows(step // self.config.refill_steps)
        random = generator(self.seed, "codec batch", step)
        longest = int(random.choice(self.config.frames))
        side = int(random.choice(self.config.crops_px))
        first = windows[random.integers(len(windows))]
        size = self._crop(first, longest, side)
        alike = [window for window in windows if all(a >= b for a, b in zip(window.shape, size, strict=False))]
        count = max(1, round(self.config.batch_pixels / (size[0] * size[1] * size[2])))
        crops = []
        for _ in range(count):
            window = alike[random.integers(len(alike))]
            starts = [int(random.integers(a - b + 1)) for a, b in zip(window.shape, size, strict=False)]
            crop = window[tuple(slice(start, start + length) for start, length in zip(starts, size, strict=True))]
            crops.append(crop[:, :, ::-1] if random.random() < 0.5 else crop)
        return torch.cat([to_video(crop) for crop in crops])

    def windows(self, generation: int) -> list[np.ndarray]:
        """The windows in memory in a generation; all of the footage, if it fits."""
        count = min(self.config.bank_windows, len(self.footage))
        if count == len(self.footage):
            generation = 0
        if generation != self._generation:
            self._generation = generation
            self._windows = [
                window for window in map(self._load, self._indices(generation, count)) if window is not None
            ]
            if not self._windows:
                reasons = "; ".join(sorted(set(self.unreadable.values()))[:3])
                raise DatasetError(f"none of {count} windows of footage could be used: {reasons}")
        return self._windows

    def _indices(self, generation: int, count: int) -> list[int]:
        total = len(self.footage)
        places = range(generation * count, (generation + 1) * count)
        return [int(_permutation(self.seed, place // total, total)[place % total]) for place in places]

    def _load(self, index: int) -> np.ndarray | None:
        try:
            window = self.footage[index]
        except VideoError as error:
            self.unreadable[index] = str(error)
            return None
        if window.shape[1] < self.stride[1] or window.shape[2] < self.stride[2]:
            self.unreadable[index] = (
                f"a picture of {window.shape[2]}x{window.shape[1]} px is smaller than a latent cell"
            )
            return None
        return window

    def _crop(self, window: np.ndarray, longest: int, side: int) -> tuple[int, int, int]:
        frames, height, width, _ = window.shape
        st, sh, sw = self.stride
        return (
            1 + (min(frames, longest) - 1) // st * st,
            max(sh, min(height, side) // sh * sh),
            max(sw, min(width, side) // sw * sw),
        )


def whole_video(window: np.ndarray, stride: Stride) -> Tensor:
    """The largest part of a window that divides into latent cells, from its first frame and corner."""
    frames, height, width, _ = window.shape
    frames = 1 + (frames - 1) // stride[0] * stride[0]
    return to_video(window[:frames, : height - height % stride[1], : width - width % stride[2]])


def _permutation(seed: int, epoch: int, total: int) -> np.ndarray:
    return generator(seed, "codec footage", epoch).permutation(total)
