"""A packed batch: clips of any size laid end to end in one sequence, without padding.

    tokens     aaaaaaaaaaaabbbbbbbbbbbbccccdd......      a, b, c, d: clips; dots: the idle rest of the budget
    lengths    (12, 12, 4, 2, 6)

N tokens, P values in a patch, S segments, U times (a segment has one time for its free tokens and one for its pinned
ones, seldom more), K conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from model.tokens import Grid, edge_positions, index_positions, metric_positions


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One clip on its way through the flow: what the model sees of it and, in training, what it should answer."""

    x: Tensor
    """Noisy tokens `[n, P]`."""
    grid: Grid
    times: Tensor
    """The distinct flow times of its tokens, `[u]`, 0 clean and 1 noise."""
    time_index: Tensor
    """Which of them each token has, `[n]`."""
    pinned: Tensor
    """Tokens that are given, `[n]` bool."""
    text: str | None = None
    """The caption; None for none (a learned vector stands in)."""
    conditions: Mapping[str, float] = field(default_factory=dict)
    """Known conditions by name; those left out are unknown to the model."""
    target: Tensor | None = None
    """Velocity to predict, `[n, P]`."""
    weight: float = 1.0
    """Weight of the segment in the loss, shared among its free tokens."""
    frame_shift: int = 0
    """Roll of the time axis, for loops: the token of frame f stands at frame (f + shift) modulo the frames."""
    sample_id: str = ""


@dataclass(frozen=True)
class PackedBatch:
    """Segments end to end, longest first. Tensors move together with `to`."""

    x: Tensor  # [N, P]
    positions: Tensor  # [N, 3] metric
    indices: Tensor  # [N, 3] integer
    marks: Tensor  # [N, 6]: pinned, one-picture slot, whether the start is seen; time, row, column between the edges
    times: Tensor  # [U]
    time_index: Tensor  # [N]
    time_segment: Tensor  # [U]
    conditions: Tensor  # [S, K]
    known: Tensor  # [S, K] bool
    target: Tensor  # [N, P]
    weight: Tensor  # [N] weight of each token's squared error, 0 for pinned and idle ones
    lengths: tuple[int, ...]
    texts: tuple[str | None, ...]
    sample_ids: tuple[str, ...]
    order: tuple[int, ...]
    """Which of the segments given to `pack_segments` each segment is; the idle one is not counted."""

    @property
    def total_weight(self) -> Tensor:
        """Sum of the weights of all segments: the share of this batch in the denominator of the loss."""
        return self.weight.sum(dtype=torch.float64)

    @property
    def useful_lengths(self) -> tuple[int, ...]:
        """Lengths without the idle segment."""
        return self.lengths[: len(self.order)]

    def to(self, device: torch.device) -> PackedBatch:
        tensors = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        tensors = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
        if device.type == "cuda":  # from other memory, a copy would wait for all that the device has still to do
            tensors = {name: t.pin_memory() if t.device.type == "cpu" else t for name, t in tensors.items()}
        return replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})

    def split(self, tokens: Tensor) -> list[Tensor]:
        """Cut `[N, ...]` into segments, in the order in which they were given."""
        parts = tokens.split(self.lengths)
        by_source = dict(zip(self.order, parts, strict=False))
        return [by_source[index] for index in range(len(self.order))]


def pack_segments(
    segments: Sequence[Segment], *, condition_names: Sequence[str] = (), budget: int | None = None
) -> PackedBatch:
    """Lay segments end to end, longest first, and fill up to `budget` tokens with one idle segment of weight 0.

    A constant number of tokens keeps memory flat and compiled code compiled.
    Raises ValueError when there are none or they do not fit.
    """
    if not segments:
        raise ValueError("no segments to pack")
    total = sum(len(segment.x) for segment in segments)
    if budget is not None and total > budget:
        raise ValueError(f"{total} tokens do not fit the budget of {budget}")
    order = sorted(range(len(segments)), key=lambda index: -len(segments[index].x))
    laid = [segments[index] for index in order]
    if budget is not None and total < budget:
        laid.append(idle_segment(budget - total, segments[0].x.shape[1]))

    times_before = torch.tensor([0] + [len(segment.times) for segment in laid]).cumsum(0).tolist()
    known = torch.tensor([[name in segment.conditions for name in condition_names] for segment in laid])
    values = [[segment.conditions.get(name, 0.0) for name in condition_names] for segment in laid]
    return PackedBatch(
        x=torch.cat([segment.x for segment in laid]),
        positions=torch.cat([_rolled(metric_positions(segment.grid), segment) for segment in laid]),
        indices=torch.cat([_rolled(index_positions(segment.grid.shape), segment) for segment in laid]),
        marks=torch.cat([_marks(segment) for segment in laid]),
        times=torch.cat([segment.times for segment in laid]).float(),
        time_index=torch.cat([segment.time_index + start for segment, start in zip(laid, times_before, strict=False)]),
        time_segment=torch.arange(len(laid)).repeat_interleave(torch.tensor([len(segment.times) for segment in laid])),
        conditions=torch.tensor(values, dtype=torch.float32).reshape(len(laid), len(condition_names)),
        known=known.reshape(len(laid), len(condition_names)).bool(),
        target=torch.cat([segment.x if segment.target is None else segment.target for segment in laid]),
        weight=torch.cat([_token_weights(segment) for segment in laid]),
        lengths=tuple(len(segment.x) for segment in laid),
        texts=tuple(segment.text for segment in laid),
        sample_ids=tuple(segments[index].sample_id for index in order),
        order=tuple(order),
    )


def _token_weights(segment: Segment) -> Tensor:
    free = ~segment.pinned
    return free.float() * (segment.weight / max(int(free.sum()), 1))


def _marks(segment: Segment) -> Tensor:
    grid = segment.grid
    given = torch.zeros(len(segment.x), 3)
    given[:, 0] = segment.pinned.float()
    given[: grid.shape[1] * grid.shape[2], 1] = float(grid.single)
    given[:, 2] = float(grid.single)
    return torch.cat([given, edge_positions(grid)], dim=1)


def _rolled(positions: Tensor, segment: Segment) -> Tensor:
    if not segment.frame_shift:
        return positions
    return positions.unflatten(0, (segment.grid.shape[0], -1)).roll(-segment.frame_shift, 0).flatten(0, 1)


def idle_segment(num_tokens: int, patch_values: int) -> Segment:
    """Tokens that nobody looks at: they see only each other and weigh nothing."""
    return Segment(
        x=torch.zeros(num_tokens, patch_values),
        grid=Grid(shape=(num_tokens, 1, 1), fps=1.0, single=False),
        times=torch.ones(1),
        time_index=torch.zeros(num_tokens, dtype=torch.long),
        pinned=torch.zeros(num_tokens, dtype=torch.bool),
        weight=0.0,
    )


def idle_batch(num_tokens: int, patch_values: int, condition_names: Sequence[str] = ()) -> PackedBatch:
    """A batch for a rank that has nothing to compute, but must take part."""
    batch = pack_segments([idle_segment(num_tokens, patch_values)], condition_names=condition_names)
    return replace(batch, order=(), sample_ids=())


def without_effect(segment: Segment) -> Segment:
    """A segment of the same size that weighs nothing and holds nothing, in place of one that cannot be used."""
    nothing = torch.zeros_like(segment.x)
    return replace(segment, x=nothing, target=nothing, weight=0.0)
