"""Run a stage function over many items: with Ray Data on this machine or a cluster, or in this process without Ray.

    with open_engine(EngineConfig()) as run:
        for item, outcome in run(partial(scan_source, root=root, config=config), uris):
            ...

Items and results are small records: ids, references, numbers. Results arrive as they are done, in any order. A stage
function answers for its own data errors; an exception that it lets through is the outcome of that item alone.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from curate.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAVE = 50_000
"""Items that are handed to Ray at a time, which bounds what the driver holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Where stage functions run. None of this changes a result."""

    local: bool = False
    """Run in this process, one item after the other, without Ray."""
    address: str | None = None
    """A Ray cluster, for example auto or ray://head:10001. None starts one on this machine for the time of the job."""
    num_cpus: int | None = None
    """Cores of the cluster that is started here; None takes all."""
    object_store_mib: int = 256
    """Shared memory of the cluster that is started here. Only small records pass through it."""

    def __post_init__(self) -> None:
        if self.local and self.address:
            raise ConfigError("engine.local and engine.address exclude each other: choose this process or a cluster")
        if self.num_cpus is not None and self.num_cpus < 1:
            raise ConfigError(f"engine.num_cpus must be at least 1, got {self.num_cpus}")


@dataclass(frozen=True, slots=True)
class Raised:
    """The outcome of an item whose function raised: the exception's type and text."""

    message: str


class Runner(Protocol):
    """Calls a function for every item and yields each item with its outcome, in the order of completion."""

    def __call__(
        self, function: Callable[[Item], Result], items: Sequence[Item], *, cpus: float = 1.0
    ) -> Iterator[tuple[Item, Result | Raised]]: ...


@contextmanager
def open_engine(config: EngineConfig) -> Iterator[Runner]:
    """A runner for the time of a job. A cluster that was started here ends with it."""
    if config.local:
        yield _run_here
        return
    import ray

    logging.getLogger("ray.data").setLevel(logging.WARNING)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if ray.is_initialized():  # somebody else's: used, and left as it is
        yield _run_on_ray
        return
    if config.address:
        ray.init(address=config.address, **quiet)
    else:
        ray.init(
            num_cpus=config.num_cpus,
            object_store_memory=config.object_store_mib << 20,
            include_dashboard=False,
            **quiet,
        )
    try:
        yield _run_on_ray
    finally:
        ray.shutdown()


def _run_here(
    function: Callable[[Item], Result], items: Sequence[Item], *, cpus: float = 1.0
) -> Iterator[tuple[Item, Result | Raised]]:
    for item in items:
        yield item, _outcome(function, item)


def _run_on_ray(
    function: Callable[[Item], Result], items: Sequence[Item], *, cpus: float = 1.0
) -> Iterator[tuple[Item, Result | Raised]]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # every yielded row is passed on at once, not when its task is done
    slots = max(1, int(ray.cluster_resources().get("CPU", 1) / cpus))
    for start in range(0, len(items), _WAVE):
        wave = items[start : start + _WAVE]
        # Enough tasks that the last ones to finish leave little idle, few enough that starting them costs nothing.
        per_task = max(1, min(32, len(wave) // (8 * slots)))
        rows = [{"item": pickle.dumps(item)} for item in wave]
        calls: Any = partial(_call_each, function=function)
        dataset = ray.data.from_items(rows, override_num_blocks=-(-len(wave) // per_task))
        done = dataset.map_batches(calls, batch_size=None, num_cpus=cpus)
        for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
            for pickled in batch["outcome"]:
                yield pickle.loads(pickled)


def _call_each(batch: Mapping[str, Any], function: Callable[[Any], Any]) -> Iterator[dict[str, list[bytes]]]:
    for pickled in batch["item"]:
        item = pickle.loads(pickled)
        yield {"outcome": [pickle.dumps((item, _outcome(function, item)))]}


def _outcome(function: Callable[[Item], Result], item: Item) -> Result | Raised:
    try:
        return function(item)
    except Exception as error:  # counted by the caller, as the failure of this item
        return Raised(f"{type(error).__name__}: {error}")
