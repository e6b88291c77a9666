"""Run a stage function over many items: with Ray Data on this machine or a cluster, or in this process without Ray.

    with Engine(EngineConfig()) as engine:
        for item, outcome in engine.run(partial(scan_source, root=root, config=config), uris):
            ...

Items and results are small records: ids, references, numbers. Results arrive as they are done, in any order. A stage
function answers for its own data errors; an exception that it lets through is the outcome of that item alone.
"""

from __future__ import annotations

import itertools
import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from curate.errors import ConfigError, EngineError

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAVE = 50_000
"""Items that are handed to Ray at a time, which bounds what the driver holds."""

_MOST_PER_TASK = 32

_START_ATTEMPTS = 3

_LIGHT = 5_000
"""Fewer items of light work than this are done before a cluster would have started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Where stage functions run. None of this changes a result."""

    local: bool = False
    """Run in this process, one item after the other, without Ray."""
    address: str | None = None
    """A Ray cluster, for example auto or head:6379. None starts one on this machine for the time of the job."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Processes that stay for the whole run, for functions that keep a model or connections."""

    most: int | None = None
    """How many at most; None takes as many as fit."""
    wants_gpu: bool = False
    """Whether each takes a GPU of its own, where the cluster has any."""
    threads: int = 1
    """Items at a time in each, in threads: while one waits, the next is prepared."""


class Engine:
    """Calls functions for items; a cluster is started, or joined, when the first call needs one."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._started = False
        self._ours = False

    def run(
        self,
        function: Callable[[Item], Result],
        items: Sequence[Item],
        *,
        cpus: float = 1.0,
        light: bool = False,
        workers: Workers | None = None,
    ) -> Iterator[tuple[Item, Result | Raised]]:
        """Call the function for every item and yield each item with its outcome, in the order of completion.

        `light` work, milliseconds an item, runs in this process unless there is much of it or a cluster is up.
        `workers` are for work that is slow to start: tasks may run in a new process each time, these do not.
        """
        if self._config.local or not items or (light and not self._started and len(items) < _LIGHT):
            return _outcomes(function, items, workers.threads if workers else 1)
        self._start()
        return _run_on_ray(function, items, cpus, workers)

    def close(self) -> None:
        """End the cluster, if it was started here."""
        if self._ours:
            import ray

            ray.shutdown()
        self._started = self._ours = False

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        if self._started:
            return
        import ray
        import ray.data

        for handler in logging.getLogger("ray.data").handlers:
            if type(handler).__name__ == "PlainRayHandler":
                handler.setLevel(logging.ERROR)  # our own progress is on the terminal; Ray's log file keeps all of it
        if not ray.is_initialized():  # else it is somebody else's: used, and left as it is
            _init_ray(self._config)
            self._ours = True
        self._started = True


def _init_ray(config: EngineConfig) -> None:
    import ray

    where: dict[str, Any] = {"address": config.address}
    if config.address is None:
        where = {
            "num_cpus": config.num_cpus,
            "object_store_memory": config.object_store_mib << 20,
            "include_dashboard": False,
        }
    for attempt in range(_START_ATTEMPTS):
        try:
            ray.init(**where, logging_level=logging.ERROR, log_to_driver=False)
            return
        except Exception as error:  # Ray has no type of its own for this
            ray.shutdown()
            # Ray waits half a minute for its processes, which is too little on a machine that has much else to do.
            if config.address is not None or attempt == _START_ATTEMPTS - 1:
                what = f"join the Ray cluster at {config.address}" if config.address else "start Ray on this machine"
                raise EngineError(f"could not {what}: {error}; --local runs without Ray") from None


def _run_on_ray(
    function: Callable[[Item], Result], items: Sequence[Item], cpus: float, workers: Workers | None
) -> Iterator[tuple[Item, Result | Raised]]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # every yielded row is passed on at once, not when its task is done
    num_gpus = 1 if workers and workers.wants_gpu and ray.cluster_resources().get("GPU", 0) >= 1 else 0
    slots = int(ray.cluster_resources().get("GPU", 0)) if num_gpus else _cpu_slots(cpus)
    slots = min(slots, workers.most or slots) if workers else slots
    for start in range(0, len(items), _WAVE):
        wave = items[start : start + _WAVE]
        per_task = _items_per_task(len(wave), slots, workers.threads if workers else 1)
        rows = [{"item": pickle.dumps(item)} for item in wave]
        dataset = ray.data.from_items(rows, override_num_blocks=-(-len(wave) // per_task))
        if workers is None:
            calls: Any = partial(_call_each, function=function)
            done = dataset.map_batches(calls, batch_size=None, num_cpus=cpus)
        else:
            done = dataset.map_batches(
                _Worker,
                fn_constructor_kwargs={"function": function, "threads": workers.threads},
                batch_size=None,
                concurrency=slots,
                num_cpus=cpus,
                num_gpus=num_gpus,
            )
        for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
            for pickled in batch["outcome"]:
                yield pickle.loads(pickled)


def _items_per_task(num_items: int, slots: int, threads: int) -> int:
    """Enough tasks that the last ones to finish leave little idle, few enough that starting them costs nothing.

    A worker with several threads runs dry at the end of each task: it wants twice as many items as threads at least,
    and with nobody to share with, as many as there are.
    """
    wanted = min(_MOST_PER_TASK, num_items // (8 * slots))
    if threads > 1:
        wanted = max(wanted, min(2 * threads if slots > 1 else _MOST_PER_TASK, -(-num_items // slots)))
    return max(1, wanted)


def _cpu_slots(cpus: float) -> int:
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1) / cpus))


def _call_each(
    batch: Mapping[str, Any], function: Callable[[Any], Any], threads: int = 1
) -> Iterator[dict[str, list[bytes]]]:
    for done in _outcomes(function, [pickle.loads(pickled) for pickled in batch["item"]], threads):
        yield {"outcome": [pickle.dumps(done)]}


class _Worker:
    """A process of Ray that stays, and with it what the function keeps in its module."""

    def __init__(self, function: Callable[[Any], Any], threads: int) -> None:
        self._function, self._threads = function, threads

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        yield from _call_each(batch, self._function, self._threads)


def _outcomes(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> Iterator[tuple[Item, Result | Raised]]:
    """In this process: one after the other, or so many at a time, those that the caller is not done with included."""
    if threads == 1:
        for item in items:
            yield item, _outcome(function, item)
        return
    with ThreadPoolExecutor(threads) as pool:
        rest = iter(items)
        running = {pool.submit(_outcome, function, item): item for item in itertools.islice(rest, threads)}
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()
                running |= {pool.submit(_outcome, function, item): item for item in itertools.islice(rest, 1)}


def _outcome(function: Callable[[Item], Result], item: Item) -> Result | Raised:
    try:
        return function(item)
    except Exception as error:  # counted by the caller, as the failure of this item
        return Raised(f"{type(error).__name__}: {error}")
