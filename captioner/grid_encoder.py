"""A small video encoder that can see shape, place and motion: convolutions, and a read-out that keeps the grid.

    pairs of frames at half size, and what changed -> convolutions -> a feature per cell and pair     (whither, where)
    the first pair at full size, and what changed  -> convolutions -> a feature per cell              (what)
        -> scene tokens: all cells of both as one vector, mapped to a few tokens
        -> peak tokens: each feature of the full picture at its strongest cell, wherever that is

Movement needs many frames and few pixels, shapes many pixels and few frames (Feichtenhofer et al. 2019, SlowFast).
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

    channels: tuple[int, ...] = (32, 48, 96)
    """Of each resolution; the first is half that of the picture, and each halves the one before."""
    blocks: tuple[int, ...] = (0, 1, 1)
    """Residual blocks at each resolution."""
    cell_channels: int = 24
    """To which each cell is reduced before all are flattened."""
    hidden: int = 512
    """Of the flattened read-out."""
    pooled: bool = False
    """Whether the read-out also gets the maximum and the mean of each feature: what moves, wherever it is."""
    scene_tokens: int = 16
    peak_tokens: int = 4

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.blocks) or not self.channels:
            raise ValueError(f"channels and blocks must be equally many, got {self.channels} and {self.blocks}")


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_2(F.gelu(self.conv_1(self.norm(x))))


class GridEncoder(nn.Module):
    """Frames, uint8 `[B, 2P, H, W, 3]`, to a contrastive embedding `[B, E]` and tokens `[B, M, D]`.

    A single frame stands for a clip in which nothing moves.
    """

    def __init__(self, config: GridConfig, frames: FrameConfig, *, width: int, embed_dim: int) -> None:
        super().__init__()
        halvings = len(config.channels) + 1
        side = frames.size_px >> halvings
        if frames.num_frames % 2 or side << halvings != frames.size_px:
            raise ValueError(
                f"the small encoder takes an even number of frames, and a size that can be halved {halvings} times; "
                f"got {frames.num_frames} frames of {frames.size_px} px"
            )
        self.num_pairs, channels = frames.num_frames // 2, config.channels[-1]
        self.num_scene_tokens, self.width = config.scene_tokens, width
        self.num_tokens = config.scene_tokens + config.peak_tokens
        self.pooled = config.pooled
        num_read = side * side * config.cell_channels + (2 * channels if config.pooled else 0)
        self.whither = _convolutions(config)
        self.whither_cell = nn.Sequential(nn.Conv2d(channels, config.cell_channels, 1), nn.GELU())
        self.what = _convolutions(config)
        self.what_cell = nn.Sequential(nn.Conv2d(channels, config.cell_channels, 2, stride=2), nn.GELU())
        self.to_scene = nn.Sequential(
            nn.Linear((self.num_pairs + 1) * num_read, config.hidden),
            nn.GELU(),
            nn.LayerNorm(config.hidden),
            nn.Linear(config.hidden, config.scene_tokens * width),
        )
        self.to_peaks = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, config.peak_tokens * width))
        self.ln_tokens = nn.LayerNorm(width)
        self.proj = nn.Linear(self.num_tokens * width, embed_dim, bias=False)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        if frames.shape[1] == 1:
            frames = frames.expand(-1, 2, -1, -1, -1)
        small = F.avg_pool2d(frames.flatten(0, 1).permute(0, 3, 1, 2).float(), 2).permute(0, 2, 3, 1)
        whither = self._read(self.whither_cell, self.whither(_pairs(small.unflatten(0, frames.shape[:2]))))
        whither = whither.unflatten(0, (len(frames), -1))  # [B P R]
        whither = whither.expand(-1, self.num_pairs, -1)  # a still, as often as there should be pairs
        what = self.what(_pairs(frames[:, :2].float()))  # [B C 2G 2G]
        seen = torch.cat([whither.flatten(1), self._read(self.what_cell, what)], dim=1)
        tokens = torch.cat([self.to_scene(seen), self.to_peaks(what.amax((2, 3)))], dim=1)
        tokens = self.ln_tokens(tokens.unflatten(1, (-1, self.width)))  # [B M D]
        return self.proj(tokens.flatten(1)), tokens

    def _read(self, cell: nn.Module, features: Tensor) -> Tensor:
        """Features `[X C H W]` as one vector, `[X R]`: all cells, and what is anywhere."""
        pooled = [features.amax((2, 3)), features.mean((2, 3))] if self.pooled else []
        return torch.cat([cell(features).flatten(1), *pooled], dim=1)


class WordHeads(nn.Module):
    """Guesses the words of a caption from what was seen; counts how rare they are."""

    captions: Tensor
    captions_with: Tensor

    def __init__(self, embed_dim: int, width: int, vocab_size: int) -> None:
        super().__init__()
        self.of_scene = nn.Linear(embed_dim, vocab_size)
        self.of_peaks = nn.Linear(width, vocab_size)
        self.register_buffer("captions", torch.zeros(()))
        self.register_buffer("captions_with", torch.zeros(vocab_size))

    def rarity(self, occurs: Tensor | None = None) -> Tensor:
        """Inverse document frequency of each token `[V]`, after counting some more captions `[B, V]`."""
        if occurs is not None:
            self.captions += len(occurs)
            self.captions_with += occurs.sum(0)
        return (self.captions / (1 + self.captions_with)).clamp(min=1).log()


def _pairs(frames: Tensor) -> Tensor:
    """Red, green, blue, 0 to 255, `[B 2P H W 3]`, to what is seen in each pair of frames, `[(B P) 10 H W]`.

    Of each frame brightness, two differences of colour, how colourful, and how brightness changed: in red, green and
    blue, light and shade drown the colour of small things, which is then learnt last.
    """
    with torch.autocast(frames.device.type, enabled=False):
        rgb = frames / 127.5 - 1
        to_opponent = rgb.new_tensor([[0.299, 1.402, -0.598], [0.587, -1.174, -1.174], [0.114, -0.228, 1.772]])
        opponent = rgb @ to_opponent  # luma, 2 (red - luma), 2 (blue - luma)
        red, green, blue = rgb.unbind(-1)
        colorfulness = torch.maximum(red.maximum(green), blue) - torch.minimum(red.minimum(green), blue)
        luma = opponent[..., 0]
        change = luma - torch.cat([luma[:, :1], luma[:, :-1]], dim=1)
        x = torch.cat([opponent, torch.stack([2 * colorfulness - 1, 2 * change], dim=-1)], dim=-1)
    x = x.unflatten(1, (-1, 2)).permute(0, 1, 2, 5, 3, 4).flatten(2, 3).flatten(0, 1)
    return x.contiguous(memory_format=torch.channels_last)


def _convolutions(config: GridConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 10
    for channels, blocks in zip(config.channels, config.blocks, strict=True):
        layers += [nn.Conv2d(before, channels, 4, stride=2, padding=1), nn.BatchNorm2d(channels), nn.GELU()]
        layers += [ResidualBlock(channels) for _ in range(blocks)]
        before = channels
    return nn.Sequential(*layers)
