"""Fill the caches of latents and of captions: plan what is missing, run it on the engine, commit rows as they come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate.tables import Dataset
from model.codec.files import load_codec
from model.dataset import NothingToTrainOnError, Report, SelectionConfig, kept_clips
from model.latents import EncodeConfig, encode_clips, plan_latents
from model.text.cache import encode_texts, plan_texts
from model.text.pretrained import PretrainedTextConfig, load_text_encoder
from pipelines.engine import Engine, Raised

Progress = Callable[[int, int], None]
"""Called with how many are done, and of how many."""

_COMMIT_EVERY_S = 10.0
_ALL = SelectionConfig(split="all", require_caption=False, scores=())


def encode_latents(
    dataset: Dataset,
    codec_path: str | Path,
    config: EncodeConfig,
    engine: Engine,
    *,
    run_id: str,
    progress: Progress | None = None,
) -> Counter[str]:
    """Encode the windows of all kept clips that have no latent of this codec yet.

    Returns counts of windows: done (before), ok, failed; and of clips that cannot be used, by reason. Raises
    NothingToTrainOnError when no clip is kept, and RuntimeError when tasks failed by a fault of ours.
    """
    codec = load_codec(codec_path)
    report = Report()
    clips = [clip for chunk in kept_clips(dataset.require(), _ALL, report) for clip in chunk]
    done = _done(dataset, "latents", "latent_id", pc.field("codec") == codec.fingerprint())
    tasks, counts = plan_latents(clips, config, codec, done)
    planned = counts.pop("planned", 0)
    if not planned and not counts["done"]:
        report.dropped.update(counts)
        raise NothingToTrainOnError(f"{dataset.uri}: nothing to encode.\n{report}")
    function = partial(encode_clips, root=dataset.uri, codec_path=str(codec_path), config=config)
    return counts + _fill(dataset, "latents", "latent_id", engine.run(function, tasks), run_id, planned, progress)


def encode_captions(
    dataset: Dataset, config: PretrainedTextConfig, engine: Engine, *, run_id: str, progress: Progress | None = None
) -> Counter[str]:
    """Encode the captions of all kept clips that have no states of this text encoder yet. Returns counts of texts."""
    encoder_id = load_text_encoder(config).fingerprint()
    clips = [clip for chunk in kept_clips(dataset.require(), _ALL, Report()) for clip in chunk]
    texts = dict.fromkeys(text for clip in clips for text in clip.captions.values())
    done = _done(dataset, "text_embeddings", "text_id", pc.field("encoder") == encoder_id)
    tasks = plan_texts(texts, encoder_id, done)
    planned = sum(len(task.texts) for task in tasks)
    outcomes = engine.run(partial(encode_texts, root=dataset.uri, config=config), tasks)
    counts = _fill(dataset, "text_embeddings", "text_id", outcomes, run_id, planned, progress)
    counts["done"] = len(texts) + 1 - planned
    return counts


def _done(dataset: Dataset, table: str, key: str, where: pc.Expression) -> set[str]:
    return set(dataset.read(table, [key], where=where & (pc.field("status") == "ok"))[key].to_pylist())


def _fill(
    dataset: Dataset,
    table: str,
    key: str,
    outcomes: Iterable[tuple[Any, list[dict[str, Any]] | Raised]],
    run_id: str,
    planned: int,
    progress: Progress | None,
) -> Counter[str]:
    """Commit rows as they come, in batches; count them by status."""
    counts: Counter[str] = Counter()
    slips: list[str] = []
    waiting: list[dict[str, Any]] = []
    committed = time.monotonic()
    for _, outcome in outcomes:
        if isinstance(outcome, Raised):
            slips.append(outcome.message)
            continue
        waiting += [{**row, "run_id": run_id} for row in outcome]
        counts.update(row["status"] for row in outcome)
        if progress is not None:
            progress(counts.total(), planned)
        if time.monotonic() - committed > _COMMIT_EVERY_S:
            dataset.replace_rows(table, [row[key] for row in waiting], waiting)
            waiting, committed = [], time.monotonic()
    if waiting:
        dataset.replace_rows(table, [row[key] for row in waiting], waiting)
    if slips:
        raise RuntimeError(f"{len(slips)} tasks failed by a fault of ours; the first: {slips[0]}")
    return counts
