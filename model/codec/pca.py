"""The linear codec in closed form: each latent cell holds the leading principal components of its patch.

It is fitted in seconds, so it is the default where nothing was trained; it is the floor that a trained codec must
beat; and it starts the trained one (`vae.py`).

What components leave out differs from slot to slot, so the picture would jump where one slot ends and the next begins.
The first half of a slot is therefore eased over from the picture before it (`model.joins`), by no more than a few times
what the codec misses anyway: a true cut stays a cut, and a codec that misses nothing changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from curate.errors import TrainingError
from model.codec.base import LatentStats, Stride, latent_shape
from model.codec.patches import from_patches, patch_values, to_patches
from model.codec.units import State, UnitCodec
from model.joins import eased

_EASED = 5.0
"""How far a picture may be moved to meet the one before, in deviations of what the codec misses. On drawn footage
slots of 8 frames then meet with 1.2 times the usual change instead of 3.6, at the same PSNR; with 8.0 it falls."""


class PCACodec(UnitCodec):
    """Principal components of patches of `stride` frames, rows and columns. Made by `fit_pca`."""

    kind = "pca"
    components: Tensor  # [z, P], rows of length 1, most variance first
    center: Tensor  # [P]
    missed: Tensor  # [], root mean square of what a value of a patch loses

    def __init__(self, *, stride: Stride, z_dim: int) -> None:
        super().__init__(stride, z_dim)
        values = patch_values(stride)
        if z_dim > values:
            raise ValueError(
                f"a patch of stride {stride} has {values} values; z_dim can be {values} at most, got {z_dim}"
            )
        self.register_buffer("components", torch.eye(z_dim, values))
        self.register_buffer("center", torch.zeros(values))
        self.register_buffer("missed", torch.zeros(()))

    def config_tree(self) -> dict[str, Any]:
        return {"stride": list(self.stride), "z_dim": self.z_dim}

    def encode_unit(self, frames: Tensor, state: State) -> tuple[Tensor, None, State]:
        patches = to_patches(frames, self.stride, is_start=state is None)
        latent = nn.functional.linear(patches - self.center, self.components)
        return latent.movedim(-1, 1), None, True

    def decode_unit(self, latent: Tensor, state: State) -> tuple[Tensor, State]:
        patches = nn.functional.linear(latent.movedim(1, -1), self.components.T) + self.center
        frames = from_patches(patches, self.stride, is_start=state is None)
        if state is not None:
            frames = eased(frames, state, most=_EASED * float(self.missed))
        return frames, frames[:, :, -1:]


def fit_pca(videos: Iterable[Tensor], *, stride: Stride, z_dim: int, balance: float = 0.0) -> PCACodec:
    """Fit the components to videos `[B, 3, T, H, W]` in [-1, 1] of any sizes that divide.

    `balance` is how far channels are brought to the same deviation when they are normalised: 0 keeps them in
    proportion, so that the first, the mean colour, varies some eighty times as much as the last; 1 makes all alike, and
    a model learns noise. 0.5 takes the square root of the proportions.
    Raises ValueError when they hold fewer patches than the latent has channels.
    """
    if not 0 <= balance <= 1:
        raise ValueError(f"balance is a share, from 0 to 1, got {balance}")
    codec = PCACodec(stride=stride, z_dim=z_dim)
    values = patch_values(stride)
    count = 0
    total = torch.zeros(values, dtype=torch.float64)
    products = torch.zeros(values, values, dtype=torch.float64)
    for video in videos:
        latent_shape(stride, *video.shape[2:])
        patches = to_patches(video.cpu(), stride, is_start=True).flatten(0, 3)
        count += len(patches)
        total += patches.sum(0)
        products += patches.T @ patches  # each window in fp32, their sum in fp64
    if count <= z_dim:
        raise TrainingError(f"{count} patches cannot determine {z_dim} components; give more or larger footage")
    mean = total / count
    variances, vectors = torch.linalg.eigh(products / count - mean[:, None] * mean)
    components = vectors.T.flip(0)[:z_dim]
    # A component is the same with either sign: the one whose largest entry is positive makes the fit repeatable.
    signs = components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    codec.components.copy_(components * signs)
    codec.center.copy_(mean)
    codec.missed.copy_((variances[: values - z_dim].clamp(min=0).sum() / values).sqrt())
    codec.set_stats(LatentStats(mean=(0.0,) * z_dim, std=_scales(variances.flip(0)[:z_dim], balance)))
    return codec.eval()


def _scales(variances: Tensor, balance: float) -> tuple[float, ...]:
    """What channels of these variances are divided by; the mean variance of all is then 1."""
    deviations = variances.clamp(min=0).sqrt().clamp(min=1e-6)
    scales = deviations**balance
    return tuple((scales * (deviations / scales).square().mean().sqrt()).tolist())
