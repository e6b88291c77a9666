"""Causal codecs that work unit by unit: the first frame, then `stride[0]` frames at a time.

A video given whole is cut into the same units as a video given in pieces, and every unit goes through the same
operations on the same shapes. So chunked and whole results are equal to the bit on any machine, and the memory that a
codec needs does not grow with the length of the video. What a unit knows of the past is in `state`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from model.codec.base import LatentStats, Stride, draw, latent_shape
from model.tensor_hash import hash_tensors

State = Any
"""What is carried from unit to unit; None before the first."""


class UnitCodec(nn.Module):
    """Base of our codecs. A child offers `kind`, `config_tree`, `encode_unit` and `decode_unit`."""

    kind: ClassVar[str]
    causal = True
    exact_chunks = True
    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, stride: Stride, z_dim: int) -> None:
        super().__init__()
        if min(stride) < 1 or z_dim < 1:
            raise ValueError(f"a codec needs a positive stride and z_dim, got {stride} and {z_dim}")
        self.stride: Stride = (stride[0], stride[1], stride[2])
        self.z_dim = z_dim
        self.register_buffer("latent_mean", torch.zeros(z_dim))
        self.register_buffer("latent_std", torch.ones(z_dim))

    def config_tree(self) -> dict[str, Any]:
        """The plain values from which the codec can be made again, without its weights."""
        raise NotImplementedError

    def encode_unit(self, frames: Tensor, state: State) -> tuple[Tensor, Tensor | None, State]:
        """Mean and log variance `[B, z, 1, h, w]` (not normalised) of a unit of frames, and the next state."""
        raise NotImplementedError

    def decode_unit(self, latent: Tensor, state: State) -> tuple[Tensor, State]:
        """The frames of one latent frame that is not normalised, and the next state."""
        raise NotImplementedError

    @torch.no_grad()
    def encode_chunk(self, video: Tensor, state: State = None) -> tuple[Tensor, Tensor | None, State]:
        """Normalised moments of the next frames of a video, and the state after them.

        The first chunk (`state` None) has 1 + k * stride[0] frames, later ones k * stride[0].
        """
        head = int(state is None)
        latent_shape(self.stride, video.shape[2] + 1 - head, *video.shape[3:])
        sizes = [1] * head + [self.stride[0]] * ((video.shape[2] - head) // self.stride[0])
        means, logvars = [], []
        for frames in video.split(sizes, dim=2):
            mean, logvar, state = self.encode_unit(frames, state)
            means.append((mean - _wide(self.latent_mean)) / _wide(self.latent_std))
            if logvar is not None:
                logvars.append(logvar - 2 * _wide(self.latent_std).log())
        return torch.cat(means, 2), torch.cat(logvars, 2) if logvars else None, state

    @torch.no_grad()
    def decode_chunk(self, latent: Tensor, state: State = None) -> tuple[Tensor, State]:
        """The video of the next latent frames, in [-1, 1], and the state after them."""
        pieces = []
        for cell in latent.split(1, dim=2):
            frames, state = self.decode_unit(cell * _wide(self.latent_std) + _wide(self.latent_mean), state)
            pieces.append(frames.clamp(-1, 1))
        return torch.cat(pieces, 2), state

    def moments(self, video: Tensor) -> tuple[Tensor, Tensor | None]:
        mean, logvar, _ = self.encode_chunk(video)
        return mean, logvar

    def encode(self, video: Tensor, sample: torch.Generator | None = None) -> Tensor:
        return draw(*self.moments(video), sample)

    def decode(self, latent: Tensor) -> Tensor:
        return self.decode_chunk(latent)[0]

    def set_stats(self, stats: LatentStats) -> None:
        """Set what latents are normalised by."""
        if len(stats.mean) != self.z_dim:
            raise ValueError(f"statistics of {len(stats.mean)} channels for a codec of {self.z_dim}")
        self.latent_mean.copy_(torch.tensor(stats.mean))
        self.latent_std.copy_(torch.tensor(stats.std))

    @property
    def stats(self) -> LatentStats:
        """What latents are normalised by."""
        return LatentStats(mean=tuple(self.latent_mean.tolist()), std=tuple(self.latent_std.tolist()))

    def fingerprint(self) -> str:
        return hash_tensors(self.state_dict(), self.kind, self.config_tree())


def _wide(channels: Tensor) -> Tensor:
    return channels.view(1, -1, 1, 1, 1)
