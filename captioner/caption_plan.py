"""Which clips a caption job is about: kept ones whose caption is missing, failed or out of date.

A caption is known by its clip, kind and captioner, and out of date when its fingerprint differs: another prompt, other
weights, other frames, another version of the checks. Captions of other kinds and captioners are never touched.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow.compute as pc

from captioner.caption_job import CaptionJob, caption_id, row_fingerprint
from captioner.clip_frames import ClipSource
from captioner.drawn_truth import DrawnTruth
from captioner.duplicates import DuplicateWatch, allowed_copies
from captioner.kept_clips import kept_clips
from captioner.makers.measured import MEASURED
from curate.errors import UsageError
from curate.tables import Dataset

REDO = ("failed", "rejected", "ok")
"""States of stored captions that can be asked for again although they are up to date."""

_PARTS = 8  # of the dataset, that each batch is taken from


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionPlan:
    """What is to be done, and why the rest is not."""

    todo: list[ClipSource]
    counts: Counter[str]
    """Clips by what was found: done, missing, out_of_date, failed, rejected, other_captioner, nothing_given."""
    stored_ok: frozenset[str]
    """caption_id of accepted captions among `todo`: only an accepted one may replace them."""
    watch: DuplicateWatch = field(repr=False)
    """Knows the captions that stay."""

    def batches(self, size: int) -> list[list[ClipSource]]:
        """`todo` in batches of nearly equal size, so that no small rest escapes the checks of whole batches.

        Each is taken from several parts of the dataset: among clips of one video, captions of the wrong clip could
        hardly be told from right ones. Within a part neighbours stay together, so that a video's previews are read
        about once.
        """
        num = -(-len(self.todo) // size)
        parts = [_share(self.todo, part, _PARTS) for part in range(_PARTS)]
        mixed = [clip for batch in range(num) for part in parts for clip in _share(part, batch, num)]
        return [_share(mixed, batch, num) for batch in range(num)]


def _share(items: list[ClipSource], index: int, num: int) -> list[ClipSource]:
    """One of `num` nearly equal runs of items."""
    return items[index * len(items) // num : (index + 1) * len(items) // num]


def plan_captions(
    dataset: Dataset,
    job: CaptionJob,
    *,
    redo: Collection[str] = ("failed",),
    fill: bool = False,
    limit: int | None = None,
    only: Collection[str] | None = None,
) -> CaptionPlan:
    """Compare what is stored with what is wanted.

    `redo` names states that are done again though up to date; `fill` leaves out clips that have an accepted caption of
    this kind by anybody; `only` names the clips that are looked at. Raises UsageError when no clip is kept.
    """
    unknown = set(redo) - set(REDO)
    if unknown:
        raise UsageError(f"redo {', '.join(sorted(unknown))}: no such state; states: {', '.join(REDO)}")
    clips = _clips_with_context(dataset, job)
    clips = clips if only is None else [clip for clip in clips if clip.clip_id in only]
    kind, captioner = job.config.kind, job.identity.id
    columns = ["caption_id", "clip_id", "captioner", "status", "fingerprint", "text"]
    stored = dataset.read("captions", columns, where=pc.field("kind") == kind)
    own = stored.filter(pc.equal(stored["captioner"], captioner)).to_pylist()
    known = {row["clip_id"]: row for row in own}
    accepted = set(stored.filter(pc.equal(stored["status"], "ok"))["clip_id"].to_pylist()) if fill else set()
    counts: Counter[str] = Counter()
    todo: list[ClipSource] = []
    for clip in clips:
        state = _state_of(clip, known.get(clip.clip_id), job)
        if state in ("missing", "out_of_date") and clip.clip_id in accepted:
            state = "other_captioner"
        wanted = state in ("missing", "out_of_date") or state in redo
        counts["done" if state == "ok" and not wanted else state] += 1
        if wanted:
            todo.append(clip)
    todo = todo[:limit]
    planned = {caption_id(clip.clip_id, kind, captioner) for clip in todo}
    watch = DuplicateWatch(allowed_copies(kind, len(todo) + len(own)))
    watch.add(row["text"] for row in own if row["text"] and row["caption_id"] not in planned)
    stored_ok = frozenset(row["caption_id"] for row in own if row["status"] == "ok" and row["caption_id"] in planned)
    return CaptionPlan(todo=todo, counts=counts, stored_ok=stored_ok, watch=watch)


def _state_of(clip: ClipSource, row: Mapping[str, Any] | None, job: CaptionJob) -> str:
    if any(key not in clip.context for key in job.identity.reads):
        return "nothing_given"
    if row is None:
        return "missing"
    return row["status"] if row["fingerprint"] == row_fingerprint(job, clip) else "out_of_date"


def _clips_with_context(dataset: Dataset, job: CaptionJob) -> list[ClipSource]:
    clips = list(kept_clips(dataset, ("start_s", "end_s", *MEASURED)))
    contexts = _Contexts(dataset, job)
    return [replace(clip.source, context=contexts.of(clip.row, clip.source.uri)) for clip in clips]


class _Contexts:
    """What is known of clips without looking, as far as the captioner reads it."""

    def __init__(self, dataset: Dataset, job: CaptionJob) -> None:
        self._reads = job.reads
        self._originals = _original_captions(dataset) if "original_caption" in self._reads else {}
        self._facts = _stored_facts(dataset) if "facts" in self._reads else {}
        self._truth = DrawnTruth(job.config.captioner.partition(":")[2]) if "slots" in self._reads else None

    def of(self, clip: Mapping[str, Any], uri: str) -> dict[str, str]:
        """The context of a row of `clips`."""
        found = {
            "camera_motion": clip["camera_motion"],
            "original_caption": self._originals.get(clip["video_id"]),
            "facts": self._facts.get(clip["clip_id"]),
            "measured": json.dumps({name: clip[name] for name in MEASURED}),
            "slots": self._truth.slots(uri, clip["start_s"], clip["end_s"]) if self._truth else None,
        }
        return {key: value for key, value in found.items() if key in self._reads and value}


def _original_captions(dataset: Dataset) -> dict[str, str]:
    """By video; of several sources with the same content, the first that has a text."""
    rows = dataset.read("sources", ["uri", "video_id", "original_caption"]).to_pylist()
    texts: dict[str, str] = {}
    for row in rows:
        if row["video_id"] and row["original_caption"]:
            texts.setdefault(row["video_id"], row["original_caption"])
    return texts


def _stored_facts(dataset: Dataset) -> dict[str, str]:
    """By clip, of its newest accepted structured caption."""
    where = (pc.field("kind") == "structured") & (pc.field("status") == "ok")
    rows = dataset.read("captions", ["clip_id", "facts", "created"], where=where)
    return {row["clip_id"]: row["facts"] for row in rows.sort_by("created").to_pylist()}
