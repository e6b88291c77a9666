"""A small video encoder that can see shape, place and motion: convolutions, and a read-out that keeps the grid.

    pairs of frames, and what changed -> convolutions at falling resolution -> a feature per cell and pair
        -> scene tokens: all cells and pairs as one vector, mapped to a few tokens (where, whither, how many)
        -> peak tokens: each feature at its strongest cell, for each pair (what, wherever it is)
        -> cell tokens: each cell's mean over time (what is where)

Trained from nothing on little data, pooling by attention or by means learns the colours of large areas and stops: it
starts as an average, in which a small subject drowns. A maximum finds it at once; a flattened grid knows where it was.
Letters: `B` clips, `P` pairs of frames, `H W` pixels, `G` cells per side, `C` channels, `D` width, `M` tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.frames import FrameConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class GridConfig:
    """Shape of the small encoder."""

    channels: tuple[int, ...] = (32, 64, 96)
    """Of each resolution; the first is half that of the picture, and each halves the one before."""
    blocks: tuple[int, ...] = (0, 1, 2)
    """Residual blocks at each resolution."""
    cell_channels: int = 24
    """To which each cell is reduced before all are flattened."""
    hidden: int = 512
    """Of the flattened read-out."""
    scene_tokens: int = 16

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.blocks) or not self.channels:
            raise ValueError(f"channels and blocks must be equally many, got {self.channels} and {self.blocks}")
        if any(channels % 8 for channels in self.channels):
            raise ValueError(f"channels must be multiples of 8, got {self.channels}")


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_2(F.gelu(self.conv_1(self.norm(x))))


class GridEncoder(nn.Module):
    """Frames `[B, 2P, 3, H, W]` to a contrastive embedding `[B, E]` and tokens `[B, M, D]`."""

    def __init__(self, config: GridConfig, frames: FrameConfig, *, width: int, embed_dim: int) -> None:
        super().__init__()
        side = frames.size_px >> len(config.channels)
        if frames.num_frames % 2 or side << len(config.channels) != frames.size_px:
            raise ValueError(
                "the small encoder takes an even number of frames, and a size that can be halved "
                f"{len(config.channels)} times; got {frames.num_frames} frames of {frames.size_px} px"
            )
        pairs, cells, channels = frames.num_frames // 2, side * side, config.channels[-1]
        self.scene_shape = (config.scene_tokens, width)
        self.convolutions = _convolutions(config)
        self.to_cell = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, config.cell_channels), nn.GELU())
        self.to_scene = nn.Sequential(
            nn.Linear(pairs * cells * config.cell_channels, config.hidden),
            nn.GELU(),
            nn.LayerNorm(config.hidden),
            nn.Linear(config.hidden, config.scene_tokens * width),
        )
        self.to_token = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        self.peak_position = nn.Parameter(0.5 * torch.randn(pairs, width))
        self.cell_position = nn.Parameter(0.5 * torch.randn(cells, width))
        self.ln_tokens = nn.LayerNorm(width)
        self.proj = nn.Linear((config.scene_tokens + pairs) * width, embed_dim, bias=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        x = _opponent(frames)  # [B 2P 4 H W]
        x = torch.cat([x, 2 * (x - torch.cat([x[:, :1], x[:, :-1]], dim=1))], dim=2)  # and its change, [B 2P 8 H W]
        x = x.unflatten(1, (-1, 2)).flatten(2, 3)  # [B P 16 H W]
        x = self.convolutions(x.flatten(0, 1).contiguous(memory_format=torch.channels_last))  # [(B P) C G G]
        x = x.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, (len(frames), -1))  # [B P GG C]
        scene = self.to_scene(self.to_cell(x).flatten(1)).unflatten(1, self.scene_shape)
        peaks = self.to_token(x.amax(2)) + self.peak_position
        cells = self.to_token(x.mean(1)) + self.cell_position
        tokens = self.ln_tokens(torch.cat([scene, peaks, cells], dim=1))  # [B M D]
        return self.proj(tokens[:, : -cells.shape[1]].flatten(1)), tokens


def _opponent(frames: Tensor) -> Tensor:
    """Red, green, blue `[B 2P 3 H W]` to brightness, two differences of colour, and how colourful, `[B 2P 4 H W]`.

    In red, green and blue, light and shade drown the colour of small things, which is then learnt last.
    """
    weights = frames.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    luma = (frames * weights).sum(2, keepdim=True)
    colorfulness = frames.amax(2, keepdim=True) - frames.amin(2, keepdim=True)
    return torch.cat([luma, 2 * (frames[:, :, :1] - luma), 2 * (frames[:, :, 2:] - luma), 2 * colorfulness - 1], dim=2)


def _convolutions(config: GridConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 16
    for channels, blocks in zip(config.channels, config.blocks, strict=True):
        layers += [nn.Conv2d(before, channels, 4, stride=2, padding=1), nn.GroupNorm(8, channels), nn.GELU()]
        layers += [ResidualBlock(channels) for _ in range(blocks)]
        before = channels
    return nn.Sequential(*layers)
