"""Fill the caches of latents and of captions: plan what is missing, run it on the engine, commit rows as they come.

    encode_latents ──▶ latents      encode_captions ──▶ text_embeddings

Both can be killed at any moment and run again: what was committed is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from curate.errors import VideoError
from curate.tables import Dataset
from model.codec.files import load_codec
from model.dataset import (
    KeptClip,
    NothingToTrainOnError,
    Report,
    SelectionConfig,
    kept_clips,
    open_text_cache,
    open_training_set,
)
from model.latents import EncodeConfig, EncodeTask, encode_clips, failed_latents, plan_latents
from model.text.cache import encode_texts, plan_texts
from model.text.pretrained import PretrainedTextConfig, load_text_encoder
from model.training_files import write_training_files
from pipelines.engine import Engine, EngineConfig, Raised
from pipelines.progress import StageReport, stage
from pipelines.run import Run

_COMMIT_S = 10.0
_ALL = SelectionConfig(split="all", require_caption=False, scores=())


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeSettings:
    """All that `reelwright encode` can be told."""

    encode: EncodeConfig = field(default_factory=EncodeConfig)
    text: PretrainedTextConfig | None = None
    """The text encoder; none leaves captions to the built-in one, which trains with the model."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    """What is copied by --files."""
    engine: EngineConfig = field(default_factory=EngineConfig)


def plan_encode(
    dataset: Dataset, codec_path: str | Path, config: EncodeConfig, *, retry: bool = False
) -> tuple[list[EncodeTask], StageReport]:
    """Tasks for the windows of kept clips that have no latent of this codec, and what is there already.

    Windows that failed before are done again with `retry` only. Raises NothingToTrainOnError when no clip can be used.
    """
    codec = load_codec(codec_path)
    clips, report = _kept(dataset)
    known = _known(dataset, "latents", "latent_id", pc.field("codec") == codec.fingerprint())
    tasks, counts = plan_latents(clips, config, codec, [key for key, ok in known.items() if ok or not retry])
    planned, unchanged = counts.pop("planned", 0), counts.pop("done", 0)
    if not planned and not unchanged:
        report.dropped.update(counts)
        raise NothingToTrainOnError(f"{dataset.uri}: nothing to encode.\n{report}")
    found = StageReport("encode", total=planned, unchanged=unchanged)
    found.numbers |= {f"clips {reason}": count for reason, count in sorted(counts.items()) if count}
    return tasks, found


def encode_latents(
    dataset: Dataset,
    codec_path: str | Path,
    config: EncodeConfig,
    run: Run,
    engine: Engine,
    *,
    retry: bool = False,
    quiet: bool = False,
) -> StageReport:
    """Encode every window that is due. Table: latents. See `plan_encode`."""
    tasks, report = plan_encode(dataset, codec_path, config, retry=retry)
    function = partial(encode_clips, root=dataset.uri, codec_path=str(codec_path), config=config)
    done = engine.run(function, tasks, apart=lambda task: [replace(task, jobs=(job,)) for job in task.jobs])
    outcomes = ((task, _or_crashed(task, outcome, config)) for task, outcome in done)
    _fill(dataset, "latents", "latent_id", outcomes, run, report, quiet)
    return report


def _or_crashed(
    task: EncodeTask, outcome: list[dict[str, Any]] | Raised, config: EncodeConfig
) -> list[dict[str, Any]] | Raised:
    if isinstance(outcome, Raised) and outcome.kind == "crashed":
        return failed_latents(task, config, VideoError(outcome.kind, outcome.message))
    return outcome


def encode_captions(
    dataset: Dataset,
    config: PretrainedTextConfig,
    run: Run,
    engine: Engine,
    *,
    retry: bool = False,
    quiet: bool = False,
) -> StageReport:
    """Encode every caption of a kept clip that has no states of this text encoder. Table: text_embeddings."""
    encoder_id = load_text_encoder(config).fingerprint()
    texts = dict.fromkeys(text for clip in _kept(dataset)[0] for text in clip.captions.values())
    known = _known(dataset, "text_embeddings", "text_id", pc.field("encoder") == encoder_id)
    tasks = plan_texts(texts, encoder_id, [key for key, ok in known.items() if ok or not retry])
    total = sum(len(task.texts) for task in tasks)
    report = StageReport("text", total=total, unchanged=len({"", *texts}) - total)
    outcomes = engine.run(partial(encode_texts, root=dataset.uri, config=config), tasks)
    _fill(dataset, "text_embeddings", "text_id", outcomes, run, report, quiet)
    return report


def copy_training_files(dataset: Dataset, codec_path: str | Path, settings: EncodeSettings, folder: Path) -> None:
    """Copy the training and validation sets of a dataset, with what is cached, into a folder of plain Parquet."""
    codec = load_codec(codec_path)
    sets = {}
    for split in ("train", "val"):
        selection = replace(settings.selection, split=split)
        try:
            sets[split] = open_training_set(dataset, selection, codec=codec, windows=settings.encode.windows)
        except NothingToTrainOnError:
            if split == "train":
                raise
    text = None
    if settings.text is not None:
        text = open_text_cache(dataset, load_text_encoder(settings.text).fingerprint())
    write_training_files(sets, folder, codec=codec, text=text)


def _kept(dataset: Dataset) -> tuple[list[KeptClip], Report]:
    report = Report()
    return [clip for chunk in kept_clips(dataset.require(), _ALL, report) for clip in chunk], report


def _known(dataset: Dataset, table: str, key: str, where: pc.Expression) -> dict[str, bool]:
    """Keys of rows, and whether they are ok."""
    rows = dataset.read(table, [key, "status"], where=where)
    return {row[key]: row["status"] == "ok" for row in rows.to_pylist()}


def _fill(
    dataset: Dataset,
    table: str,
    key: str,
    outcomes: Iterable[tuple[Any, list[dict[str, Any]] | Raised]],
    run: Run,
    report: StageReport,
    quiet: bool,
) -> None:
    """Commit rows as they come and count them. Raises RuntimeError at the end for tasks that failed by our fault."""
    run.begin()
    run.reports.append(report)
    slips: list[str] = []
    waiting: list[dict[str, Any]] = []

    def commit() -> None:
        dataset.replace_rows(table, [row[key] for row in waiting], waiting)
        waiting.clear()

    with stage(report, quiet=quiet) as advance:
        committed = time.monotonic()
        try:
            for _, outcome in outcomes:
                if isinstance(outcome, Raised):
                    slips.append(outcome.message)
                    continue
                for row in outcome:
                    waiting.append({**row, "run_id": run.run_id})
                    report.done += row["status"] == "ok"
                    if row["status"] == "failed":
                        report.failed[row["error_kind"]] += 1
                    advance()
                if time.monotonic() - committed > _COMMIT_S:
                    commit()
                    committed = time.monotonic()
        finally:  # an interrupt, or the end of the cluster: what was done by then is kept
            commit()
        dataset.compact(table)
    if slips:
        raise RuntimeError(f"{len(slips)} tasks failed by a fault of ours; the first: {slips[0]}")
