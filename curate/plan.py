"""What a run has to do: the sources that it expects, and which of them need to be read. Nothing is opened here.

The plan owns the expected ids. A source gets its row, pending, before any work begins; whatever happens afterwards can
change the row but never remove it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curate.config import fingerprint
from curate.scan import ScanConfig, Scanned
from curate.sources import Source, local_path
from curate.tables import Dataset

_CARRIED = ("license", "title", "original_caption")


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What a scan will do."""

    rows: list[dict[str, Any]]
    """New and changed rows of `sources`, to be committed first."""
    to_scan: dict[str, dict[str, Any]]
    """uri to row, of those whose content must be read."""
    unchanged: int
    """Sources that are up to date."""
    size_bytes: int
    """Size of what must be read, as far as it is known."""


def plan_scan(
    sources: Sequence[Source],
    known: Mapping[str, Mapping[str, Any]],
    config: ScanConfig,
    *,
    run_id: str,
    inputs: Sequence[str] = (),
    retry: bool = False,
) -> ScanPlan:
    """Hold what was listed against the rows that are known.

    A source is read when it is new, when its size, time or etag changed, when the settings of the scan changed, when an
    earlier run did not come to it, or, with `retry`, when it failed. Known files below the listed folders that are
    there no more are marked missing.
    """
    rows: list[dict[str, Any]] = []
    to_scan: dict[str, dict[str, Any]] = {}
    for source in sources:
        before = known.get(source.uri)
        row = _row(source, before, config, run_id)
        if source.problem is None and _is_due(row, before, retry):
            row |= {"status": "pending", "error_kind": None, "error": None}
            to_scan[source.uri] = {**row, "run_id": run_id}
        if before is None or any(row[name] != before[name] for name in row):
            rows.append({**row, "run_id": run_id})
    rows += _missing(sources, known, inputs, run_id)
    return ScanPlan(rows, to_scan, len(sources) - len(to_scan), sum(row["size_bytes"] or 0 for row in to_scan.values()))


def scanned_row(row: Mapping[str, Any], scanned: Scanned) -> dict[str, Any]:
    """The row of a source after it was read."""
    failed = scanned.video is None or scanned.video["status"] != "ok"
    error = scanned.error if failed else None
    return {
        **row,
        "video_id": scanned.video_id,
        "status": "failed" if failed else "ok",
        "error_kind": error.kind if error else None,
        "error": error.message if error else None,
    }


def known_sources(dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Rows of `sources` by uri."""
    return {row["uri"]: {**row, "extra": dict(row["extra"] or ())} for row in dataset.read("sources").to_pylist()}


def _row(source: Source, before: Mapping[str, Any] | None, config: ScanConfig, run_id: str) -> dict[str, Any]:
    problem = source.problem
    carried = {name: getattr(source, name) or (before[name] if before else None) for name in _CARRIED}
    return {
        "uri": source.uri,
        "video_id": before["video_id"] if before else None,
        "duplicate_of": before["duplicate_of"] if before else None,
        "size_bytes": source.size_bytes,
        "modified": source.modified,
        "etag": source.etag,
        **carried,
        "extra": {**(before["extra"] if before else {}), **source.extra},
        "status": "failed" if problem else before["status"] if before else "pending",
        "error_kind": problem.kind if problem else before["error_kind"] if before else None,
        "error": problem.message if problem else before["error"] if before else None,
        "fingerprint": fingerprint(
            source.size_bytes, str(source.modified), source.etag, problem.kind if problem else config.fingerprint
        ),
        "run_id": before["run_id"] if before else run_id,
    }


def _is_due(row: Mapping[str, Any], before: Mapping[str, Any] | None, retry: bool) -> bool:
    if before is None or before["status"] == "pending" or before["fingerprint"] != row["fingerprint"]:
        return True
    return before["status"] == "failed" and (retry or before["error_kind"] == "missing")  # it is back


def _missing(
    sources: Sequence[Source], known: Mapping[str, Mapping[str, Any]], inputs: Sequence[str], run_id: str
) -> list[dict[str, Any]]:
    """Rows of known files below the listed folders that were not found, where the listing could look."""
    listed = {source.uri for source in sources}
    folders = tuple(os.path.abspath(text) + os.sep for text in inputs if "://" not in text and os.path.isdir(text))
    unseen = tuple(source.uri + os.sep for source in sources if source.problem is not None)
    gone = []
    for uri, row in known.items():
        path = str(local_path(uri) or "")
        if uri in listed or not path.startswith(folders) or path.startswith(unseen) or row["error_kind"] == "missing":
            continue
        error = f"{uri}: was there before, but is no more; restore it, or leave its rows as a record"
        gone.append({**row, "status": "failed", "error_kind": "missing", "error": error, "run_id": run_id})
    return gone
