"""Captions: how many of each kind and captioner came to what, and the best, the worst and the rejected to be read."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from pipelines.report.charts import Axis, histogram
from pipelines.report.clip_facts import dicts
from pipelines.report.page import cut, file_name

if TYPE_CHECKING:
    import duckdb

_MAX_GROUPS = 12
_BINS = 32
_MEASURES = {
    "alignment_margin": "fit to its own clip above that to others, in standard deviations",
    "clip_score": "similarity to its own clip",
    "mean_logprob": "mean log probability of its tokens",
}
"""What captions are ranked by: the first of these that a group has."""


@dataclass(frozen=True, slots=True)
class CaptionGroup:
    """Captions of one kind by one captioner."""

    kind: str
    captioner: str
    counts: dict[str, int]
    """ok, rejected, failed: number."""
    summary: dict[str, Any]
    flags: list[tuple[str, int]]
    reasons: list[tuple[str, int]]
    errors: list[tuple[str, int]]
    measure: str | None
    charts: list[tuple[str, Markup]]
    examples: list[dict[str, Any]]
    """Rows with `place`: best, worst, rejected, or example where nothing ranks them."""


def caption_groups(db: duckdb.DuckDBPyConnection, *, examples: int) -> list[CaptionGroup]:
    """The groups with the most captions first."""
    groups = dicts(
        db,
        f"""select kind, captioner, count(*) as number, count(distinct clip_id) as clips,
                   count(*) filter (status = 'ok') as ok, count(*) filter (status = 'rejected') as rejected,
                   count(*) filter (status = 'failed') as failed,
                   avg(num_words) filter (status = 'ok') as words, avg(clip_score) as clip_score,
                   avg(alignment_margin) as alignment_margin, avg(mean_logprob) as mean_logprob,
                   max(scorer) as scorer, count(distinct text) filter (status = 'ok') as distinct_texts,
                   max(created) as newest
            from captions group by kind, captioner order by number desc, kind, captioner limit {_MAX_GROUPS}""",
    )
    flags = _counts(db, "select kind, captioner, unnest(flags) as name from captions where status = 'ok'")
    reasons = _counts(db, "select kind, captioner, unnest(reasons) as name from captions where status = 'rejected'")
    errors = _counts(db, "select kind, captioner, error_kind as name from captions where status = 'failed'")
    found = []
    for row in groups:
        key = (row["kind"], row["captioner"])
        measure = next((name for name in _MEASURES if row[name] is not None), None)
        found.append(
            CaptionGroup(
                kind=key[0],
                captioner=key[1],
                counts={state: row[state] for state in ("ok", "rejected", "failed")},
                summary=row,
                flags=flags[key],
                reasons=reasons[key],
                errors=errors[key],
                measure=_MEASURES[measure] if measure else None,
                charts=_charts(db, key, measure),
                examples=_examples(db, key, measure, examples),
            )
        )
    return found


def _counts(db: duckdb.DuckDBPyConnection, sql: str) -> dict[tuple[str, str], list[tuple[str, int]]]:
    found: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    rows = db.sql(f"select kind, captioner, name, count(*) from ({sql}) group by all order by 4 desc, 3").fetchall()
    for kind, captioner, name, count in rows:
        found[kind, captioner].append((name, count))
    return found


def _charts(db: duckdb.DuckDBPyConnection, key: tuple[str, str], measure: str | None) -> list[tuple[str, Markup]]:
    charts = []
    for column, title in (("num_words", "words"), (measure, _MEASURES.get(measure or "", ""))):
        if column is None:
            continue
        low, high = db.execute(
            f"""select quantile_cont({column}, 0.005), quantile_cont({column}, 0.995) from captions
                where kind = $kind and captioner = $captioner""",
            {"kind": key[0], "captioner": key[1]},
        ).fetchall()[0]
        if low is None or high <= low:
            continue
        rows = db.execute(
            f"""select status, count(*),
                       least(greatest(floor(({column} - $low) / ($high - $low) * {_BINS}), 0), {_BINS - 1})::int
                from captions where kind = $kind and captioner = $captioner and {column} is not null group by all""",
            {"kind": key[0], "captioner": key[1], "low": low, "high": high},
        ).fetchall()
        bins = {"ok": [0.0] * _BINS, "rejected": [0.0] * _BINS}
        for status, count, index in rows:
            bins["ok" if status == "ok" else "rejected"][index] += count
        label = f"Histogram of {title} of {key[0]} captions by {key[1]}"
        charts.append((title, histogram(Axis(low, high), bins, unit="captions", label=label)))
    return charts


def _examples(
    db: duckdb.DuckDBPyConnection, key: tuple[str, str], measure: str | None, number: int
) -> list[dict[str, Any]]:
    """Best and worst of the accepted, or some where nothing ranks them; then rejected ones of different reasons."""
    rank = measure or "null"
    rows = dicts(
        db,
        f"""with mine as (
                select clip_id, captions.video_id, status, text, raw_text, flags, reasons, num_words,
                       {rank}::double as score,
                       row_number() over (partition by status, reasons[1] order by clip_id) as turn
                from captions where kind = $kind and captioner = $captioner and text is not null
            ), ordered as (
                select *, row_number() over (partition by status order by score desc nulls last, clip_id) as down,
                       row_number() over (partition by status order by score asc nulls last, clip_id desc) as up,
                       row_number() over (partition by status order by turn, reasons[1], clip_id) as spread
                from mine
            ), chosen as (
                select *, case when status = 'rejected' then 'rejected'
                               when down <= $number then 'best' else 'worst' end as place,
                       case when status = 'rejected' then spread when down <= $number then down else up end as position
                from ordered
                where status = 'ok' and (down <= $number or (up <= $number and score is not null))
                      or status = 'rejected' and spread <= $number
            )
            select chosen.*, coalesce(uri, chosen.video_id) as uri from chosen left join videos using (video_id)
            order by place = 'rejected', place, position""",
        kind=key[0],
        captioner=key[1],
        number=number,
    )
    for row in rows:
        row["place"] = "example" if measure is None and row["place"] != "rejected" else row["place"]
        row["text"], row["file"] = cut(row["text"], 900), file_name(row["uri"])
        row["raw_text"] = cut(row["raw_text"], 900)
    return rows
