"""Contact sheets: a bounded number of kept clips, and of every reason for which clips were lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from curate.rules import DecideConfig
from pipelines.report.clip_facts import dicts
from pipelines.report.funnel import group_name, in_order, say_reason
from pipelines.report.page import cut, file_name, number

if TYPE_CHECKING:
    import duckdb

_MAX_REASONS = 30
_CAPTIONS_PER_CLIP = 5


@dataclass(frozen=True, slots=True)
class Card:
    """A clip as the page shows it."""

    clip_id: str
    state: str
    reason: str | None
    words: str
    """The reason, in words."""
    file: str
    uri: str
    span: str
    size: str
    length_s: float
    split: str | None
    camera: str | None
    scores: list[tuple[str, str, bool]]
    """Name, value, and whether this is the score that failed."""
    captions: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Sheet:
    """Clips that ended in one state for one reason, of which some are shown."""

    name: str
    state: str
    reason: str | None
    title: str
    number: int
    length_s: float
    cards: list[Card] = field(default_factory=list)


def sheets(db: duckdb.DuckDBPyConnection, config: DecideConfig, *, kept: int, per_reason: int) -> list[Sheet]:
    """Kept clips first, then a sheet per reason in the order of the rules.

    Clips are taken from as many videos as there are. Those that a rule filtered are sorted by how close they came.
    """
    groups = dicts(
        db,
        """select state, reason, count(*) as number, sum(length_s) as lost_s, any_value(threshold) as threshold
           from facts group by state, reason""",
    )
    lost = in_order([row for row in groups if row["state"] != "kept"], config)
    shown = [row for row in groups if row["state"] == "kept"] + lost
    cards = _cards(db, kept, per_reason)
    return [
        Sheet(
            name=group_name(row["state"], row["reason"]),
            state=row["state"],
            reason=row["reason"],
            title=say_reason(row["reason"], row["threshold"]) or row["state"],
            number=row["number"],
            length_s=row["lost_s"],
            cards=cards[group_name(row["state"], row["reason"])],
        )
        for row in shown[: _MAX_REASONS + 1]
    ]


def interleaved(groups: Sequence[Sequence[str]]) -> list[str]:
    """The first of every group, then the second of every group: what is cut off at the end is cut off fairly."""
    longest = max(map(len, groups), default=0)
    return [group[index] for index in range(longest) for group in groups if index < len(group)]


def _cards(db: duckdb.DuckDBPyConnection, kept: int, per_reason: int) -> dict[str, list[Card]]:
    rows = dicts(
        db,
        """with turns as (
               select *, row_number() over (partition by state, reason, video_id order by clip_id) as turn from facts
           ), chosen as (
               select * from turns
               qualify row_number() over (partition by state, reason order by turn, clip_id)
                       <= case when state = 'kept' then $kept else $per_reason end
           )
           select chosen.*, videos.uri from chosen join videos on videos.video_id = chosen.video_id
           order by abs(decided_score - threshold) nulls last, turn, clip_id""",
        kept=kept,
        per_reason=per_reason,
    )
    captions = captions_of(db, [row["clip_id"] for row in rows])
    found: dict[str, list[Card]] = defaultdict(list)
    for row in rows:
        found[group_name(row["state"], row["reason"])].append(_card(row, captions[row["clip_id"]]))
    return found


def captions_of(db: duckdb.DuckDBPyConnection, clip_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Accepted captions of some clips, a few of each."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    rows = dicts(
        db,
        """select clip_id, kind, captioner, text from captions
           where status = 'ok' and list_contains($ids, clip_id)
           qualify row_number() over (partition by clip_id order by kind, captioner) <= $most
           order by clip_id, kind, captioner""",
        ids=list(clip_ids),
        most=_CAPTIONS_PER_CLIP,
    )
    for row in rows:
        found[row["clip_id"]].append({**row, "text": cut(row["text"])})
    return found


def _card(row: dict[str, Any], captions: list[dict[str, Any]]) -> Card:
    failed = (row["reason"] or "").rpartition(".")[0]
    return Card(
        clip_id=row["clip_id"],
        state=row["state"],
        reason=row["reason"],
        words=say_reason(row["reason"], row["threshold"]),
        file=file_name(row["uri"]),
        uri=row["uri"],
        span=f"{clock(row['start_s'])} to {clock(row['end_s'])}",
        size=f"{row['width_px']} × {row['height_px']}, {number(row['clip_fps'])} fps",
        length_s=row["length_s"],
        split=row["split"],
        camera=row["camera_motion"],
        scores=[
            (name, number(value), name == failed)
            for column, value in row.items()
            if (name := column.removeprefix("score_")) != column and value is not None
        ],
        captions=captions,
    )


def clock(seconds: float) -> str:
    """A place in a video: 12.04 s, 3:07.5, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes:.0f}:{rest:04.1f}"
    return f"{minutes // 60:.0f}:{minutes % 60:02.0f}:{rest:02.0f}"
