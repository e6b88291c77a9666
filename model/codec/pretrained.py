"""Pretrained codecs of the diffusers library behind our interface.

    load_codec("diffusers:Wan-AI/Wan2.1-T2V-1.3B-Diffusers")         its folder `vae`, from the hub or from disk
    load_codec("diffusers:/models/flux/vae")

Each family says how its latents are normalised, and whether it is causal: several keep statistics over all frames, so
that an image is not the first frame of a video, and none can be stopped and carried on from outside. Only safetensors
are read. Needs the extra `reelwright[diffusers]`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from curate.errors import WeightsError
from model.codec.base import Stride, draw, latent_shape
from model.tensor_hash import hash_tensors

PREFIX = "diffusers:"


@dataclass(frozen=True, slots=True)
class Family:
    """What the adapter must know about a class of codecs."""

    stride: Callable[[Any], Stride]  # from its configuration
    z_dim: str  # the name of the setting
    causal: bool  # no frame of the latent depends on a later frame of the video
    images_only: bool = False  # frames are encoded one by one


def _wan_stride(config: Any) -> Stride:
    return config.scale_factor_temporal, config.scale_factor_spatial, config.scale_factor_spatial


def _ltx_stride(config: Any) -> Stride:
    halvings = sum(config.spatio_temporal_scaling)
    space = config.spatial_compression_ratio or config.patch_size * 2**halvings
    return config.temporal_compression_ratio or config.patch_size_t * 2**halvings, space, space


def _mochi_stride(config: Any) -> Stride:
    time, space = 1, 1
    for factor in config.temporal_expansions:
        time *= factor
    for factor in config.spatial_expansions:
        space *= factor
    return time, space, space


def _ratio_stride(config: Any) -> Stride:
    space = config.spatial_compression_ratio
    return config.temporal_compression_ratio, space, space


def _halving_stride(config: Any) -> Stride:
    space = 2 ** (len(config.block_out_channels) - 1)
    return int(getattr(config, "temporal_compression_ratio", 1)), space, space


FAMILIES: dict[str, Family] = {
    "AutoencoderKLWan": Family(_wan_stride, "z_dim", causal=True),
    "AutoencoderKLHunyuanVideo": Family(_ratio_stride, "latent_channels", causal=False),
    "AutoencoderKLLTXVideo": Family(_ltx_stride, "latent_channels", causal=True),
    "AutoencoderKLCogVideoX": Family(_halving_stride, "latent_channels", causal=False),
    "AutoencoderKLMochi": Family(_mochi_stride, "latent_channels", causal=True),
    "AutoencoderKLCosmos": Family(_ratio_stride, "latent_channels", causal=True),
    "AutoencoderKL": Family(_halving_stride, "latent_channels", causal=True, images_only=True),
}


class PretrainedCodec(nn.Module):
    """A diffusers autoencoder, frozen, with latents normalised as its own pipelines do."""

    exact_chunks = False

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        name = type(autoencoder).__name__
        if name not in FAMILIES:
            raise WeightsError(f"no adapter for {name}; there are adapters for {', '.join(FAMILIES)}")
        self.family = FAMILIES[name]
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.stride: Stride = (1, 8, 8)
        self.stride = self.family.stride(autoencoder.config)
        self.z_dim = int(autoencoder.config[self.family.z_dim])
        self.causal = self.family.causal
        self._fingerprint: str | None = None

    @torch.no_grad()
    def moments(self, video: Tensor) -> tuple[Tensor, Tensor | None]:
        latent_shape(self.stride, *video.shape[2:])
        batch = len(video)
        pixels = self._flat(video).to(self.autoencoder.dtype)
        posterior = self.autoencoder.encode(pixels).latent_dist
        mean = self._whole(posterior.mode(), batch).float()
        shift, scale = self._statistics(mean)
        # A codec without a spread (Cosmos) gives a point, which has no variance to draw from.
        logvar = getattr(posterior, "logvar", None)
        if logvar is not None:
            logvar = self._whole(logvar, batch).float().expand_as(mean) + 2 * scale.log()
        return (mean - shift) * scale, logvar

    def encode(self, video: Tensor, sample: torch.Generator | None = None) -> Tensor:
        return draw(*self.moments(video), sample)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        shift, scale = self._statistics(latent)
        raw = self._flat((latent / scale + shift).to(self.autoencoder.dtype))
        inputs = [raw]
        if getattr(self.autoencoder.config, "timestep_conditioning", False):
            inputs.append(torch.zeros(len(raw), device=raw.device, dtype=raw.dtype))  # the latent is clean
        video = self.autoencoder.decode(*inputs).sample
        return self._whole(video, len(latent)).float().clamp(-1, 1)

    def fingerprint(self) -> str:
        if self._fingerprint is None:  # the weights are frozen, and may be many
            config = {key: value for key, value in self.autoencoder.config.items() if not key.startswith("_")}
            name = type(self.autoencoder).__name__
            self._fingerprint = hash_tensors(self.autoencoder.state_dict(), name, json.dumps(config, sort_keys=True))
        return self._fingerprint

    def _flat(self, x: Tensor) -> Tensor:
        return rearrange(x, "B C T H W -> (B T) C H W") if self.family.images_only else x

    def _whole(self, x: Tensor, batch: int) -> Tensor:
        return rearrange(x, "(B T) C H W -> B C T H W", B=batch) if self.family.images_only else x

    def _statistics(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Shift and scale of a latent: normalised = (raw - shift) * scale."""
        config: Mapping[str, Any] = self.autoencoder.config
        # LTX keeps its statistics with the weights, the others in the configuration.
        mean, std = (
            getattr(self.autoencoder, name, None)
            if name in dict(self.autoencoder.named_buffers())
            else config.get(name)
            for name in ("latents_mean", "latents_std")
        )
        scale = torch.tensor(float(config.get("scaling_factor") or 1.0)).to(latent)
        if mean is None or std is None:
            return torch.tensor(float(config.get("shift_factor") or 0.0)).to(latent), scale
        shift, spread = (_per_frame(values, self.z_dim, latent) for values in (mean, std))
        return shift, scale / spread


def load_pretrained(spec: str) -> PretrainedCodec:
    """A codec by `diffusers:` and a folder or the name of a repository. Raises WeightsError."""
    try:
        import diffusers
    except ImportError:
        raise WeightsError(f"{spec}: this needs diffusers: pip install 'reelwright[diffusers]'") from None
    name = spec.removeprefix(PREFIX)
    if name.startswith((".", "/", "~")) and not Path(name).expanduser().is_dir():
        raise WeightsError(f"{spec}: there is no such folder")
    options: dict[str, Any] = {} if (Path(name) / "config.json").is_file() else {"subfolder": "vae"}
    try:
        kind = diffusers.AutoencoderKL.load_config(name, **options)["_class_name"]
        if kind not in FAMILIES:
            raise WeightsError(f"{spec}: no adapter for {kind}; there are adapters for {', '.join(FAMILIES)}")
        autoencoder = getattr(diffusers, kind).from_pretrained(name, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{spec}: cannot load this codec: {error}") from None
    return PretrainedCodec(autoencoder)


def _per_frame(values: Any, z_dim: int, latent: Tensor) -> Tensor:
    """Statistics `[1, z, t or 1, 1, 1]`; Cosmos has some for each of its first frames, later frames take the last."""
    table = torch.as_tensor(values).to(latent).view(1, z_dim, -1, 1, 1)
    if table.shape[2] == 1:
        return table
    frames = torch.arange(latent.shape[2], device=latent.device).clamp(max=table.shape[2] - 1)
    return table[:, :, frames]
