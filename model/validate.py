"""Held-out loss at fixed times with fixed noise, so that two checkpoints, or two models, can be compared.

Training losses of different time densities cannot be compared, and the spread over times and noises is far larger than
that between models: here everything but the model is the same each time. Beside the loss stands the gain from the text:
how much larger the loss is with another clip's caption. Where it is zero, text is not used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from curate.counter_random import generator, uniform
from curate.errors import TrainingError, VideoError
from model.examples import Examples, TrainingData
from model.flow import add_noise, squared_errors
from model.pack import fill
from model.packed import PackedBatch, Segment, idle_batch, pack_segments
from model.parallel import World


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationConfig:
    """What is measured on held-out clips, and when."""

    every: int = 500
    """Steps between two measurements."""
    num_clips: int = 64
    times: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)

    def __post_init__(self) -> None:
        if self.every < 1 or self.num_clips < 1:
            raise ValueError("every and num_clips must be at least 1")
        if not self.times or not all(0 < t < 1 for t in self.times):
            raise ValueError(f"times must lie between 0 and 1, got {self.times}")


class Validator:
    """The fixed list of (clip, time, noise, caption), packed once."""

    def __init__(
        self, config: ValidationConfig, data: TrainingData, examples: Examples, names: tuple[str, ...], world: World
    ) -> None:
        self.config, self.world = config, world
        self.budget = examples.budget
        # A fixed choice of clips by their ids: adding clips to the set moves few of the others out.
        order = sorted(range(len(data)), key=lambda index: uniform(0, "validation", data.sample_ids[index]))
        plain = replace(examples.config, drop_text=0.0, drop_conditions=0.0, image_share=0.0, window_share=0.0)
        fixed = Examples(
            plain, examples.flow, patch=examples.patch, stride=examples.stride, budget=examples.budget, seed=0
        )
        segments: list[Segment] = []
        self.unusable: list[str] = []
        """Clips that have gone since they were curated, or whose values are not numbers."""
        for index in order[: config.num_clips]:
            try:
                found = _fixed_segments(data, index, fixed, config.times)
                usable = all(segment.x.isfinite().all() for segment in found)
            except VideoError:
                usable = False
            if usable:
                segments += found
            else:
                self.unusable.append(data.sample_ids[index])
        if not segments:
            raise TrainingError(
                f"none of {len(data)} held-out samples fits a budget of {self.budget} tokens and can be read"
            )
        self.batches = self._pack(segments, names)
        self.swapped = self._pack(_with_other_texts(segments, len(config.times)), names)

    def _pack(self, segments: list[Segment], names: tuple[str, ...]) -> list[PackedBatch]:
        """This rank's share of the packs; every rank gets equally many."""
        packs = []
        waiting = list(segments)
        while waiting:
            places = fill([len(segment.x) for segment in waiting[:256]], self.budget)
            packs.append([waiting[place] for place in places])
            waiting = [segment for place, segment in enumerate(waiting) if place not in set(places)]
        batches = [pack_segments(pack, condition_names=names, budget=self.budget) for pack in packs]
        batches += [idle_batch(self.budget, segments[0].x.shape[1], names)] * (-len(packs) % self.world.size)
        return batches[self.world.rank :: self.world.size]

    @torch.no_grad()
    def measure(self, predict: Callable[[PackedBatch], Tensor], *, text_gain: bool = True) -> dict[str, Any]:
        """Mean loss per time and over all times, and the gain from the text. Every rank must call it."""
        losses = self._losses(predict, self.batches)
        result: dict[str, Any] = {
            "loss": sum(losses) / len(losses),
            "loss_at": {f"{t:g}": loss for t, loss in zip(self.config.times, losses, strict=True)},
        }
        if text_gain:
            others = self._losses(predict, self.swapped)
            result["text_gain_at"] = {
                f"{t:g}": other - loss for t, loss, other in zip(self.config.times, losses, others, strict=True)
            }
        return result

    def _losses(self, predict: Callable[[PackedBatch], Tensor], batches: list[PackedBatch]) -> list[float]:
        times = torch.tensor(self.config.times)
        sums = torch.zeros(2, len(times), dtype=torch.float64)
        for batch in batches:
            errors = squared_errors(predict(batch), batch.target.to(self.world.device)).cpu().double()
            which = (batch.times[batch.time_index][:, None] - times).abs().argmin(dim=1)
            weight = (batch.weight > 0).double()
            sums[0].index_add_(0, which, errors * weight)
            sums[1].index_add_(0, which, weight)
        total = torch.tensor(self.world.sum(sums.flatten().tolist())).reshape(2, -1)
        return (total[0] / total[1].clamp(min=1)).tolist()


def _fixed_segments(data: TrainingData, index: int, examples: Examples, times: tuple[float, ...]) -> list[Segment]:
    sample = data[index]
    frames, rows, columns = sample.latent.shape[1:]
    if not examples.num_tokens(sample.sample_id, (frames, rows, columns), 0):
        return []
    clean, grid = examples.clean_tokens(sample, 0)
    caption = examples.caption(sample, 0)
    segments = []
    for number, t in enumerate(times):
        random = generator(0, "validation noise", sample.sample_id, number)
        noise = torch.from_numpy(random.standard_normal(tuple(clean.shape), dtype="float32"))
        segments.append(
            Segment(
                x=add_noise(clean, noise, torch.tensor(t)),
                grid=grid,
                times=torch.tensor([t]),
                time_index=torch.zeros(len(clean), dtype=torch.long),
                pinned=torch.zeros(len(clean), dtype=torch.bool),
                text=caption,
                conditions=examples.conditions(sample, 0),
                target=noise - clean,
                sample_id=sample.sample_id,
            )
        )
    return segments


def _with_other_texts(segments: list[Segment], num_times: int) -> list[Segment]:
    """Each clip with the caption of the next one."""
    texts = [segment.text for segment in segments]
    return [replace(segment, text=texts[(place + num_times) % len(texts)]) for place, segment in enumerate(segments)]
