"""The page about a dataset: what came in, what was kept and why, what it looks like, what was written about it.

    tables ──▶ facts ──▶ funnel, scores, contact sheets, captions ──▶ clips to be shown ──▶ previews ──▶ page

Counting is SQL, and clips are shown by samples of a fixed size: neither memory nor the page grows with the dataset.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from curate.check import check
from curate.decide import yield_curves
from curate.query import connect
from curate.stats import failures
from curate.tables import Dataset
from pipelines.report import provenance
from pipelines.report.captions import caption_groups
from pipelines.report.clip_facts import dicts, gather, rules_in_use
from pipelines.report.funnel import hours, levels
from pipelines.report.page import render
from pipelines.report.pictures import Drawn, Strip, Wanted, draw_strips
from pipelines.report.scores import neighbour_ids, panels
from pipelines.report.sheets import Card, Sheet, interleaved, sheets

_PICTURES_SHARE = 0.7  # of the page; what is written about the clips takes up to two megabytes
_CURVE_POINTS = 13
_MAX_FAILURES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    """How much a report shows."""

    title: str | None = None
    """Heading of the page; default: the name of the folder."""
    kept_clips: int = 96
    """Kept clips in the contact sheet."""
    clips_per_reason: int = 18
    """Lost clips of each reason."""
    neighbours: int = 5
    """Clips on either side of a limit."""
    caption_examples: int = 4
    """Captions of each kind and captioner: so many of the best, the worst and the rejected."""
    frames: int = 4
    """Frames of a clip in its filmstrip."""
    max_mb: float = 7.5
    """Size of the page. When pictures do not find room, fewer clips are shown."""

    def __post_init__(self) -> None:
        for name in ("kept_clips", "clips_per_reason", "neighbours", "caption_examples"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.frames < 1 or self.max_mb <= 0.5:
            raise ValueError("frames must be at least 1, and max_mb above 0.5")


def dataset_page(dataset: Dataset, config: ReportConfig, *, now: datetime) -> str:
    """The page as HTML. Raises DatasetError when there is no dataset."""
    checked = check(dataset)
    failed = failures(dataset).to_pylist()
    with connect(dataset) as db:
        gather(db)
        rules = rules_in_use(db)
        curves = yield_curves(dataset, rules.config, points=_CURVE_POINTS)
        ruled, unruled = panels(db, rules.config, curves, neighbours=config.neighbours)
        contact = sheets(db, rules.config, kept=config.kept_clips, per_reason=config.clips_per_reason)
        captions = caption_groups(db, examples=config.caption_examples)
        title_clips = [card.clip_id for sheet in contact if sheet.state == "kept" for card in sheet.cards][:8]
        groups = [[card.clip_id for card in sheet.cards] for sheet in contact]
        groups += [[row["clip_id"] for row in group.examples] for group in captions]
        stills = [Wanted(clip_id, 1) for clip_id in (*title_clips, *neighbour_ids(ruled))]
        strips = [Wanted(clip_id, config.frames) for clip_id in interleaved(groups)]
        budget = round(config.max_mb * 1e6 * _PICTURES_SHARE)
        pictures = draw_strips(db, dataset.uri, [*stills, *strips], budget_bytes=budget)
        copies_total, copies = provenance.copies(db)
        facts: dict[str, Any] = {
            "title": config.title or dataset.uri.rstrip("/").rpartition("/")[2],
            "uri": dataset.uri,
            "now": now,
            "frames": config.frames,
            "checked": checked,
            "summary": _summary(db),
            "funnel": hours(db, rules.config),
            "levels": levels(db),
            "rules": rules,
            "panels": ruled,
            "other_panels": unruled,
            "sheets": [(sheet, _pictured(sheet, pictures, config.frames)) for sheet in contact],
            "states": list(dict.fromkeys(sheet.state for sheet in contact)),
            "reasons": [(sheet.reason, sheet.title) for sheet in contact if sheet.reason],
            "captions": captions,
            "pictures": pictures,
            "title_clips": title_clips,
            "stills": {wanted.clip_id for wanted in pictures.strips if wanted.num_frames == 1},
            "failures": failed[:_MAX_FAILURES],
            "num_failures": len(failed),
            "failure_kinds": Counter(row["error_kind"] for row in failed).most_common(),
            "copies": copies,
            "copies_total": copies_total,
            "footage": provenance.footage(db),
            "largest": provenance.largest_videos(db),
            "runs": provenance.runs(db),
            "tables": provenance.table_versions(db, dataset),
        }
    return render("dataset.html", facts)


def _pictured(sheet: Sheet, pictures: Drawn, frames: int) -> list[tuple[Card, Strip]]:
    found = ((card, pictures.get(card.clip_id, frames)) for card in sheet.cards)
    return [(card, picture) for card, picture in found if picture is not None]


def _summary(db: Any) -> dict[str, Any]:
    [row] = dicts(
        db,
        """select (select count(*) from sources) as sources,
                  (select sum(duration_s) from source_states where state <> 'duplicate') as footage_s,
                  (select count(*) from facts) as clips,
                  (select count(*) from facts where state = 'kept') as kept,
                  (select coalesce(sum(length_s), 0) from facts where state = 'kept') as kept_s,
                  (select count(*) from facts where split = 'val') as val,
                  (select count(*) from sources where status = 'failed') as failed,
                  (select count(*) from captions where status = 'ok') as captions""",
    )
    return row
