"""Sampling: many requests of any size in one packed batch, each with its own noise, times, texts and pins.

    Job = the tokens of one request: what is given, how noisy each token begins and ends, and its branches
    branches = the same tokens with and without text, each with a weight: guidance without a special case

n tokens of a job, N of all jobs, P values in a patch, K steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from curate.counter_random import generator
from model.device import autocast
from model.flow import shifted
from model.packed import PackedBatch, Segment, pack_segments
from model.solvers import SolverName, solve
from model.tokens import Grid
from model.video_model import VideoModel


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """How samples are drawn."""

    steps: int = 30
    solver: SolverName = "dpm++"
    guidance: float = 3.0
    """How far to go beyond the prediction with text, away from the one without; 1 is none."""
    guidance_from: float = 1.0
    """Flow time below which guidance begins; 1 is the pure noise."""
    guidance_to: float = 0.5
    """Flow time at which it ends: by then it is settled what is shown, and guidance only costs time and outlines
    (Kynkäänniemi et al. 2024, section 3; measured in benchmarks/results/learning.md)."""
    rescale: float = 0.0
    """Share by which the guided velocity gets the spread of the one with text; guards against glaring colours."""
    shift: float | None = None
    """Emphasis on the noisy part of the way; None takes that of the training."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the network's products; the way from noise to video stays in fp32. auto is bf16 on a GPU, fp32 on a CPU."""
    max_tokens: int = 65_536
    """Tokens that are computed together, over all requests and branches."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.max_tokens < 1:
            raise ValueError("steps and max_tokens must be at least 1")
        if not 0 <= self.guidance < math.inf:
            raise ValueError(f"guidance must be a number from 0 up, got {self.guidance}")
        if not 0 <= self.guidance_to <= self.guidance_from <= 1:
            raise ValueError(
                f"guidance runs from {self.guidance_from} down to {self.guidance_to}; both are times, 0 to 1"
            )
        if not 0 <= self.rescale <= 1:
            raise ValueError(f"rescale is a share, from 0 to 1, got {self.rescale}")
        if self.shift is not None and self.shift <= 0:
            raise ValueError(f"shift must be positive, got {self.shift}")


@dataclass(frozen=True)
class Job:
    """One request as tokens. See `canvas.py` for how requests become jobs."""

    grid: Grid
    given: Tensor
    """Clean tokens `[n, P]`; what they hold counts only where `ceiling` is below 1."""
    ceiling: Tensor
    """Flow time at which each token begins, `[n]`: 1 pure noise, 0 as given."""
    floor: Tensor
    """Flow time below which it is not changed, `[n]`. A token with floor = ceiling is held, and given back as given."""
    noise: Tensor
    """`[n, P]`."""
    text: str | None
    negative: str | None = None
    conditions: Mapping[str, float] = field(default_factory=dict)
    guidance: float | None = None
    """None takes that of the configuration."""
    frame_shifts: tuple[int, ...] | None = None
    """For loops: the roll of the time axis in each step; they start again when there are more steps."""

    @property
    def held(self) -> Tensor:
        return self.floor >= self.ceiling


def job_noise(seed: int, num_tokens: int, num_values: int, *key: str | int) -> Tensor:
    """The noise of a request, which depends on its seed and size alone."""
    values = generator(seed, "sample", *key).standard_normal((num_tokens, num_values), dtype=np.float32)
    return torch.from_numpy(values)


@torch.no_grad()
def draw_samples(model: VideoModel, jobs: Sequence[Job], config: SampleConfig) -> list[Tensor]:
    """Clean tokens `[n, P]` of each job, in main memory. Jobs that do not fit together are computed in turn."""
    model.eval()
    results: list[Tensor] = []
    for group in _groups(jobs, config):
        results += _Sampler(model, group, config).run()
    return results


def _groups(jobs: Sequence[Job], config: SampleConfig) -> Iterator[list[Job]]:
    group: list[Job] = []
    tokens = 0
    for job in jobs:
        cost = 2 * job.grid.num_tokens
        if group and tokens + cost > config.max_tokens:
            yield group
            group, tokens = [], 0
        group.append(job)
        tokens += cost
    if group:
        yield group


@dataclass(frozen=True)
class _Branch:
    job: int
    guided: bool
    """False for the branch without text, which only guidance needs."""


class _Sampler:
    """The jobs of one packed batch on their way."""

    def __init__(self, model: VideoModel, jobs: Sequence[Job], config: SampleConfig) -> None:
        self.model, self.jobs, self.config = model, jobs, config
        self.device = next(model.parameters()).device
        self.sizes = [job.grid.num_tokens for job in jobs]
        self.steps = [self._schedule(job) for job in jobs]  # [K + 1] each
        self.contexts: dict[Any, Any] = {}

    def run(self) -> list[Tensor]:
        times = torch.cat([self._token_times(place) for place in range(len(self.jobs))], dim=1)  # [K + 1, N]
        start = torch.cat([job.ceiling for job in self.jobs])[:, None]
        given, noise = (torch.cat([getattr(job, name) for job in self.jobs]) for name in ("given", "noise"))
        x = ((1 - start) * given + start * noise).to(self.device)
        x = solve(self._velocity, x, times.to(self.device), self.config.solver).cpu()
        held = torch.cat([job.held for job in self.jobs])[:, None]
        return list(torch.where(held, given, x).split(self.sizes))

    def _schedule(self, job: Job) -> Tensor:
        shift = self.config.shift or self.model.flow.shift_of(job.grid.num_tokens)
        # A request that starts half-way spends all of its steps on the rest of the way.
        highest = job.ceiling[~job.held].double().amax() if (~job.held).any() else torch.zeros((), dtype=torch.float64)
        even = torch.linspace(1, 0, self.config.steps + 1, dtype=torch.float64)
        return shifted(even * shifted(highest, 1 / shift), shift)

    def _token_times(self, place: int) -> Tensor:
        job = self.jobs[place]
        limited = torch.minimum(self.steps[place][:, None], job.ceiling.double())
        return torch.maximum(limited, job.floor.double()).float()

    def _velocity(self, x: Tensor, times: Tensor, step: int) -> Tensor:
        branches = [branch for place in range(len(self.jobs)) for branch in self._branches(place, step)]
        xs, ts = x.cpu().split(self.sizes), times.cpu().split(self.sizes)
        segments = [self._segment(branch, xs[branch.job], ts[branch.job], step) for branch in branches]
        batch = pack_segments(segments, condition_names=self.model.dit.config.conditions)
        with autocast(self.config.precision, self.device):
            predicted = self.model(batch.to(self.device), self._context(tuple(branches), batch)).float()
        velocities = batch.split(predicted)
        by_branch = dict(zip(branches, velocities, strict=True))
        return torch.cat([self._combined(place, by_branch) for place in range(len(self.jobs))])

    def _branches(self, place: int, step: int) -> list[_Branch]:
        job = self.jobs[place]
        guidance = self.config.guidance if job.guidance is None else job.guidance
        t = float(self.steps[place][step])
        if guidance == 0:
            return [_Branch(place, guided=False)]
        if guidance == 1 or job.text == job.negative or not self.config.guidance_to <= t <= self.config.guidance_from:
            return [_Branch(place, guided=True)]
        return [_Branch(place, guided=True), _Branch(place, guided=False)]

    def _combined(self, place: int, velocities: Mapping[_Branch, Tensor]) -> Tensor:
        """v_u + g (v_c - v_u), the spread of its clips moved towards that of v_c (Lin et al. 2023, section 3.4)."""
        conditional, plain = (velocities.get(_Branch(place, guided)) for guided in (True, False))
        if conditional is None or plain is None:
            return conditional if plain is None else plain  # type: ignore[return-value]
        job = self.jobs[place]
        guidance = self.config.guidance if job.guidance is None else job.guidance
        guided = plain + guidance * (conditional - plain)
        if self.config.rescale:
            ratio = conditional.std() / guided.std().clamp(min=1e-6)
            guided = guided * (1 + self.config.rescale * (ratio - 1))
        return guided

    def _segment(self, branch: _Branch, x: Tensor, times: Tensor, step: int) -> Segment:
        job = self.jobs[branch.job]
        distinct, index = times.unique(return_inverse=True)
        return Segment(
            x=x,
            grid=job.grid,
            times=distinct,
            time_index=index,
            pinned=job.held,
            text=job.text if branch.guided else job.negative,
            conditions=job.conditions,
            frame_shift=job.frame_shifts[step % len(job.frame_shifts)] if job.frame_shifts else 0,
        )

    def _context(self, branches: tuple[_Branch, ...], batch: PackedBatch) -> Any:
        """Keys and values of the texts, computed once for each set of branches."""
        if branches not in self.contexts:
            self.contexts[branches] = self.model.read(batch.texts, keep=True)
        return self.contexts[branches]
