"""The training of a captioner, in this process or on several by Ray Train; any number of them sees the same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from captioner.frames import FrameConfig
from captioner.training import check_training, train_captioner
from captioner.training_clips import DatasetSource
from captioner.training_config import TrainingConfig, frames_of
from captioner.training_data import CaptionSource, drawn_source
from curate.config import build, to_tree
from curate.tables import Dataset
from pipelines.ray_launch import LaunchConfig, own_device, train_on_ray


def launch_captioner(
    dataset: str | None,
    prefer: Sequence[str],
    out: Path,
    config: TrainingConfig,
    launch_config: LaunchConfig,
    *,
    device: str,
    loaders: int,
    say: Callable[[str], None] = print,
) -> None:
    """Train into a folder, here or on a cluster; without a dataset, on drawn footage.

    `device` is for training here; processes of Ray take the one that they are given. Unusable data or settings are
    found here, before any process is started.
    """
    source = _source(dataset, prefer, out, config, say)
    if launch_config.is_here:
        train_captioner(config, source, out, device=device, workers=loaders, say=say)
        return
    check_training(config, source, out, ranks=launch_config.workers)
    say(f"{launch_config.workers} processes; what they learn is told in {out / 'training' / 'log.jsonl'}")
    settings = {
        "dataset": dataset and Dataset(dataset).uri,  # from wherever a process runs
        "prefer": list(prefer),
        "out": str(out.resolve()),
        "config": to_tree(config),
        "loaders": loaders,
    }
    train_on_ray(train_loop, settings, out, launch_config)


def train_loop(settings: dict[str, Any]) -> None:
    """What each process runs."""
    config, out = build(TrainingConfig, settings["config"]), Path(settings["out"])
    source = _source(settings["dataset"], settings["prefer"], out, config, print)
    train_captioner(config, source, out, device=str(own_device()), workers=settings["loaders"])


def dataset_source(
    dataset: str, frames: FrameConfig, prefer: Sequence[str], folder: Path | None, seed: int, say: Callable[[str], None]
) -> DatasetSource:
    """Clips and captions of a dataset, and a word about those that cannot be read."""
    source = DatasetSource(Dataset(dataset), frames, prefer=prefer, folder=folder, seed=seed)
    if source.unreadable:
        say(f"{source.unreadable} clips cannot be read and are left out")
    return source


def _source(
    dataset: str | None, prefer: Sequence[str], out: Path, config: TrainingConfig, say: Callable[[str], None]
) -> CaptionSource:
    if dataset is None:
        return drawn_source(config)
    return dataset_source(dataset, frames_of(config), prefer, out, config.seed, say)
