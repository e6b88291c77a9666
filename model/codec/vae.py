"""The trained codec: a causal autoencoder that starts as the linear one and learns what is missing.

    video ──▶ patches ──▶ linear map ───────────────┐
      └──▶ stem ─▶ blocks ─▶ down ─▶ ... ─▶ blocks ─▶ + ──▶ mean, log variance
    latent ─▶ linear map ──▶ patches ───────────────┐
      └──▶ blocks ─▶ up ─▶ ... ─▶ blocks ─▶ head ───▶ + ──▶ video

The linear maps are the principal components of the footage and both heads start at zero, so before its first step the
codec is `PCACodec` but for rounding and the easing of slots, and all that it learns is what that floor misses. It
learns under noise on its latents (`codec_train.py`), so what matters most to the picture gets the most variance, as in
principal components, and a transformer learns it first. Images are videos of one frame: one path, no special case.
Inside, tensors are `[B, T, H, W, C]`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.codec.base import LatentStats, Stride
from model.codec.causal import Block, Down, SpaceConv, Up
from model.codec.patches import from_patches, patch_values, to_patches
from model.codec.pca import PCACodec
from model.codec.units import State, UnitCodec

_LOGVAR_RANGE = (-20.0, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VAEConfig:
    """Size of the trained codec."""

    stride: tuple[int, int, int] = (4, 8, 8)
    """Frames, rows and columns per latent cell: powers of two, rows equal to columns."""
    z_dim: int = 16
    width: int = 32
    """Channels at half the video's resolution; they double with each further halving, up to `max_width`."""
    max_width: int = 512
    blocks: int = 1
    """Residual blocks at each resolution of the encoder."""
    decoder_blocks: int = 2
    """The same of the decoder, whose work is the harder."""

    def __post_init__(self) -> None:
        if len(self.stride) != 3 or any(side < 1 or side & (side - 1) for side in self.stride):
            raise ValueError(f"stride must be three powers of two, got {self.stride}")
        if self.stride[1] != self.stride[2] or self.stride[1] < 2:
            raise ValueError(f"stride must reduce rows and columns alike, by 2 at least, got {self.stride}")
        most = patch_values(self.stride)
        if not 1 <= self.z_dim <= most:
            raise ValueError(f"z_dim must be 1 to {most}, the values of a patch of {self.stride}, got {self.z_dim}")


class CausalVAE(UnitCodec):
    """See the head of this file. `latent` and `reconstruct` are the paths for training, a whole chunk at a time."""

    kind = "vae"

    def __init__(self, config: VAEConfig) -> None:
        super().__init__(config.stride, config.z_dim)
        self.config = config
        values = patch_values(config.stride)
        widths, factors = _levels(config)
        self.to_latent = nn.Linear(values, config.z_dim)
        self.to_patch = nn.Linear(config.z_dim, values)
        self.stem = Down(3, widths[0], (1, 2, 2))
        self.encoder = nn.ModuleList([Block(widths[0]) for _ in range(config.blocks)])
        for width, out, factor in zip(widths, widths[1:], factors, strict=False):
            self.encoder.append(Down(width, out, factor))
            self.encoder.extend(Block(out) for _ in range(config.blocks))
        self.encoder_norm = nn.RMSNorm(widths[-1])
        self.encoder_head = nn.Linear(widths[-1], 2 * config.z_dim)
        self.decoder_stem = SpaceConv(config.z_dim, widths[-1])
        self.decoder = nn.ModuleList([Block(widths[-1]) for _ in range(config.decoder_blocks)])
        for width, out, factor in reversed(list(zip(widths[1:], widths, factors, strict=False))):
            self.decoder.append(Up(width, out, factor))
            self.decoder.extend(Block(out) for _ in range(config.decoder_blocks))
        self.decoder_norm = nn.RMSNorm(widths[0])
        self.decoder_head = Up(widths[0], 3, (1, 2, 2))
        for layer in (self.encoder_head, self.decoder_head.mix):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.encoder_head.bias[config.z_dim :] = -10  # hardly any spread at first, where a latent is about 1
        # The floor stays where it is: what is learned is what it misses.
        self.to_latent.requires_grad_(False)
        self.to_patch.requires_grad_(False)

    def config_tree(self) -> dict[str, Any]:
        return {**asdict(self.config), "stride": list(self.config.stride)}

    @torch.no_grad()
    def start_from(self, pca: PCACodec) -> None:
        """Take over the principal components, and the scales of its channels, so that latents are about 1."""
        if (pca.stride, pca.z_dim) != (self.stride, self.z_dim):
            raise ValueError(f"a linear codec of {pca.stride} x {pca.z_dim} cannot start {self.stride} x {self.z_dim}")
        scale = pca.latent_std
        self.to_latent.weight.copy_(pca.components / scale[:, None])
        self.to_latent.bias.copy_(-pca.components @ pca.center / scale)
        self.to_patch.weight.copy_(pca.components.T * scale)
        self.to_patch.bias.copy_(pca.center)
        self.set_stats(LatentStats(mean=(0.0,) * self.z_dim, std=(1.0,) * self.z_dim))

    def matrices(self) -> list[nn.Parameter]:
        """The inner weights, which an optimizer of matrices may take."""
        inner = [*self.encoder.parameters(), *self.decoder.parameters(), *self.decoder_stem.parameters()]
        return [parameter for parameter in inner if parameter.ndim == 2]

    def latent(self, video: Tensor, state: State = None) -> tuple[Tensor, Tensor, State]:
        """Mean and log variance `[B, z, t, h, w]` of a chunk, not normalised, and the next state."""
        patches = to_patches(video, self.stride, is_start=state is None)
        x, _ = self.stem(video.movedim(1, -1), True)
        x, state = _through(self.encoder, x, state)
        extra, logvar = self.encoder_head(F.silu(self.encoder_norm(x))).chunk(2, -1)
        mean = self.to_latent(patches) + extra
        return mean.movedim(-1, 1), logvar.clamp(*_LOGVAR_RANGE).movedim(-1, 1), state

    def reconstruct(self, latent: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Video of a chunk of latents that are not normalised, and the next state."""
        z = latent.movedim(1, -1)
        base = from_patches(self.to_patch(z), self.stride, is_start=state is None)
        x, state = _through(self.decoder, self.decoder_stem(z), state)
        x, _ = self.decoder_head(F.silu(self.decoder_norm(x)), True)
        return base + x.movedim(-1, 1), state

    def encode_unit(self, frames: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        return self.latent(frames, state)

    def decode_unit(self, latent: Tensor, state: State) -> tuple[Tensor, State]:
        return self.reconstruct(latent, state)


def _through(layers: nn.ModuleList, x: Tensor, state: State) -> tuple[Tensor, State]:
    states = [None] * len(layers) if state is None else state
    after = []
    for layer, before in zip(layers, states, strict=True):
        x, kept = layer(x, before)
        after.append(kept)
    return x, after


def _levels(config: VAEConfig) -> tuple[list[int], list[Stride]]:
    """Channels of each resolution, and the factors between them. The stem halves rows and columns once.

    Space is reduced first and time last, where frames are smallest: (4, 16, 16) -> (1, 2, 2), (2, 2, 2), (2, 2, 2).
    """
    in_time, in_space = (side.bit_length() - 1 for side in config.stride[:2])
    in_space -= 1
    levels = max(in_time, in_space)
    factors: list[Stride] = []
    for level in range(levels):
        space = 2 if level < in_space else 1
        factors.append((2 if level >= levels - in_time else 1, space, space))
    widths = [config.width]
    for _ in factors:
        widths.append(min(config.max_width, 2 * widths[-1]))
    return widths, factors
