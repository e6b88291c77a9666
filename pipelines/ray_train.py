"""The training of `model` on several processes, by Ray Train. All it does is to start them and to pass records on.

The run folder must be on storage that all processes share. Checkpoints are ours and lie there; Ray keeps none. A run
with another number of processes goes on with the same samples, so an elastic one (`most_workers`) loses nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.config import build, to_tree
from curate.errors import ConfigError, TrainingError
from model.parallel import World
from model.run import open_parts, train
from model.train_config import TrainConfig
from model.train_log import read_log


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchConfig:
    """Where a run trains."""

    workers: int = 1
    """Processes, one to a GPU where there are any. One trains in this process, without Ray."""
    most_workers: int | None = None
    """Elastic: between `workers` and so many, as the cluster has room."""
    gpu: bool | None = None
    """Whether each takes a GPU; None: where the cluster has any."""
    cpus_per_worker: int = 1
    max_failures: int = 3
    """Processes that may die before the run ends; it goes on from the newest checkpoint each time."""
    address: str | None = None
    """A Ray cluster, for example auto. None starts one on this machine."""

    def __post_init__(self) -> None:
        if self.workers < 1 or self.cpus_per_worker < 1 or self.max_failures < 0:
            raise ConfigError("workers and cpus_per_worker must be at least 1, max_failures at least 0")
        if self.most_workers is not None and self.most_workers < self.workers:
            raise ConfigError(f"most_workers is {self.most_workers}, fewer than workers, {self.workers}")


def launch(
    source: str, out: Path, config: TrainConfig, launch_config: LaunchConfig, *, report: Callable[[dict], None] | None
) -> dict[str, Any]:
    """Train into a run folder, here or on a cluster; return the last record of the log.

    An unusable selection or configuration is found here, before any process is started.
    """
    if launch_config.workers == 1 and launch_config.most_workers is None and launch_config.address is None:
        return train(source, out, config, report=report)
    open_parts(source, out, config, world=World.alone())
    return _train_on_ray(source, out, config, launch_config)


def _train_on_ray(source: str, out: Path, config: TrainConfig, launch_config: LaunchConfig) -> dict[str, Any]:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    ours = not ray.is_initialized()
    if ours:
        started_here: dict[str, Any] = {} if launch_config.address else {"include_dashboard": False}
        ray.init(address=launch_config.address, logging_level=logging.ERROR, log_to_driver=False, **started_here)
    try:
        gpu = ray.cluster_resources().get("GPU", 0) > 0 if launch_config.gpu is None else launch_config.gpu
        workers: Any = launch_config.workers
        if launch_config.most_workers is not None:
            workers = (launch_config.workers, launch_config.most_workers)
        trainer = TorchTrainer(
            _train_loop,
            train_loop_config={"source": str(source), "out": str(out.resolve()), "config": to_tree(config)},
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": launch_config.cpus_per_worker}
            ),
            run_config=RunConfig(
                name=out.name,
                storage_path=str(out.resolve() / "ray"),
                failure_config=FailureConfig(max_failures=launch_config.max_failures),
            ),
        )
        result = trainer.fit()
        if result.error is not None:
            raise TrainingError(f"{out}: the training ended early: {result.error}") from result.error
        return read_log(out)[-1]
    finally:
        if ours:
            ray.shutdown()


def _train_loop(settings: dict[str, Any]) -> None:
    """What each process runs."""
    import ray.train
    import ray.train.torch
    import torch

    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)

    def report(record: dict[str, Any]) -> None:
        # Every process calls it equally often, as Ray Train requires.
        if record["event"] in ("step", "validation"):
            ray.train.report(record)

    config = build(TrainConfig, settings["config"])
    train(settings["source"], settings["out"], config, world=World.current(), report=report)
