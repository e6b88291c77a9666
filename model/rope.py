"""Rotary positions in three axes: queries and keys are turned by angles proportional to where their tokens lie, so that
their product depends on the difference of positions alone (Su et al. 2021).

N tokens, A heads, E channels of a head. Channel i is paired with channel i + E/2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Shortest and longest wavelengths of the metric axes: seconds for time, square roots of the frame's area for space.
_METRIC_WAVELENGTHS = ((0.3, 128.0), (0.04, 4.0), (0.04, 4.0))


def axis_pairs(head_dim: int) -> tuple[int, int, int]:
    """Channel pairs given to time, rows and columns: a third each, the rest to time. 32 -> (6, 5, 5)."""
    space = head_dim // 6
    return head_dim // 2 - 2 * space, space, space


def metric_frequencies(head_dim: int) -> Tensor:
    """Angles per unit for `tokens.metric_positions`, `[3, E/2]`; each pair turns with one axis only."""
    return _by_axis(
        head_dim,
        [
            2 * math.pi / torch.logspace(math.log10(short), math.log10(long), pairs, dtype=torch.float64)
            for pairs, (short, long) in zip(axis_pairs(head_dim), _METRIC_WAVELENGTHS, strict=True)
        ],
    )


def index_frequencies(head_dim: int, theta: float = 10000.0) -> Tensor:
    """Angles per step for `tokens.index_positions`, `[3, E/2]`, as Wan defines them."""
    return _by_axis(
        head_dim,
        [
            theta ** -(torch.arange(pairs, dtype=torch.float64) / max(pairs, 1))
            for pairs in axis_pairs(head_dim)
        ],
    )  # fmt: skip


def rotation(positions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[N, 1, E/2]` for positions `[N, 3]`. Angles are summed in double precision."""
    angles = positions.double() @ frequencies.to(positions.device)
    return angles.cos().float().unsqueeze(1), angles.sin().float().unsqueeze(1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `[N, A, E]` by the angles of its tokens."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _by_axis(head_dim: int, frequencies: list[Tensor]) -> Tensor:
    table = torch.zeros(3, head_dim // 2, dtype=torch.float64)
    start = 0
    for axis, values in enumerate(frequencies):
        table[axis, start : start + len(values)] = values
        start += len(values)
    return table
