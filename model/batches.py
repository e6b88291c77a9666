"""From samples to the packed batches of this rank, step after step, in an order that ranks and workers do not change.

stream of packs ──▶ the packs of a step ──▶ dealt to ranks by cost ──▶ this rank's batches, prepared ahead
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from curate.config import fingerprint
from curate.errors import TrainingError, VideoError
from model.dit import DiTConfig
from model.examples import Examples, TrainingData
from model.flops import batch_flops
from model.pack import Item, PackConfig, PackStream, deal
from model.packed import PackedBatch, idle_batch, idle_segment, pack_segments, without_effect
from model.parallel import World
from model.remembered import Remembered
from model.tokens import Shape

if TYPE_CHECKING:
    from model.dataset import Sample
    from model.train_config import TrainConfig


@dataclass(frozen=True)
class StepBatches:
    """What this rank computes in one step; every rank has equally many batches."""

    batches: tuple[PackedBatch, ...]
    cursor: dict[str, Any]
    """Where the data stands after this step."""
    unusable: tuple[str, ...]
    """Samples of this rank that cannot be read, or whose values are not numbers; they weigh nothing."""


def batches_of(
    data: TrainingData, config: TrainConfig, world: World, *, stride: int, workers: int = 0, keep_mib: int = 0
) -> Batches:
    """The batches that a completed configuration asks for; `stride` is the codec's, in pictures per slot.

    Raises TrainingError when no sample can be trained on.
    """
    examples = Examples(
        config.examples, config.flow, patch=config.model.patch, stride=stride, budget=config.packs.token_budget,
        seed=config.seed,
    )  # fmt: skip
    return Batches(data, examples, config.packs, config.model, world, workers=workers, keep_mib=keep_mib)


class Batches:
    """The batches of a run. Iterate once; `start` says from where."""

    def __init__(
        self,
        data: TrainingData,
        examples: Examples,
        packs: PackConfig,
        model: DiTConfig,
        world: World,
        *,
        workers: int = 0,
        keep_mib: int = 0,
    ) -> None:
        self.data, self.examples, self.packs, self.model = data, examples, packs, model
        self.samples = Remembered(data, keep_mib)
        self.world, self.workers = world, workers
        self.shapes: list[Shape] = [(int(t), int(h), int(w)) for t, h, w in data.latent_shapes]
        fits = [
            index
            for index, (sample_id, shape) in enumerate(zip(data.sample_ids, self.shapes, strict=True))
            if examples.window(sample_id, shape, epoch=0) is not None
        ]
        self.used = np.array(fits, dtype=np.int64)
        """Which samples fit the token budget."""
        if not fits:
            raise TrainingError(
                f"none of {len(data)} samples can be trained on: a single frame of each needs more than "
                f"packs.token_budget = {packs.token_budget} tokens, or is smaller than a patch of {model.patch}; "
                "encode windows of another size (`reelwright encode --preset`), or set another budget"
            )

    @property
    def fingerprint(self) -> str:
        """Hash of the samples in their order: where it differs, a data cursor means nothing."""
        return fingerprint([self.data.sample_ids[index] for index in self.used])

    @property
    def num_cut(self) -> int:
        """Used samples that are longer than the budget: the end of each is left off."""
        return sum(self.examples.exceeds(self.shapes[index]) for index in self.used)

    def some_samples(self, most: int) -> Iterator[Sample]:
        """At most about so many samples, spread over all; those that cannot be read are left out."""
        for index in range(0, len(self.data), max(len(self.data) // most, 1)):
            with suppress(VideoError):
                yield self.samples[index]

    def num_tokens(self, item: Item) -> int:
        index = int(self.used[item.index])
        return self.examples.num_tokens(self.data.sample_ids[index], self.shapes[index], item.epoch)

    def start(self, cursor: dict[str, Any] | None) -> Iterator[StepBatches]:
        """Steps without end, from a cursor or from the beginning."""
        stream = PackStream(len(self.used), self.num_tokens, self.packs, seed=self.examples.seed, state=cursor)
        if not self.workers:
            while True:
                yield self._step(*self._next_packs(stream))
        with ThreadPoolExecutor(self.workers) as pool:
            ahead: list[Future[StepBatches]] = []
            try:
                while True:
                    while len(ahead) <= self.workers:
                        ahead.append(pool.submit(self._step, *self._next_packs(stream)))
                    yield ahead.pop(0).result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _next_packs(self, stream: PackStream) -> tuple[list[list[Item]], dict[str, Any]]:
        packs = [next(stream) for _ in range(self.packs.packs_per_step)]
        lengths = [[self.num_tokens(item) for item in pack] for pack in packs]
        hands = deal([batch_flops(self.model, pack, [1] * len(pack)) for pack in lengths], self.world.size)
        mine = [packs[place] for place in hands[self.world.rank]]
        return mine + [[]] * (max(map(len, hands)) - len(mine)), stream.state()

    def _step(self, packs: Sequence[Sequence[Item]], cursor: dict[str, Any]) -> StepBatches:
        unusable: list[str] = []
        batches = tuple(self.pack(items, unusable) for items in packs)
        return StepBatches(batches, cursor, tuple(unusable))

    def pack(self, items: Sequence[Item], unusable: list[str]) -> PackedBatch:
        """The batch of a pack. Samples that cannot be read, or hold no numbers, are named in `unusable`."""
        segments = []
        for item in items:
            index = int(self.used[item.index])
            try:
                segment = self.examples.segment(self.samples[index], item.epoch)
                usable = bool(torch.isfinite(segment.x).all())
            except VideoError:  # its file has gone or changed since it was curated
                segment = idle_segment(self.num_tokens(item), self.model.patch_values)
                usable = False
            if not usable:
                unusable.append(self.data.sample_ids[index])
            segments.append(segment if usable else without_effect(segment))
        if not segments:
            return idle_batch(self.packs.token_budget, self.model.patch_values, self.model.conditions)
        return pack_segments(segments, condition_names=self.model.conditions, budget=self.packs.token_budget)
