"""Run a stage function over many items: with Ray Data on this machine or a cluster, or in this process without Ray.

    with Engine(EngineConfig()) as engine:
        for item, outcome in engine.run(partial(scan_source, root=root, config=config), uris):
            ...

Items and results are small records: ids, references, numbers. Results arrive as they are done, in any order. A stage
function answers for its own data errors; an exception that it lets through is the outcome of that item alone. So is the
end of its process, on Ray: an item that takes it down time after time is given up, and all others are done.
"""

from __future__ import annotations

import itertools
import logging
import math
import pickle
import tempfile
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from curate.errors import ConfigError, EngineError, ErrorKind

Item = TypeVar("Item")
Result = TypeVar("Result")

_WAVE = 50_000
"""Items that are handed to Ray at a time, which bounds what the driver holds."""

_MOST_PER_TASK = 32

_START_ATTEMPTS = 3

_DEATHS = 3
"""Processes that an item takes down before it is given up: one of them may have been killed for another's fault."""

_HOPELESS = 16
"""Items given up, when nothing else has come back at all, after which the fault is not theirs."""

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
    """The outcome of an item whose function raised, or did not come back: the exception's type and text."""

    message: str
    kind: ErrorKind = "internal"
    """`crashed` if the process died."""


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
        apart: Callable[[Item], Sequence[Item]] = lambda item: [item],
    ) -> Generator[tuple[Item, Result | Raised]]:
        """Call the function for every item and yield each item with its outcome, in the order of completion.

        `light` work, milliseconds an item, runs in this process unless there is much of it or a cluster is up.
        `workers` are for work that is slow to start: tasks may run in a new process each time, these do not.
        `apart` divides an item that takes its process down, so that one bad part does not cost the others; then its
        parts are yielded instead of it. Who stops early closes the generator, and then nothing is at work any more.
        """
        if self._config.local or not items or (light and not self._started and len(items) < _LIGHT):
            return _outcomes(function, items, workers.threads if workers else 1)
        self._start()
        return _run_on_ray(function, items, cpus, workers, apart)

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
    function: Callable[[Item], Result],
    items: Sequence[Item],
    cpus: float,
    workers: Workers | None,
    apart: Callable[[Item], Sequence[Item]],
) -> Generator[tuple[Item, Result | Raised]]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # every yielded row is passed on at once, not when its task is done
    num_gpus = 1 if workers and workers.wants_gpu and ray.cluster_resources().get("GPU", 0) >= 1 else 0
    slots = int(ray.cluster_resources().get("GPU", 0)) if num_gpus else _cpu_slots(cpus)
    slots = min(slots, workers.most or slots) if workers else slots
    settings: Any = {"function": function, "threads": workers.threads if workers else 1, "apart": apart}
    hope: float = _HOPELESS
    for start in range(0, len(items), _WAVE):
        wave = items[start : start + _WAVE]
        per_task = _items_per_task(len(wave), slots, workers.threads if workers else 1)
        rows = [{"item": pickle.dumps((uuid.uuid4().hex, item))} for item in wave]
        num_tasks = -(-len(wave) // per_task)
        dataset = ray.data.from_items(rows, override_num_blocks=num_tasks)
        if workers is None:
            done = dataset.map_batches(_Calls(**settings), batch_size=None, num_cpus=cpus)
        else:
            done = dataset.map_batches(
                _Calls,
                fn_constructor_kwargs=settings,
                batch_size=None,
                concurrency=min(slots, num_tasks),
                num_cpus=cpus,
                num_gpus=num_gpus,
            )
        # Closed for sure: tasks that run on when nobody listens would start another cluster after the end of this one.
        rows_done: Any = iter(done.iter_batches(batch_size=None, prefetch_batches=0))
        with closing(rows_done) as batches:
            for item, outcome in itertools.chain.from_iterable(
                pickle.loads(outcomes) for batch in batches for outcomes in batch["outcomes"]
            ):
                yield item, outcome
                hope = hope - 1 if isinstance(outcome, Raised) and outcome.kind == "crashed" else math.inf
                if hope == 0:
                    raise EngineError(f"nothing works: {outcome.message} with each of {_HOPELESS} items; try --local")


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


@dataclass(kw_only=True)  # Ray derives from it, and sets attributes
class _Calls(Generic[Item, Result]):
    """Calls the function for the items of a task.

    When its process dies, Ray starts a task again, for ever if need be. So every item has a file for the time that it
    is at work, a byte longer with each start: who finds one knows what was at work when a process died.
    """

    function: Callable[[Item], Result]
    threads: int
    apart: Callable[[Item], Sequence[Item]]

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        items = [pickle.loads(pickled) for pickled in batch["item"]]
        alone = self.threads == 1 or any(_starts(name).exists() for name, _ in items)  # else innocents would be blamed
        with ThreadPoolExecutor(self.threads) as pool:
            # In the order of the items: of a task that is started again, Ray drops as many rows as it has seen.
            for outcomes in (map if alone else pool.map)(self._settle, items):
                yield {"outcomes": [pickle.dumps(outcomes)]}

    def _settle(self, named: tuple[str, Item]) -> list[tuple[Item, Result | Raised]]:
        name, item = named
        starts = _starts(name)
        deaths = starts.stat().st_size if starts.exists() else 0
        parts = self.apart(item) if deaths else [item]
        if len(parts) > 1:
            outcomes = [done for index, part in enumerate(parts) for done in self._settle((f"{name}.{index}", part))]
        elif deaths < _DEATHS:
            with starts.open("ab") as file:
                file.write(b".")
            outcomes = [(item, _outcome(self.function, item))]
        else:
            outcomes = [(item, Raised(f"the process died, {_DEATHS} times", "crashed"))]
        starts.unlink()
        return outcomes


def _starts(name: str) -> Path:
    return Path(tempfile.gettempdir(), f"reelwright-{name}")


def _outcomes(
    function: Callable[[Item], Result], items: Sequence[Item], threads: int
) -> Generator[tuple[Item, Result | Raised]]:
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
