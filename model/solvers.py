"""Ways down the flow, from noise to data, in which every token may have times of its own.

A token's times fall from step to step; where they stay the same, the token stays as it is, to the bit. So tokens that
are given, that start late, or that stop early need no special treatment.

N tokens, P values in a patch, K steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

SolverName = Literal["euler", "heun", "adams", "dpm++"]
SOLVERS: tuple[str, ...] = get_args(SolverName)

Velocity: TypeAlias = Callable[[Tensor, Tensor, int], Tensor]
"""Velocity `[N, P]` of tokens at their times `[N]` in a step."""


def solve(velocity: Velocity, x: Tensor, times: Tensor, solver: SolverName) -> Tensor:
    """Follow the flow from `times[0]` to `times[K]`; times are `[K + 1, N]` and never rise.

    euler   one evaluation per step, error of first order
    heun    two evaluations per step, second order
    adams   one evaluation per step, second order by the slope of the step before (Adams-Bashforth)
    dpm++   the same for the clean estimate along log-SNR (Lu et al. 2022, DPM-Solver++ 2M)
    """
    if solver not in SOLVERS:
        raise ValueError(f"no solver {solver!r}; known: {', '.join(SOLVERS)}")
    if solver == "dpm++":
        return _solve_multistep(velocity, x, times)
    last: tuple[Tensor, Tensor] | None = None
    for step in range(len(times) - 1):
        dt = (times[step + 1] - times[step]).to(x.dtype)[:, None]  # [N, 1]
        here = slope = velocity(x, times[step], step)
        if solver == "heun":
            ahead = velocity(_moved(x, here, dt), times[step + 1], step)
            slope = (here + ahead) / 2
        elif solver == "adams" and last is not None:
            last_slope, last_dt = last
            ratio = torch.where(last_dt == 0, 0.0, dt / last_dt)  # a token that has just begun has no step before
            slope = here + ratio / 2 * (here - last_slope)
        x = _moved(x, slope, dt)
        last = here, dt
    return x


def _moved(x: Tensor, slope: Tensor, dt: Tensor) -> Tensor:
    return torch.where(dt == 0, x, x + dt * slope)


def _solve_multistep(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """x_t = (t / s) x_s + (1 - t) (1 - e^-h) D: the flow for a clean estimate D that is a line in log-SNR.

    h is the step in lambda = ln((1 - t) / t). In the first step of a token, and in the one to t = 0, D is the estimate
    as it is.
    """
    lam = ((1 - times.double()) / times.double()).log()  # [K + 1, N], from -inf at noise to inf at data
    steps = lam.diff(dim=0)
    steps = torch.where(times.diff(dim=0) == 0, 0.0, steps)
    last: Tensor | None = None
    for step in range(len(times) - 1):
        s, t = times[step].double()[:, None], times[step + 1].double()[:, None]
        clean = x - s.to(x.dtype) * velocity(x, times[step], step)
        estimate = clean
        if last is not None:
            h, h_last = steps[step][:, None], steps[step - 1][:, None]
            share = h / (2 * h_last)
            usable = torch.isfinite(share) & (h_last > 0) & torch.isfinite(h_last)
            estimate = clean + torch.where(usable, share, 0.0).to(x.dtype) * (clean - last)
        grown = torch.expm1(-steps[step][:, None])
        ahead = (t / s).to(x.dtype) * x - ((1 - t) * grown).to(x.dtype) * estimate
        x = torch.where(s == t, x, ahead)
        last = clean
    return x
