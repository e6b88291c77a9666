"""Which clips share a batch: a stream of packs with a constant token budget, hardly any waste, and every clip exactly
once per epoch.

Clips come in a seeded random order, epoch after epoch, through a buffer. A pack takes the oldest clip of the buffer,
then, of all choices among the others, one that fills the budget best, older clips first. So no clip waits for long, the
order stays random, and with some variety of sizes the budget is met almost always.

    state of the stream = (epoch, next in its order, buffer): a few hundred numbers, enough to go on exactly there
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from curate.counter_random import generator


class Item(NamedTuple):
    """A clip in an epoch."""

    epoch: int
    index: int  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackConfig:
    """How clips are packed into batches."""

    token_budget: int = 2048
    """Tokens in a pack, on every step and every rank."""
    packs_per_step: int = 1
    """Packs in an optimizer step, over all ranks; what one rank cannot take at once it accumulates."""
    buffer: int = 256
    """Clips from which a pack is chosen."""

    def __post_init__(self) -> None:
        for name in ("token_budget", "packs_per_step", "buffer"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


class PackStream(Iterator[list[Item]]):
    """Packs without end. `num_tokens(item)` tells the length of a clip in an epoch, at most the budget."""

    def __init__(
        self,
        num_clips: int,
        num_tokens: Callable[[Item], int],
        config: PackConfig,
        *,
        seed: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        if num_clips < 1:
            raise ValueError("there is no clip to pack")
        self.num_clips, self.num_tokens, self.config, self.seed = num_clips, num_tokens, config, seed
        state = state or {"epoch": 0, "next": 0, "buffer": []}
        self._epoch: int = state["epoch"]
        self._next: int = state["next"]
        self._buffer = [Item(*pair) for pair in state["buffer"]]
        self._lengths = [num_tokens(item) for item in self._buffer]
        self._order = self._shuffled(self._epoch)

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as plain values."""
        return {"epoch": self._epoch, "next": self._next, "buffer": [list(item) for item in self._buffer]}

    def __next__(self) -> list[Item]:
        self._fill()
        budget = self.config.token_budget
        chosen = [0, *(1 + place for place in fill(self._lengths[1:], budget - self._lengths[0]))]
        pack = [self._buffer[place] for place in chosen]
        for place in reversed(chosen):
            del self._buffer[place], self._lengths[place]
        return pack

    def _fill(self) -> None:
        while len(self._buffer) < self.config.buffer:
            if self._next == self.num_clips:
                self._epoch, self._next = self._epoch + 1, 0
                self._order = self._shuffled(self._epoch)
            item = Item(self._epoch, int(self._order[self._next]))
            length = self.num_tokens(item)
            if not 0 < length <= self.config.token_budget:
                raise ValueError(f"clip {item.index} has {length} tokens; a pack holds {self.config.token_budget}")
            self._buffer.append(item)
            self._lengths.append(length)
            self._next += 1

    def _shuffled(self, epoch: int) -> np.ndarray:
        return generator(self.seed, "order", epoch).permutation(self.num_clips)


def fill(lengths: Sequence[int], room: int) -> list[int]:
    """Places of the lengths whose sum comes closest to `room` without exceeding it, earlier places preferred.

    [5, 3, 4, 4], room 8 -> [0, 1];  room 7 -> [1, 2]
    """
    # reach[i]: the sums that places i and later can make, as the bits of one whole number.
    within = (1 << (room + 1)) - 1
    reach = [1] * (len(lengths) + 1)
    for place in reversed(range(len(lengths))):
        reach[place] = (reach[place + 1] | (reach[place + 1] << lengths[place])) & within
    missing = reach[0].bit_length() - 1
    chosen = []
    for place, length in enumerate(lengths):
        if length <= missing and reach[place + 1] >> (missing - length) & 1:
            chosen.append(place)
            missing -= length
    return chosen


def deal(costs: Sequence[float], num_ranks: int) -> list[list[int]]:
    """Share packs among ranks: equally many each (some one less), costs as even as largest-first dealing makes them."""
    most = -(-len(costs) // num_ranks)
    hands: list[list[int]] = [[] for _ in range(num_ranks)]
    totals = [0.0] * num_ranks
    for pack in sorted(range(len(costs)), key=lambda place: (-costs[place], place)):
        rank = min((r for r in range(num_ranks) if len(hands[r]) < most), key=lambda r: (totals[r], r))
        hands[rank].append(pack)
        totals[rank] += costs[pack]
    return [sorted(hand) for hand in hands]
