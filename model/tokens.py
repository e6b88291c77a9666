"""Latents as tokens: patches of spacetime, and where in space and time each of them lies.

B batch, C channels, T H W latent frames, rows, columns; N tokens, P values in a patch. Tokens are in the order
(frame, row, column), the values of a patch in the order (channel, frame, row, column).

Latent frame ("slot") 0 of a causal codec holds one picture, every later slot holds `stride` pictures:

    picture   0 | 1 2 3 4 | 5 6 7 8      stride 4, 9 pictures
    slot      0 |    1    |    2         3 slots
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

Shape = tuple[int, int, int]
"""Frames, rows, columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The tokens of one clip: how many there are along each axis, and what they span."""

    shape: Shape
    """Tokens along time, rows, columns."""
    fps: float
    stride: int = 4
    """Pictures in a latent slot."""
    slots: int = 1
    """Slots in a token: the first number of the patch."""
    single: bool = True
    """Whether the first slot holds one picture; False for a window cut from the middle of a clip."""

    @property
    def num_tokens(self) -> int:
        frames, rows, columns = self.shape
        return frames * rows * columns


def grid_shape(latent_shape: Shape, patch: Shape) -> Shape:
    """Tokens along each axis. Raises ValueError, naming the nearest size that works, when patches do not divide it."""
    if any(size % part or size < part for size, part in zip(latent_shape, patch, strict=True)):
        fits = tuple(max(size // part, 1) * part for size, part in zip(latent_shape, patch, strict=True))
        raise ValueError(
            f"a latent of {latent_shape} (frames, rows, columns) cannot be cut into patches of {patch}; "
            f"the nearest that can is {fits}"
        )
    frames, rows, columns = (size // part for size, part in zip(latent_shape, patch, strict=True))
    return frames, rows, columns


def patchify(latent: Tensor, patch: Shape) -> Tensor:
    """`[C, T, H, W]` to tokens `[N, P]`."""
    grid_shape(tuple(latent.shape[1:]), patch)  # type: ignore[arg-type]
    frames, rows, columns = patch
    return rearrange(
        latent, "C (t pt) (h ph) (w pw) -> (t h w) (C pt ph pw)", pt=frames, ph=rows, pw=columns
    ).contiguous()


def unpatchify(tokens: Tensor, shape: Shape, patch: Shape) -> Tensor:
    """Tokens `[N, P]` of a grid of `shape` back to a latent `[C, T, H, W]`."""
    frames, rows, columns = shape
    pt, ph, pw = patch
    return rearrange(
        tokens,
        "(t h w) (C pt ph pw) -> C (t pt) (h ph) (w pw)",
        t=frames, h=rows, w=columns, pt=pt, ph=ph, pw=pw,
    )  # fmt: skip


@lru_cache(maxsize=1024)
def metric_positions(grid: Grid) -> Tensor:
    """Where tokens lie, `[N, 3]`: seconds, then rows and columns from the centre over the square root of the area.

    So a clip at twice the size has the same extent, a wide one reaches further to the sides, and the frame rate is a
    coordinate. The time of a slot is the middle of its pictures, counted from the start of the clip or window.
    """
    frames, rows, columns = grid.shape
    slots = torch.arange(frames * grid.slots, dtype=torch.float64) * grid.stride
    if grid.single:
        slots[1:] -= (grid.stride - 1) / 2
    times = (slots / grid.fps).reshape(frames, grid.slots).mean(dim=1)
    scale = (rows * columns) ** -0.5
    ys = (torch.arange(rows, dtype=torch.float64) + 0.5 - rows / 2) * scale
    xs = (torch.arange(columns, dtype=torch.float64) + 0.5 - columns / 2) * scale
    return _mesh(times, ys, xs).float()


@lru_cache(maxsize=1024)
def index_positions(shape: Shape) -> Tensor:
    """Integer positions `[N, 3]`, as Wan counts them."""
    return _mesh(*(torch.arange(size, dtype=torch.float32) for size in shape))


@lru_cache(maxsize=1024)
def edge_positions(grid: Grid) -> Tensor:
    """Where tokens lie between the ends of the clip and the edges of the picture: time, rows and columns, each from
    -1 to 1, `[N, 3]`. The time is meant only where the clip's start is seen (`grid.single`)."""
    axes = ((2 * torch.arange(size, dtype=torch.float32) + 1) / size - 1 for size in grid.shape)
    return _mesh(*axes)


def _mesh(times: Tensor, ys: Tensor, xs: Tensor) -> Tensor:
    return torch.stack(torch.meshgrid(times, ys, xs, indexing="ij"), dim=-1).flatten(0, 2)
