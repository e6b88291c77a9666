"""Fill the cache of latents of a dataset: plan what is missing, encode it on the engine, commit rows as they come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate.tables import Dataset
from model.codec.files import load_codec
from model.dataset import NothingToTrainOnError, Report, SelectionConfig, kept_clips
from model.latents import EncodeConfig, encode_clips, plan_latents
from pipelines.engine import Raised, Runner

_COMMIT_EVERY_S = 10.0


def encode_dataset(
    dataset: Dataset,
    codec_path: str | Path,
    config: EncodeConfig,
    run: Runner,
    *,
    run_id: str,
    progress: Callable[[int, int], None] | None = None,
) -> Counter[str]:
    """Encode the windows of all kept clips that have no latent of this codec yet.

    Returns counts of windows: done (before), ok, failed; and of clips that cannot be used, by reason. Raises
    NothingToTrainOnError when no clip is kept, and RuntimeError when tasks failed by a fault of ours.
    """
    codec = load_codec(codec_path)
    report = Report()
    selection = SelectionConfig(split="all", require_caption=False, scores=())
    clips = [clip for chunk in kept_clips(dataset.require(), selection, report) for clip in chunk]
    where = (pc.field("codec") == codec.fingerprint()) & (pc.field("status") == "ok")
    done = set(dataset.read("latents", ["latent_id"], where=where)["latent_id"].to_pylist())
    tasks, counts = plan_latents(clips, config, codec, done)
    planned = counts.pop("planned", 0)
    if not planned and not counts["done"]:
        report.dropped.update(counts)
        raise NothingToTrainOnError(f"{dataset.uri}: nothing to encode.\n{report}")
    slips: list[str] = []
    waiting: list[dict[str, Any]] = []
    committed = time.monotonic()
    function = partial(encode_clips, root=dataset.uri, codec_path=str(codec_path), config=config)
    for _, outcome in run(function, tasks):
        if isinstance(outcome, Raised):
            slips.append(outcome.message)
            continue
        waiting += [{**row, "run_id": run_id} for row in outcome]
        counts.update(row["status"] for row in outcome)
        if progress is not None:
            progress(counts["ok"] + counts["failed"], planned)
        if time.monotonic() - committed > _COMMIT_EVERY_S:
            _commit(dataset, waiting)
            committed = time.monotonic()
    _commit(dataset, waiting)
    if slips:
        raise RuntimeError(f"{len(slips)} of {len(tasks)} tasks failed; the first: {slips[0]}")
    return counts


def _commit(dataset: Dataset, rows: list[dict[str, Any]]) -> None:
    if rows:
        dataset.replace_rows("latents", [row["latent_id"] for row in rows], rows)
        rows.clear()
