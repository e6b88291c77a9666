"""The training of `model`, in this process or on several by Ray Train; it passes records on.

A run with another number of processes goes on with the same samples, so an elastic one (`most_workers`) loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from curate.config import build, to_tree
from model.parallel import World
from model.run import open_parts, train
from model.train_config import TrainConfig
from model.train_log import followed, read_log
from pipelines.ray_launch import LaunchConfig, own_device, train_on_ray


def launch(
    source: str, out: Path, config: TrainConfig, launch_config: LaunchConfig, *, report: Callable[[dict], None] | None
) -> dict[str, Any]:
    """Train into a run folder, here or on a cluster; return the last record of the log.

    An unusable selection or configuration is found here, before any process is started.
    """
    if launch_config.is_here:
        return train(source, out, config, report=report)
    open_parts(source, out, config, world=World.alone())
    settings = {"source": str(source), "out": str(out.resolve()), "config": to_tree(config)}
    with nullcontext() if report is None else followed(out, report):
        train_on_ray(_train_loop, settings, out, launch_config)
    return read_log(out)[-1]


def _train_loop(settings: dict[str, Any]) -> None:
    """What each process runs."""
    import ray.train

    own_device()

    def report(record: dict[str, Any]) -> None:
        # Every process calls it equally often, as Ray Train requires.
        if record["event"] in ("step", "validation"):
            ray.train.report(record)

    config = build(TrainConfig, settings["config"])
    train(settings["source"], settings["out"], config, world=World.current(), report=report)
