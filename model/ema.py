"""Averages of the weights over the run, and any other average made of them afterwards.

The average at step n weighs the weights of step k by k^gamma: it forgets the start at every length of run, where a
fixed decay would be mostly start in a short run and too short in a long one (Karras et al. 2023, EDM2, section 3.1).
`width` is the standard deviation of that profile as a share of the run: 0.05 to 0.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


def gamma_of_width(width: float) -> float:
    """The exponent whose profile has this relative width (EDM2, Eq. 126: a cubic in gamma)."""
    if not 0 < width < 0.28:
        raise ValueError(f"an average has a width between 0 and 0.28 of the run, got {width}")
    inverse = width**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


class PowerEma:
    """One average of named weights. It starts as what it is given, which soon counts for nothing."""

    def __init__(self, width: float, weights: Iterable[tuple[str, Tensor]]) -> None:
        self.width = width
        self._gamma = gamma_of_width(width)
        self.weights = {name: tensor.detach().clone().float() for name, tensor in weights}

    @torch.no_grad()
    def update(self, step: int, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take in the weights after step `step`, counted from one."""
        beta = (1 - 1 / step) ** (self._gamma + 1)
        for name, tensor in weights:
            self.weights[name].lerp_(tensor.detach().to(self.weights[name].dtype), 1 - beta)


@dataclass(frozen=True)
class Snapshot:
    """An average of some width as it stood after some step."""

    step: int
    width: float
    weights: Mapping[str, Tensor]


def post_hoc(snapshots: Sequence[Snapshot], *, step: int, width: float) -> dict[str, Tensor]:
    """The average of any width at any step as the best combination of stored ones (EDM2, section 3.2, Algorithm 3)."""
    if not snapshots:
        raise ValueError("no stored averages to combine")
    mix = _least_squares(
        [(snapshot.step, gamma_of_width(snapshot.width)) for snapshot in snapshots], (step, gamma_of_width(width))
    )
    names = snapshots[0].weights.keys()
    return {
        name: sum(
            (float(share) * snapshot.weights[name].double() for share, snapshot in zip(mix, snapshots, strict=True)),
            start=torch.zeros_like(snapshots[0].weights[name], dtype=torch.float64),
        ).float()
        for name in names
    }


def _least_squares(stored: Sequence[tuple[int, float]], wanted: tuple[int, float]) -> np.ndarray:
    def overlap(a: tuple[int, float], b: tuple[int, float]) -> float:
        """Inner product of two profiles: (gamma + 1) t^gamma / step^(gamma + 1) on [0, step]."""
        (step_a, gamma_a), (step_b, gamma_b) = a, b
        shorter = min(step_a, step_b)
        total = gamma_a + gamma_b + 1
        scaled = (shorter / step_a) ** (gamma_a + 1) * (shorter / step_b) ** (gamma_b + 1)
        return (gamma_a + 1) * (gamma_b + 1) * scaled / (total * shorter)

    products = np.array([[overlap(a, b) for b in stored] for a in stored])
    target = np.array([overlap(a, wanted) for a in stored])
    return np.linalg.lstsq(products, target, rcond=1e-12)[0]
