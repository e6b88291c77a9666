"""The optimizer, its schedule, and clipping that learns what a normal gradient is.

Matrices inside the transformer are updated by Muon when asked for, everything else by AdamW. Muon replaces the update
of a matrix by the nearest orthogonal one (Jordan et al. 2024), which costs little beside the batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """How weights are updated."""

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = 1e-3
    """Peak learning rate of AdamW, and of all but matrices with Muon."""
    muon_lr: float = 0.01
    """Peak learning rate of Muon."""
    betas: tuple[float, ...] = (0.9, 0.95)
    weight_decay: float = 0.01
    """On matrices; never on biases, norms, tables and embeddings."""
    warmup_steps: int = 100
    cooldown_share: float = 0.3
    """Share of all steps, at the end, in which the learning rate falls to zero."""
    clip_sigmas: float = 3.0
    """A gradient longer than its running mean by so many deviations is shortened to that."""

    def __post_init__(self) -> None:
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas must be two numbers in [0, 1), got {self.betas}")
        if self.lr <= 0 or self.muon_lr <= 0:
            raise ValueError("lr and muon_lr must be positive")
        if self.warmup_steps < 0 or not 0 <= self.cooldown_share <= 1:
            raise ValueError("warmup_steps must not be negative, and cooldown_share is a share, from 0 to 1")


def make_optimizers(model: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """AdamW, or AdamW and Muon, over the parameters that train."""
    muon: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_matrix = parameter.ndim == 2 and name.endswith("weight") and "embedding" not in name
        if is_matrix and ".blocks." in name and config.name == "muon":
            muon.append(parameter)
        else:
            (decayed if is_matrix else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    betas = (config.betas[0], config.betas[1])
    fused = all(type(p) in (nn.Parameter, Tensor) for p in decayed + plain)  # not for sharded tensors
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=config.lr, betas=betas, fused=fused)]
    if muon:
        optimizers.append(
            torch.optim.Muon(
                muon, lr=config.muon_lr, weight_decay=config.weight_decay, adjust_lr_fn="original", nesterov=True
            )
        )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def lr_factor(step: int, num_steps: int, config: OptimConfig) -> float:
    """Share of the peak learning rate in step `step` of `num_steps`, counted from zero: up, level, down to zero."""
    up = min(1.0, (step + 1) / (config.warmup_steps + 1))
    cooldown = config.cooldown_share * num_steps
    down = min(1.0, (num_steps - step) / cooldown) if cooldown else 1.0
    return min(up, down)


def set_learning_rate(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * factor


class AdaptiveClip:
    """Shortens gradients that are unusually long: above mean + k deviations of the norms so far.

    Running averages are of the norms after clipping, so that one outlier does not raise the limit for the next.
    """

    DECAY = 0.98
    SETTLING_STEPS = 20

    def __init__(self, sigmas: float) -> None:
        self.sigmas = sigmas
        self.count, self.mean, self.square = 0, 0.0, 0.0

    def limit(self) -> float:
        """The longest norm that passes now; infinite until enough were seen."""
        if self.count < self.SETTLING_STEPS:
            return math.inf
        bias = 1 - self.DECAY**self.count
        mean, square = self.mean / bias, self.square / bias
        return mean + self.sigmas * max(math.sqrt(max(square - mean * mean, 0.0)), 0.1 * mean)

    def factor(self, norm: float) -> float:
        """What to multiply gradients of this norm by; counts the norm in."""
        kept = min(norm, self.limit())
        self.count += 1
        self.mean = self.DECAY * self.mean + (1 - self.DECAY) * kept
        self.square = self.DECAY * self.square + (1 - self.DECAY) * kept * kept
        return kept / norm if norm > kept else 1.0

    def state(self) -> dict[str, Any]:
        return {"count": self.count, "mean": self.mean, "square": self.square}

    def load(self, state: dict[str, Any]) -> None:
        self.count, self.mean, self.square = state["count"], state["mean"], state["square"]


def gradient_norm(parameters: Iterable[nn.Parameter]) -> float:
    """Length of all gradients together, over all shards."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def scale_gradients(parameters: Iterable[nn.Parameter], factor: float) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.mul_(factor)
