"""Scores: a histogram for each, with the limits of its rule drawn in, what other limits would keep, and clips on
either side of each limit."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from markupsafe import Markup

from curate.rules import DecideConfig, Rule
from curate.schema import CLIPS
from pipelines.report.charts import Axis, Limit, histogram
from pipelines.report.clip_facts import dicts, shown_scores
from pipelines.report.page import duration, score_title

if TYPE_CHECKING:
    import duckdb

_BINS = 44
_DOCS = {column.name: column.doc for column in CLIPS.columns} | {"short_side_px": "The smaller of width and height."}


@dataclass(frozen=True, slots=True)
class Side:
    """One limit of a rule, what it costs, and the clips next to it."""

    limit: Limit
    rejected: int
    rejected_s: float
    gain_s: float | None
    """What would be kept besides if only this limit fell; None when it is not known."""
    outside: Sequence[dict[str, Any]] = ()
    """Rejected clips that came closest."""
    inside: Sequence[dict[str, Any]] = ()
    """Kept clips that would go next."""


@dataclass(frozen=True, slots=True)
class Panel:
    """All about one score."""

    name: str
    title: str
    doc: str
    chart: Markup
    missing: int
    sides: list[Side] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def panels(
    db: duckdb.DuckDBPyConnection, config: DecideConfig, curves: pa.Table, *, neighbours: int
) -> tuple[list[Panel], list[Panel]]:
    """The scores that have a rule, and the others. `curves` is from `yield_curves`.

    Rules that reject something come first, beside each other because they are shown with pictures.
    """
    by_side: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in curves.to_pylist():
        by_side[row["rule"], row["side"]].append((row["threshold"], row["hours"]))
    scores = shown_scores(db)
    ruled = [name for name in config.rules if name in scores]
    others = [name for name in scores if name not in config.rules]
    kept_s = dicts(db, "select coalesce(sum(length_s), 0) as kept_s from facts where state = 'kept'")[0]["kept_s"]
    first = [_panel(db, name, config.rules[name], by_side, kept_s, neighbours) for name in ruled]
    second = [_panel(db, name, Rule(), by_side, kept_s, neighbours) for name in others]
    shown = [panel for panel in first if panel]
    shown.sort(key=lambda panel: not any(side.rejected for side in panel.sides))
    return shown, [panel for panel in second if panel]


def neighbour_ids(panels: Sequence[Panel]) -> list[str]:
    """Clips whose pictures the panels show."""
    return [row["clip_id"] for panel in panels for side in panel.sides for row in (*side.outside, *side.inside)]


def _panel(
    db: duckdb.DuckDBPyConnection,
    name: str,
    rule: Rule,
    curves: dict[tuple[str, str], list[tuple[float, float]]],
    kept_s: float,
    neighbours: int,
) -> Panel | None:
    column = f'"score_{name}"'
    [range_] = dicts(
        db,
        f"""select quantile_cont({column}, 0.005) as low, quantile_cont({column}, 0.5) as middle,
                   quantile_cont({column}, 0.995) as high, count({column}) as present, count(*) as total from facts""",
    )
    if not range_["present"]:
        return None
    sides = _sides(db, name, rule, curves, kept_s, neighbours)
    limits = [side.limit for side in sides]
    axis = axis_for(range_["low"], range_["high"], [limit.value for limit in limits])
    unit_s, unit = _unit(max((hours * 3600 for points in curves.values() for _, hours in points), default=0))
    drawn = {
        limit.side: [(value, hours * 3600 / unit_s) for value, hours in curves[name, limit.side]]
        for limit in limits
        if len(curves.get((name, limit.side), ())) > 1
    }
    chart = histogram(
        axis,
        _bins(db, name, axis),
        unit="clips",
        label=f"Histogram of {name}" + "".join(f", limit {limit.side} {limit.value:g}" for limit in limits),
        limits=limits,
        curves=drawn,
        curve_unit=unit,
    )
    return Panel(
        name, score_title(name), _DOCS.get(name, ""), chart, range_["total"] - range_["present"], sides, _notes(rule)
    )


def axis_for(low: float, high: float, limits: Sequence[float]) -> Axis:
    """An axis that shows the values and the limits; logarithmic when a linear one would squeeze a limit to its edge."""
    low, high = min([low, *limits]), max([high, *limits])
    positive = [limit for limit in limits if limit > 0]
    if positive and low >= 0 and high > 40 * min(positive):
        return Axis(max(low, min(positive) / 10), high, log=True)
    if high - low < 1e-9 * max(1.0, abs(high)):
        return Axis(low, low + 1)
    margin = 0.03 * (high - low)
    return Axis(low if low == 0 else low - margin, high + margin)


def _bins(db: duckdb.DuckDBPyConnection, name: str, axis: Axis) -> dict[str, list[float]]:
    """Clips per bin: kept, filtered by this score's own rule, and filtered or lost elsewhere."""
    column = f'"score_{name}"'
    place = column if not axis.log else f"ln(greatest({column}, {axis.low!r}))"
    low, high = (axis.low, axis.high) if not axis.log else (math.log(axis.low), math.log(axis.high))
    rows = db.sql(f"""
        select case when state = 'kept' then 'kept'
                    when state = 'filtered' and starts_with(reason, '{name}.') then 'filtered here'
                    else 'lost elsewhere' end as part,
               least(greatest(floor(({place} - {low!r}) / {high - low!r} * {_BINS}), 0), {_BINS - 1})::int as bin,
               count(*) as number
        from facts where {column} is not null group by all
    """).fetchall()
    found = {part: [0.0] * _BINS for part in ("kept", "filtered here", "lost elsewhere")}
    for part, index, count in rows:
        found[part][index] = count
    return found


def _sides(
    db: duckdb.DuckDBPyConnection,
    name: str,
    rule: Rule,
    curves: dict[tuple[str, str], list[tuple[float, float]]],
    kept_s: float,
    neighbours: int,
) -> list[Side]:
    found = []
    for side in ("min", "max"):
        for reason, value in ((f"{name}.{side}", getattr(rule, side)), (f"{name}.{side}_quantile", None)):
            [lost] = dicts(
                db,
                """select count(*) as number, coalesce(sum(length_s), 0) as length_s, any_value(threshold) as threshold
                   from facts where state = 'filtered' and reason = $reason""",
                reason=reason,
            )
            limit = lost["threshold"] if value is None else value
            if limit is None:
                continue
            outside, inside = ("desc", "asc") if side == "min" else ("asc", "desc")
            number = neighbours if lost["number"] else 0
            points = curves.get((name, side)) if value is not None else None
            found.append(
                Side(
                    limit=Limit(limit, side),
                    rejected=lost["number"],
                    rejected_s=lost["length_s"],
                    gain_s=_gain_s(points, kept_s),
                    outside=_nearest(db, name, "reason = $value", reason, outside, number),
                    inside=_nearest(db, name, "state = $value", "kept", inside, number),
                )
            )
    return found


def _gain_s(points: Sequence[tuple[float, float]] | None, kept_s: float) -> float | None:
    if not points:
        return None
    gain_s = max(hours for _, hours in points) * 3600 - kept_s
    return gain_s if gain_s > 0.05 else 0.0


def _nearest(
    db: duckdb.DuckDBPyConnection, name: str, which: str, value: str, order: str, number: int
) -> list[dict[str, Any]]:
    """Clips with the lowest or highest score, one per video: neighbours in time would look the same."""
    if not number:
        return []
    column = f'"score_{name}"'
    return dicts(
        db,
        f"""select clip_id, {column} as score, state, reason from (
                select *, row_number() over (partition by video_id order by {column} {order}, clip_id) as turn
                from facts where {which} and {column} is not null)
            where turn = 1 order by {column} {order}, clip_id limit {number}""",
        value=value,
    )


def _notes(rule: Rule) -> list[str]:
    notes = []
    if rule.best_hours is not None:
        notes.append(f"keeps the best {duration(rule.best_hours * 3600)}")
    if rule.missing == "keep" and rule != Rule():
        notes.append("clips without this score are kept")
    return notes


def _unit(seconds: float) -> tuple[float, str]:
    return next(
        (unit_s, unit) for unit_s, unit in ((3600, "h"), (60, "min"), (1, "s")) if seconds >= unit_s or unit_s == 1
    )
