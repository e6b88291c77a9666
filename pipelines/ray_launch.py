"""Several processes that train one model, by Ray Train. All it does is to start them, whatever it is that they train.

The run folder must be on storage that all processes share. Checkpoints are ours and lie there; Ray keeps none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import ConfigError, TrainingError


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

    @property
    def is_here(self) -> bool:
        """Whether this process trains by itself, without Ray."""
        return self.workers == 1 and self.most_workers is None and self.address is None


def train_on_ray(
    loop: Callable[[dict[str, Any]], None], settings: dict[str, Any], out: Path, config: LaunchConfig
) -> None:
    """Run `loop(settings)` in every process, as a rank of `torch.distributed`; return when all have ended.

    Raises TrainingError when more of them died than may.
    """
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    ours = not ray.is_initialized()
    if ours:
        started_here: dict[str, Any] = {} if config.address else {"include_dashboard": False}
        ray.init(address=config.address, logging_level=logging.ERROR, log_to_driver=False, **started_here)
    try:
        gpu = ray.cluster_resources().get("GPU", 0) > 0 if config.gpu is None else config.gpu
        workers: Any = config.workers if config.most_workers is None else (config.workers, config.most_workers)
        trainer = TorchTrainer(
            loop,
            train_loop_config=settings,
            torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=gpu, resources_per_worker={"CPU": config.cpus_per_worker}
            ),
            run_config=RunConfig(
                name=out.name,
                storage_path=str(out.resolve() / "ray"),
                failure_config=FailureConfig(max_failures=config.max_failures),
            ),
        )
        result = trainer.fit()
        if result.error is not None:
            raise TrainingError(f"{out}: the training ended early: {result.error}") from result.error
    finally:
        if ours:
            ray.shutdown()


def own_device() -> Any:
    """The torch device of the process that asks, inside `loop`; it is the current one from now on."""
    import ray.train.torch
    import torch

    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device
