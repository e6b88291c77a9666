"""Counts and hours of a dataset by state and reason, its failures, and what changed between two runs."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from curate.errors import UsageError
from curate.query import connect
from curate.tables import Dataset

_FUNNEL = """
select level, state, reason, count(*) as number, sum(duration_s) / 3600 as hours from (
    select 'source' as level, 1 as depth, state, case when state <> 'duplicate' then reason end as reason, duration_s
    from source_states
    union all select 'scene', 2, state, reason, duration_s from scene_states
    union all select 'clip', 3, state, reason, duration_s from clip_states
) group by level, depth, state, reason
order by depth, state = 'kept' desc, state, number desc, reason
"""

_FAILURES = """
select level, id, status, error_kind, replace(error, id || ': ', '') as error from (
    select 'source' as level, uri as id, status, error_kind, error from sources where error_kind is not null
    union all
    select 'video', uri, status, error_kind, error from videos where error_kind is not null and status = 'ok'
    union all
    select 'score', score_id, status, error_kind, error from scores where status = 'failed'
    union all
    select 'media', clip_id, status, error_kind, error from media where status = 'failed'
) order by all
"""

_CHANGES = """
with before as (select * from old.clip_states), after as (select * from new.clip_states)
select coalesce(b.state, 'absent') as before_state, b.reason as before_reason,
       coalesce(a.state, 'absent') as after_state, a.reason as after_reason,
       count(*) as clips, sum(coalesce(a.duration_s, b.duration_s)) / 3600 as hours
from before b full join after a using (clip_id)
where b.state is distinct from a.state or b.reason is distinct from a.reason
group by all order by clips desc, before_state, before_reason, after_state, after_reason
"""


def funnel(dataset: Dataset) -> pa.Table:
    """Sources, scenes and clips by state and reason: number and hours."""
    with connect(dataset.require()) as db:
        return db.sql(_FUNNEL).to_arrow_table()


def failures(dataset: Dataset) -> pa.Table:
    """Everything that went wrong: what, which kind, and the message. Damaged videos that are used anyway are there."""
    with connect(dataset.require()) as db:
        return db.sql(_FAILURES).to_arrow_table()


def changes(dataset: Dataset, before: str, after: str | None = None) -> pa.Table:
    """Clips whose state or reason differs between the ends of two runs; `after` None is now."""
    old, new = (clip_states(dataset, run) for run in (before, after))
    import duckdb

    with duckdb.connect() as db:
        db.register("before_states", old)
        db.register("after_states", new)
        sql = _CHANGES.replace("old.clip_states", "before_states").replace("new.clip_states", "after_states")
        return db.sql(sql).to_arrow_table()


def clip_states(dataset: Dataset, run: str | None) -> pa.Table:
    """State and reason of every clip at the end of a run, or now."""
    with connect(dataset.require(), versions_at(dataset, run) if run else None) as db:
        return db.sql("select * from clip_states").to_arrow_table()


def versions_at(dataset: Dataset, run: str) -> dict[str, int]:
    """Versions of all tables at the end of a run: its id, the beginning of it, or -1 for the last, -2 before that.

    Raises UsageError when there is no such run or it did not end.
    """
    rows = dataset.require().read("runs", ["run_id", "tables"]).sort_by("run_id").to_pylist()
    found: list[dict[str, Any]]
    if run.startswith("-") and run[1:].isdigit():
        found = rows[int(run) :][:1] if int(run[1:]) <= len(rows) else []
    else:
        found = [row for row in rows if row["run_id"].startswith(run)]
    if len(found) != 1:
        known = ", ".join(row["run_id"] for row in rows[-5:])
        raise UsageError(f"{run}: {'several runs begin' if found else 'no run begins'} so; the last are {known}")
    if found[0]["tables"] is None:
        raise UsageError(f"{found[0]['run_id']}: this run did not come to its end; choose another")
    return json.loads(found[0]["tables"])
