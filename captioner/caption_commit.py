"""Put a batch of captions into the table, after what only the whole table can tell: repetition, and what is there.

An accepted caption is only ever replaced by an accepted one. A text that repeats too often is rejected wherever it
stands, in the batch and among what was stored before.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from captioner.caption_job import CaptionJob
from captioner.caption_plan import CaptionPlan
from captioner.duplicates import text_key
from curate.tables import Dataset


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did."""

    rows: list[dict[str, Any]]
    """The rows of the batch that were stored."""
    kept_older: int
    """Rows that were not stored, because an accepted caption is there already."""
    demoted: list[dict[str, Any]]
    """Rows of captions stored before that turned out to repeat too often, and are rejected now."""


def commit_batch(
    dataset: Dataset, job: CaptionJob, plan: CaptionPlan, rows: Sequence[dict[str, Any]], *, run_id: str
) -> Committed:
    """Store the rows of a batch in one commit."""
    passed = plan.watch.add(row["text"] for row in rows if row.get("text"))
    judged = [{**row, "run_id": run_id} for row in rows]
    for row in judged:
        if row["status"] == "ok" and plan.watch.is_repeated(row["text"]):
            row |= {"status": "rejected", "reasons": ["duplicate"]}
    stored = [row for row in judged if row["status"] == "ok" or row["caption_id"] not in plan.stored_ok]
    demoted = _repeated_before(dataset, job, passed, {row["caption_id"] for row in judged}) if passed else []
    together = [*stored, *demoted]
    dataset.replace_rows("captions", [row["caption_id"] for row in together], together)
    return Committed(stored, len(judged) - len(stored), demoted)


def _repeated_before(
    dataset: Dataset, job: CaptionJob, passed: Collection[int], own: Collection[str]
) -> list[dict[str, Any]]:
    """Stored accepted captions with these words, as rejected rows."""
    mine = (pc.field("kind") == job.config.kind) & (pc.field("captioner") == job.identity.id)
    rows = dataset.read("captions", where=mine & (pc.field("status") == "ok")).to_pylist()
    return [
        row | {"status": "rejected", "reasons": ["duplicate"]}
        for row in rows
        if text_key(row["text"]) in passed and row["caption_id"] not in own
    ]
