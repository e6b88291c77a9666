"""Rectified flow: a straight path from data to noise, and a network that learns the velocity along it.

    x_t = (1 - t) x_0 + t e,   v = e - x_0          Liu et al. 2022 (rectified flow), Eq. 1; t = 0 is data, 1 noise
    x_0 = x_t - t v,           e = x_t + (1 - t) v
    logit(t) ~ N(mean + ln shift, std)              Esser et al. 2024 (SD3), sections 3.1 and 5.3.2

Mapping t by `shift a: a t / (1 + (a - 1) t)` adds ln a to logit(t). So the moving mean of the logit-normal, SD3's shift
and FLUX's exp(mu) are one knob, and a shift in training and one in sampling mean the same thing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Prediction = Literal["v", "x0", "residual"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowConfig:
    """Where on the way from data to noise a model trains, and what it predicts."""

    shift: float = 5.0
    """Emphasis on high noise for a clip of `base_tokens`. Small, redundant footage needs more of it."""
    base_tokens: int | None = None
    """Shift grows with the square root of a clip's tokens over this number. None: the same shift for all."""
    max_shift: float = 15.0
    mean: float = 0.0
    """Mean of logit(t) before the shift."""
    std: float = 1.0
    uniform_share: float = 0.05
    """Share of times drawn evenly, so that no time stays untrained."""
    prediction: Prediction = "v"
    """What the network puts out: the velocity, the clean tokens, or the residual: what of the velocity is left when the
    best linear guess from each value's own deviation is taken away, and inputs and outputs are brought to a deviation
    of 1 at every time. The loss compares velocities in any case."""
    clip_share: float = 0.0
    """0 weighs every token alike, 1 every clip alike, whatever its size."""

    def __post_init__(self) -> None:
        if self.shift <= 0 or self.max_shift < self.shift:
            raise ValueError(f"shift {self.shift} must be positive and at most max_shift {self.max_shift}")
        if self.std <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        if self.base_tokens is not None and self.base_tokens < 1:
            raise ValueError(f"base_tokens must be at least 1, got {self.base_tokens}")
        for name in ("uniform_share", "clip_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, from 0 to 1, got {getattr(self, name)}")

    def shift_of(self, num_tokens: int) -> float:
        """The shift for a clip: averaging n alike values raises the signal by sqrt(n), so more noise is needed."""
        if self.base_tokens is None:
            return self.shift
        return float(np.clip(self.shift * math.sqrt(num_tokens / self.base_tokens), 0.5, self.max_shift))

    def draw_time(self, random: np.random.Generator, num_tokens: int) -> float:
        """A time in (0, 1) for a clip of so many tokens."""
        normal, share, even = random.standard_normal(), random.random(), random.random()
        if share < self.uniform_share:
            return even
        return 1 / (1 + math.exp(-(self.mean + self.std * normal + math.log(self.shift_of(num_tokens)))))

    def segment_weight(self, num_free_tokens: int) -> float:
        """Weight of a clip in the loss."""
        return float(num_free_tokens) ** (1 - self.clip_share)


def shifted(t: Tensor, shift: float) -> Tensor:
    """Move times towards noise (shift above 1) or data (below)."""
    return shift * t / (1 + (shift - 1) * t)


def add_noise(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t of tokens `[N, P]` for times `[N, 1]`."""
    return (1 - t) * clean + t * noise


def network_input(x: Tensor, t: Tensor, deviation: Tensor, prediction: Prediction) -> Tensor:
    """Tokens `[N, P]` at times `[N, 1]` as the network sees them; `deviation` is that of the clean values, `[P]`."""
    return x / _noisy_variance(t, deviation).sqrt() if prediction == "residual" else x


def velocity(output: Tensor, x: Tensor, t: Tensor, deviation: Tensor, prediction: Prediction) -> Tensor:
    """The velocity that an output of the network means, for tokens `[N, P]` at times `[N, 1]`."""
    if prediction == "v":
        return output
    if prediction == "residual":
        # Karras et al. 2022 (EDM), section 5, for the straight path and value by value: for normal data, E[v | x_t] is
        # the first term and the deviation of v about it the factor of the second.
        variance = _noisy_variance(t, deviation)
        return (t - (1 - t) * deviation**2) / variance * x + deviation / variance.sqrt() * output
    # Close to the data the quotient would blow up any error of x_0.
    return (x - output) / t.clamp(min=0.05)


def _noisy_variance(t: Tensor, deviation: Tensor) -> Tensor:
    return t**2 + ((1 - t) * deviation) ** 2


def squared_errors(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each token, `[N]`, in full precision."""
    return (predicted.float() - target.float()).square().mean(dim=-1)


def weighted_loss(errors: Tensor, weight: Tensor) -> Tensor:
    """Sum of weighted token errors. Divide by the total weight of the step: of all ranks and all micro-batches."""
    return torch.dot(errors, weight)
