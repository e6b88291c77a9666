"""A small video encoder that can see shape, place and motion: convolutions, then a read-out that keeps the grid.

    frames and what changed since the frame before -> convolutions at falling resolution -> a feature per cell and frame
        -> scene tokens: all cells and frames, flattened into one vector, mapped to a few tokens (where, when, how many)
        -> cell tokens: mean over time of each cell (what is there)

Poolers and means, trained from nothing on little data, learn colours and no more: they do not know where anything is.
Letters: `B` clips, `N` frames, `H W` pixels, `G` cells per side, `C` channels, `D` width.
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

    channels: tuple[int, ...] = (24, 48, 96)
    """Of each resolution; each halves the one before, the first halves the picture."""
    blocks: tuple[int, ...] = (0, 1, 2)
    """Residual blocks at each resolution."""
    cell_channels: int = 24
    """To which each cell is reduced before all are flattened."""
    hidden: int = 512
    """Of the flattened read-out."""
    scene_tokens: int = 16

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.blocks):
            raise ValueError(f"channels and blocks must be equally many, got {self.channels} and {self.blocks}")


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_2(F.gelu(self.conv_1(self.norm(x))))


class GridEncoder(nn.Module):
    """Frames `[B, N, 3, H, W]` to a contrastive embedding `[B, E]` and tokens `[B, M, D]`."""

    def __init__(self, config: GridConfig, frames: FrameConfig, *, width: int, embed_dim: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        previous = 6
        for channels, blocks in zip(config.channels, config.blocks, strict=True):
            stages += [nn.Conv2d(previous, channels, 4, stride=2, padding=1), nn.GroupNorm(8, channels), nn.GELU()]
            stages += [ResidualBlock(channels) for _ in range(blocks)]
            previous = channels
        self.stages = nn.Sequential(*stages)
        side = frames.size_px >> len(config.channels)
        self.num_scene_tokens, self.width = config.scene_tokens, width
        self.to_cell = nn.Sequential(nn.LayerNorm(previous), nn.Linear(previous, config.cell_channels), nn.GELU())
        flat = frames.num_frames * side * side * config.cell_channels
        self.to_scene = nn.Sequential(
            nn.Linear(flat, config.hidden),
            nn.GELU(),
            nn.LayerNorm(config.hidden),
            nn.Linear(config.hidden, config.scene_tokens * width),
        )
        self.to_cell_token = nn.Sequential(nn.LayerNorm(previous), nn.Linear(previous, width))
        self.cell_position = nn.Parameter(torch.randn(side * side, width))
        self.ln_tokens = nn.LayerNorm(width)
        self.proj = nn.Linear(config.scene_tokens * width, embed_dim, bias=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        before = torch.cat([frames[:, :1], frames[:, :-1]], dim=1)
        x = torch.cat([frames, frames - before], dim=2).flatten(0, 1)  # [(B N) 6 H W]
        x = self.stages(x.contiguous(memory_format=torch.channels_last))  # [(B N) C G G]
        x = x.permute(0, 2, 3, 1).flatten(1, 2).unflatten(0, frames.shape[:2])  # [B N (G G) C]
        scene = self.to_scene(self.to_cell(x).flatten(1)).unflatten(1, (self.num_scene_tokens, self.width))
        cells = self.to_cell_token(x.mean(1)) + self.cell_position
        tokens = self.ln_tokens(torch.cat([scene, cells], dim=1))  # [B M D]
        return self.proj(tokens[:, : self.num_scene_tokens].flatten(1)), tokens
