"""Where a dataset comes from and what became of it: footage, copies, failures, runs, settings, table versions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from curate.tables import Dataset
from pipelines.report.clip_facts import dicts
from pipelines.report.page import duration

if TYPE_CHECKING:
    import duckdb

_FOOTAGE = {
    "codec": "codec",
    "container": "string_split(container, ',')[1]",
    "short side": "least(width_px, height_px)::varchar || ' px'",
    "shape": """case when width_px > 1.05 * height_px then 'landscape' when height_px > 1.05 * width_px then 'portrait'
                else 'square' end""",
    "frame rate": "case when is_vfr then 'variable' else printf('%g fps', round(fps, 2)) end",
    "licence": "coalesce(license, 'not stated')",
}
_MOST = 8


def footage(db: duckdb.DuckDBPyConnection) -> dict[str, list[dict[str, Any]]]:
    """What the usable footage is like: the commonest values of a few properties, by length."""
    found = {}
    for name, expression in _FOOTAGE.items():
        rows = dicts(
            db,
            f"""select coalesce({expression}, 'unknown') as value, count(*) as number,
                       sum(videos.duration_s) as length_s
                from videos left join sources on sources.uri = videos.uri
                where videos.status = 'ok' group by all order by length_s desc, value""",
        )
        rest = rows[_MOST:]
        if len(rest) > 1:
            more = {"value": f"{len(rest)} others", "number": sum(row["number"] for row in rest)}
            rows = [*rows[:_MOST], {**more, "length_s": sum(row["length_s"] or 0 for row in rest)}]
        found[name] = rows
    return found


def largest_videos(db: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """The videos that most of the kept footage comes from."""
    return dicts(
        db,
        f"""select uri, sum(length_s) as length_s, count(*) as number from facts join videos using (video_id)
            where state = 'kept' group by uri order by length_s desc, uri limit {_MOST}""",
    )


def copies(db: duckdb.DuckDBPyConnection, *, most: int = 50) -> tuple[int, list[dict[str, Any]]]:
    """Sources with the content of another: how many, and some of them by what they are copies of."""
    [total] = db.sql("select count(*) from sources where duplicate_of is not null").fetchall()[0]
    rows = dicts(
        db,
        f"""select duplicate_of as original, list(uri order by uri)[:10] as copies, count(*) as number
            from sources where duplicate_of is not null group by all order by number desc, original limit {most}""",
    )
    return total, rows


def runs(db: duckdb.DuckDBPyConnection, *, most: int = 20) -> list[dict[str, Any]]:
    """The last commands that changed the dataset, the newest first."""
    rows = dicts(
        db,
        f"""select run_id, verb, started, finished, version, config, counts,
                   date_diff('millisecond', started, finished) / 1000 as seconds
            from runs order by run_id desc limit {most}""",
    )
    for row in rows:
        counts = json.loads(row["counts"]) if row["counts"] else {}
        row["stages"] = {stage: _said(counted) for stage, counted in counts.items()}
    return rows


def table_versions(db: duckdb.DuckDBPyConnection, dataset: Dataset) -> list[dict[str, Any]]:
    """Every table that has a version, with its number of rows."""
    return [
        {"name": name, "version": version, "rows": db.sql(f"select count(*) from {name}").fetchall()[0][0]}
        for name, version in dataset.versions().items()
    ]


def _said(counted: dict[str, Any]) -> str:
    """What a stage did, and in which time: whatever it counted, but nothing that did not occur."""
    parts = []
    for name, value in counted.items():
        if isinstance(value, dict):
            parts += [f"{key.replace('_', ' ')} {each}" for key, each in value.items() if each]
        elif value and name not in ("total", "seconds"):
            parts.append(f"{value} {name.replace('_', ' ')}")
    return f"{', '.join(parts) or 'nothing to do'}, in {duration(counted.get('seconds'))}"
