"""Layers that see the past through a small state: a chunk and what came before it give what the whole would give.

Every layer is called as `layer(x, state) -> (y, state)`, with `x [B, T, H, W, C]` and `state` None at the start of a
video. Nothing takes statistics over time or space, so no frame depends on a later one, or on how many there are.
"""

from __future__ import annotations

import math

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from model.codec.base import Stride

_FINE, _COARSE = "B (t ft) (h fh) (w fw) C", "B t h w (ft fh fw C)"
_KERNEL_FRAMES = 3


class Block(nn.Module):
    """A residual of a 3x3 convolution in space and a causal one over three frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_space = nn.RMSNorm(channels)
        self.space = SpaceConv(channels, channels)
        self.norm_time = nn.RMSNorm(channels)
        self.time = nn.Linear(_KERNEL_FRAMES * channels, channels)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        y = self.space(F.silu(self.norm_space(x)))
        y = F.silu(self.norm_time(y))
        # Before the first frame the video stood still.
        past = y[:, :1].expand(-1, _KERNEL_FRAMES - 1, -1, -1, -1) if state is None else state
        line = torch.cat([past, y], 1)
        frames = y.shape[1]
        y = self.time(torch.cat([line[:, shift : shift + frames] for shift in range(_KERNEL_FRAMES)], -1))
        return x + y, line[:, -(_KERNEL_FRAMES - 1) :]


class Down(nn.Module):
    """Cells of `factor` frames, rows and columns to one."""

    def __init__(self, channels: int, out_channels: int, factor: Stride) -> None:
        super().__init__()
        self.factor = factor
        self.mix = nn.Linear(math.prod(factor) * channels, out_channels)

    def forward(self, x: Tensor, state: bool | None) -> tuple[Tensor, bool]:
        if state is None:  # the first frame fills a cell of its own
            x = torch.cat([x[:, :1].expand(-1, self.factor[0] - 1, -1, -1, -1), x], 1)
        ft, fh, fw = self.factor
        return self.mix(rearrange(x, f"{_FINE} -> {_COARSE}", ft=ft, fh=fh, fw=fw)), True


class Up(nn.Module):
    """One cell to `factor` frames, rows and columns."""

    def __init__(self, channels: int, out_channels: int, factor: Stride) -> None:
        super().__init__()
        self.factor = factor
        self.mix = nn.Linear(channels, math.prod(factor) * out_channels)

    def forward(self, x: Tensor, state: bool | None) -> tuple[Tensor, bool]:
        ft, fh, fw = self.factor
        y = rearrange(self.mix(x), f"{_COARSE} -> {_FINE}", ft=ft, fh=fh, fw=fw)
        return (y[:, ft - 1 :] if state is None else y), True


class SpaceConv(nn.Linear):
    """A 3x3 convolution of every frame. Its weight is the matrix `[out, in * 9]`, which optimizers of matrices take."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__(9 * channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        kernel = self.weight.unflatten(1, (-1, 3, 3))
        y = F.conv2d(x.flatten(0, 1).permute(0, 3, 1, 2), kernel, self.bias, padding=1)  # channels stay last in memory
        return y.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
