"""One model on many ranks, applied from outside: plain, DDP or FSDP2; compiled blocks; recomputation.

`World` is all that the trainer knows about other ranks. With one rank there is no process group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.dit import DiT
from model.video_model import VideoModel


@dataclass(frozen=True, slots=True, kw_only=True)
class ParallelConfig:
    """How the model lies on the ranks, and what is traded for memory or speed."""

    mode: Literal["ddp", "fsdp"] = "ddp"
    """ddp: a copy on every rank. fsdp: weights, gradients and moments in shards."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of matrix products and activations; weights, moments, times and losses stay in fp32."""
    compile: bool = False
    """Compile each block. Packs of any composition share one compilation."""
    recompute: bool = False
    """Recompute activations in the backward pass: a third more arithmetic, a fraction of the memory."""


@dataclass(frozen=True)
class World:
    """Which rank this is, of how many, on what device."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def current() -> World:
        """The world that `torch.distributed` knows, or this process alone; on a GPU where there is one."""
        device = torch.device(f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu")
        joined = dist.is_available() and dist.is_initialized()
        return World(dist.get_rank(), dist.get_world_size(), device) if joined else World(0, 1, device)

    @staticmethod
    def alone() -> World:
        """This process alone, on its CPU."""
        return World(0, 1, torch.device("cpu"))

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, in double precision. Every rank must call it."""
        if self.size == 1:
            return [float(value) for value in values]
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, value: Any) -> list[Any]:
        """The value of every rank, by rank. Every rank must call it."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


def distribute(model: VideoModel, config: ParallelConfig, world: World) -> nn.Module:
    """The module to call for a forward pass. `model` keeps its parameters, sharded in place with fsdp."""
    model.to(world.device)
    model.dit.recompute = config.recompute
    if config.compile:
        compile_blocks(model.dit)
    if world.size == 1:
        return model
    if config.mode == "fsdp":
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        half = torch.bfloat16 if config.precision == "bf16" else None
        policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for block in model.dit.blocks:
            fully_shard(block, mp_policy=policy)
        fully_shard(model, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))
        return model
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(model, gradient_as_bucket_view=True)


def settle(module: nn.Module) -> None:
    """Put weights back into their shards: FSDP2 keeps those of the root gathered after a pass without gradients."""
    for part in module.modules():
        if hasattr(part, "reshard"):
            part.reshard()  # type: ignore[operator]


@contextmanager
def gradients_stay_here(module: nn.Module, stay: bool) -> Iterator[None]:
    """While accumulating, ranks exchange gradients only in the last micro-batch of a step."""
    if hasattr(module, "set_requires_gradient_sync"):  # FSDP2
        module.set_requires_gradient_sync(not stay)  # type: ignore[operator]
        yield
    elif stay and hasattr(module, "no_sync"):  # DDP
        with module.no_sync():  # type: ignore[operator]
            yield
    else:
        yield


def compile_blocks(dit: DiT, backend: str = "inductor") -> None:
    """Compile each block once for packs of any composition.

    The number of tokens is constant; those of texts and distinct times are not, and the compiler is told so, or it
    would compile for each new one.
    """
    import torch._dynamo as dynamo

    def mark(ragged: Sequence[Tensor]) -> None:
        for tensor in ragged:
            dynamo.maybe_mark_dynamic(tensor, 0)

    dit.on_ragged = mark
    for block in dit.blocks:
        block.compile(backend=backend)
