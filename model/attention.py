"""Attention within segments of a packed sequence: tokens of one clip see that clip, or its text, and nothing else.

One function, `attend`, with four ways of computing the same result:

    grouped   runs of segments of equal length in one batched call each: the choice on a CPU
    varlen    PyTorch's kernel for ragged sequences: the choice on a CUDA device with half precision
    flex      FlexAttention with a block mask: CUDA devices without the above
    dense     one mask over all pairs: slow, obviously right, the oracle for the tests

N query tokens, M key tokens, S segments, A heads, E channels of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

Backend = Literal["grouped", "varlen", "flex", "dense"]


@dataclass(frozen=True)
class _Run:
    """Neighbouring segments with equally many queries. Keys are padded to the longest, where they differ."""

    size: int
    num_queries: int  # of each segment
    num_keys: int  # of each segment, with padding
    all_keys: int  # of all of them, without
    key_index: Tensor | None  # [size * num_keys] among those, only when lengths of keys differ
    mask: Tensor | None  # [size, 1, 1, num_keys]


@dataclass(frozen=True)
class Ragged:
    """Which keys each query may see: segment i owns the next `queries[i]` queries and the next `keys[i]` keys.

    Made once for a batch and used by every block. Self-attention has `queries == keys`.
    """

    queries: tuple[int, ...]
    keys: tuple[int, ...]
    backend: Backend
    device: torch.device

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.keys):
            raise ValueError(f"{len(self.queries)} segments of queries but {len(self.keys)} of keys")
        if self.backend not in get_args(Backend):
            raise ValueError(f"no attention backend {self.backend!r}; known: {', '.join(get_args(Backend))}")

    @cached_property
    def runs(self) -> tuple[_Run, ...]:
        return tuple(_runs(self.queries, self.keys, self.device))

    @cached_property
    def offsets(self) -> tuple[Tensor, Tensor]:
        """Where segments begin, int32 `[S + 1]`, for queries and keys."""
        return tuple(  # type: ignore[return-value]
            F.pad(torch.tensor(lengths, device=self.device).cumsum(0), (1, 0)).int()
            for lengths in (self.queries, self.keys)
        )

    @cached_property
    def owners(self) -> tuple[Tensor, Tensor]:
        """The segment of each query `[N]` and of each key `[M]`."""
        return tuple(  # type: ignore[return-value]
            torch.arange(len(lengths), device=self.device).repeat_interleave(
                torch.tensor(lengths, device=self.device), output_size=sum(lengths)
            )
            for lengths in (self.queries, self.keys)
        )

    @cached_property
    def block_mask(self) -> Any:
        from torch.nn.attention.flex_attention import create_block_mask

        owner_q, owner_k = self.owners
        return create_block_mask(
            lambda b, h, q, k: owner_q[q] == owner_k[k],
            B=None, H=None, Q_LEN=sum(self.queries), KV_LEN=sum(self.keys), device=self.device,
        )  # fmt: skip

    @cached_property
    def longest(self) -> tuple[int, int]:
        # Rounded up: kernels take it as a constant, and every new constant would compile again.
        return _round_up(max(self.queries)), _round_up(max(self.keys))

    def prepare(self) -> tuple[Tensor, ...]:
        """Compute what the backend needs now, outside of any compiled block. Returns tensors of changing sizes."""
        if self.backend == "varlen":
            _ = self.longest
            return self.offsets
        if self.backend == "dense":
            return self.owners
        _ = self.block_mask if self.backend == "flex" else self.runs
        return ()


def default_backend(device: torch.device, dtype: torch.dtype) -> Backend:
    """The fastest backend that can train on this device."""
    if device.type != "cuda":
        return "grouped"
    return "varlen" if dtype in (torch.float16, torch.bfloat16) else "flex"


def attend(query: Tensor, key: Tensor, value: Tensor, ragged: Ragged) -> Tensor:
    """Scaled dot-product attention `[N, A, E] x [M, A, E] -> [N, A, E]` within segments."""
    if ragged.backend == "grouped":
        return _attend_grouped(query, key, value, ragged)
    if ragged.backend == "varlen":
        return _attend_varlen(query, key, value, ragged)
    if ragged.backend == "flex":
        return _attend_flex(query, key, value, ragged)
    return _attend_dense(query, key, value, ragged)


@torch.compiler.disable  # loops over lengths that differ from batch to batch
def _attend_grouped(query: Tensor, key: Tensor, value: Tensor, ragged: Ragged) -> Tensor:
    # Split, not sliced: the gradient of each slice would be as large as the whole.
    queries = query.split([run.size * run.num_queries for run in ragged.runs])
    keys, values = (tokens.split([run.all_keys for run in ragged.runs]) for tokens in (key, value))
    outputs = []
    for run, some, *keys_values in zip(ragged.runs, queries, keys, values, strict=True):
        q = some.unflatten(0, (run.size, run.num_queries)).transpose(1, 2)
        k, v = (_keys_of(run, tokens) for tokens in keys_values)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=run.mask)
        outputs.append(attended.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def _keys_of(run: _Run, tokens: Tensor) -> Tensor:
    chosen = tokens if run.key_index is None else tokens.index_select(0, run.key_index)
    return chosen.unflatten(0, (run.size, run.num_keys)).transpose(1, 2)


def _attend_varlen(query: Tensor, key: Tensor, value: Tensor, ragged: Ragged) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    offsets_q, offsets_k = ragged.offsets
    longest_q, longest_k = ragged.longest
    half = value.dtype  # queries and keys were turned, and perhaps normalised, in full precision
    attended = varlen_attn(query.to(half), key.to(half), value, offsets_q, offsets_k, longest_q, longest_k)
    assert isinstance(attended, Tensor)
    return attended


def _attend_flex(query: Tensor, key: Tensor, value: Tensor, ragged: Ragged) -> Tensor:
    q, k, v = (tokens.transpose(0, 1).unsqueeze(0) for tokens in (query, key, value))
    return _flex_attention(query.device.type)(q, k, v, block_mask=ragged.block_mask)[0].transpose(0, 1)


@cache
def _flex_attention(device_type: str) -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    # Uncompiled, it computes every pair in full precision: right, for tests on a CPU, but never fast.
    return torch.compile(flex_attention, dynamic=True) if device_type == "cuda" else flex_attention


def _attend_dense(query: Tensor, key: Tensor, value: Tensor, ragged: Ragged) -> Tensor:
    owner_q, owner_k = ragged.owners
    mask = owner_q[:, None] == owner_k[None, :]
    q, k, v = (tokens.transpose(0, 1) for tokens in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(0, 1)


def _runs(queries: Sequence[int], keys: Sequence[int], device: torch.device) -> Iterator[_Run]:
    for num_queries, members in groupby(zip(queries, keys, strict=True), key=lambda pair: pair[0]):
        lengths = [num_keys for _, num_keys in members]
        longest = max(lengths)
        key_index = mask = None
        if min(lengths) != longest:
            lengths_on_device = torch.tensor(lengths, device=device)
            starts = lengths_on_device.cumsum(0) - lengths_on_device
            column = torch.arange(longest, device=device)
            valid = column < lengths_on_device[:, None]
            key_index = torch.where(valid, starts[:, None] + column, starts[:, None]).flatten()
            mask = valid[:, None, None, :]
        yield _Run(len(lengths), num_queries, longest, sum(lengths), key_index, mask)


def _round_up(length: int) -> int:
    return 1 << (length - 1).bit_length()
