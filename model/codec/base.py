"""What a codec is: frames in, a small grid of latent cells out, and back.

    video  [B, 3, T, H, W] in [-1, 1]   T = 1 + k * stride[0] frames; an image is a video of one frame
    latent [B, z, t, h, w]              t = 1 + k, h = H / stride[1], w = W / stride[2]; normalised

The first latent frame stands for the first video frame alone, each later one for the next `stride[0]` frames.
Letters in this package: B batch, T H W frames, rows, columns of the video, z t h w channels, frames, rows, columns of
the latent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Stride = tuple[int, int, int]


class Codec(Protocol):
    """A video autoencoder. All of ours and all adapters are also `torch.nn.Module`s, in evaluation mode."""

    @property
    def stride(self) -> Stride:
        """Frames, rows and columns of the video for one latent cell."""
        ...

    @property
    def z_dim(self) -> int:
        """Channels of the latent."""
        ...

    @property
    def causal(self) -> bool:
        """Whether a latent frame depends on no later video frame."""
        ...

    @property
    def exact_chunks(self) -> bool:
        """Whether a video given in pieces (`model.codec.stream`) has the same bits as a video given whole."""
        ...

    def encode(self, video: Tensor, sample: torch.Generator | None = None) -> Tensor:
        """Normalised latent: the posterior mean, or a draw from the posterior with `sample`."""
        ...

    def moments(self, video: Tensor) -> tuple[Tensor, Tensor | None]:
        """Mean and log variance of the posterior of the normalised latent; None where it has no spread."""
        ...

    def decode(self, latent: Tensor) -> Tensor:
        """The video of a normalised latent, in [-1, 1]."""
        ...

    def fingerprint(self) -> str:
        """Hash of weights, configuration and statistics: equal only if all latents are equal."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentStats:
    """Mean and standard deviation of each latent channel; normalised latents are about 0 and 1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise ValueError(f"latent statistics need one mean and one positive deviation per channel, got {self}")


class RunningStats:
    """Mean and deviation per channel over any number of latents, in one pass (Chan et al. 1979, pairwise update)."""

    def __init__(self, z_dim: int) -> None:
        self.count = 0
        self.mean = torch.zeros(z_dim, dtype=torch.float64)
        self.squares = torch.zeros(z_dim, dtype=torch.float64)

    def add(self, latent: Tensor) -> None:
        """Count in a latent `[B, z, t, h, w]`."""
        values = latent.detach().double().cpu().transpose(0, 1).flatten(1)  # [z, cells]
        count, mean = values.shape[1], values.mean(1)
        delta, total = mean - self.mean, self.count + values.shape[1]
        self.squares += (values - mean[:, None]).square().sum(1) + delta.square() * (self.count * count / total)
        self.mean += delta * (count / total)
        self.count = total

    def result(self, *, per_channel: bool = True) -> LatentStats:
        """The statistics. With `per_channel=False` all channels share one deviation.

        One shared deviation keeps the channels of a linear codec in proportion: lifting its last, almost empty
        channels to the variance of the first makes a model learn noise.
        """
        if self.count < 2:
            raise ValueError("latent statistics need at least two cells")
        variance = self.squares / self.count
        if not per_channel:
            variance = variance.mean().expand_as(variance)
        std = variance.sqrt().clamp(min=1e-6)
        return LatentStats(mean=tuple(self.mean.tolist()), std=tuple(std.tolist()))


def latent_shape(stride: Stride, frames: int, height: int, width: int) -> tuple[int, int, int]:
    """Latent frames, rows and columns of a video. ValueError, naming the nearest smaller size, where it is none."""
    st, sh, sw = stride
    if frames < 1 or height < 1 or width < 1 or (frames - 1) % st or height % sh or width % sw:
        raise ValueError(
            f"a video of {frames} frames of {width}x{height} px does not divide into latent cells of {st} frames and "
            f"{sw}x{sh} px; frames must be 1 + a multiple of {st}; the nearest below is "
            f"{1 + max(0, frames - 1) // st * st} frames of {width - width % sw}x{height - height % sh} px"
        )
    return 1 + (frames - 1) // stride[0], height // stride[1], width // stride[2]


def draw(mean: Tensor, logvar: Tensor | None, sample: torch.Generator | None) -> Tensor:
    """A latent from its posterior; its mean without a generator or a spread."""
    if sample is None or logvar is None:
        return mean
    noise = torch.randn(mean.shape, generator=sample, device=sample.device, dtype=torch.float32)
    return mean + (0.5 * logvar).exp() * noise.to(mean)
