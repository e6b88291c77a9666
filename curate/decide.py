"""Decide: rules over stored scores. No video is touched, and nothing is forgotten: all scores stay in `clips`.

Rules are tried in the order in which they are written; the first that fails is the recorded reason. All of it is SQL
over the tables, so memory stays bounded however many clips there are.
"""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa

from curate.config import fingerprint
from curate.query import connect, own_score_names
from curate.rules import DecideConfig, Step, require_scores, score_sql, steps
from curate.schema import DECISIONS
from curate.tables import Dataset

DECIDE_VERSION = 2
"""Raised whenever the same scores and rules would give other decisions."""


def decide(dataset: Dataset, config: DecideConfig, *, run_id: str, dry_run: bool = False) -> pa.Table:
    """Decide on every clip and return the funnel; commit the decisions when they changed, unless `dry_run`.

    The funnel has a row per state and reason, in the order of the rules: clips, hours.
    """
    with connect(dataset) as db:
        _decide_all(db, config)
        columns = ", ".join(name for name in DECISIONS.arrow.names if name != "run_id")
        if not dry_run and _differ(db, f"select {columns} from decided", f"select {columns} from decisions"):
            rows = db.sql(f"select {columns}, '{run_id}' as run_id from decided").to_arrow_table()
            dataset.replace_all("decisions", rows)
        return db.sql("""
            select state, reason, count(*) as clips, coalesce(sum(duration_s), 0) / 3600 as hours
            from decided group by state, reason order by state = 'kept' desc, min(step), reason
        """).to_arrow_table()


def yield_curves(dataset: Dataset, config: DecideConfig, *, points: int = 7) -> pa.Table:
    """Hours that would be kept for other limits of each rule, all other rules unchanged.

    A row per rule, side (min or max) and threshold: quantiles of the score among the clips that pass all other rules,
    and the limit in use, marked `current`.
    """
    tables = []
    shares = [index / (points - 1) for index in range(points)]
    with connect(dataset) as db:
        for name, rule in config.rules.items():
            others = {other: value for other, value in config.rules.items() if other != name}
            _decide_all(db, DecideConfig(rules=others))
            for side, sign in (("min", ">="), ("max", "<=")):
                limit = getattr(rule, side)
                if limit is None:
                    continue
                curve = db.sql(f"""
                    with passing as (
                        select {score_sql(name)}::double as score, clips.duration_s as length_s
                        from scored_clips as clips
                        semi join (select clip_id from decided where state = 'kept') using (clip_id)
                    ),
                    limits as (
                        select unnest(quantile_cont(score, {shares})) as threshold from passing
                        union select {limit!r}::double
                    )
                    select '{name}' as rule, '{side}' as side, threshold, threshold = {limit!r} as current,
                           coalesce(sum(length_s), 0) / 3600 as hours
                    from limits left join passing on score {sign} threshold
                    where threshold is not null group by all order by threshold
                """)
                tables.append(curve.to_arrow_table())
    return pa.concat_tables(tables) if tables else pa.table({})


def _decide_all(db: duckdb.DuckDBPyConnection, config: DecideConfig) -> None:
    """Make the temporary table `decided`: the rows of `decisions`, and `step` and `duration_s` besides."""
    if not _one(db, "select exists(from clips)"):  # then no score of a function's own has been computed, either
        config = DecideConfig(rules={})
    require_scores(config.rules, own_score_names(db))
    asked = steps(config, _quantiles(db, config))
    db.execute(f"""
        create or replace temp table decided as
        select clip_id, clips.video_id, duration_s, clips.fingerprint as made_by,
               {_case(asked, "fails")} as step, {_scores(asked)},
               clips.video_id in (select video_id from sources where status = 'ok') as available
        from scored_clips as clips
    """)
    for index, step in enumerate(asked):
        if step.reason.endswith(".best_hours"):
            db.execute(f"""
                update decided set step = {index} where clip_id in (
                    select clip_id from decided where step is null or step > {index}
                    qualify sum(duration_s) over (order by score_{index} desc, clip_id) - duration_s
                            >= {step.threshold} * 3600
                )
            """)
    threshold = " ".join(f"when {index} then {step.threshold}" for index, step in enumerate(asked))
    score = " ".join(f"when {index} then score_{index}" for index in range(len(asked)))
    reason = " ".join(f"when {index} then '{step.reason}'" for index, step in enumerate(asked))
    # Of two kept videos or more, none of this leaves a side empty: the first in the drawn order is for validation
    # whatever the share, the last never is. Both move only when a video comes or goes that is drawn further out.
    drawn, kept = f"('0x' || left(md5('{config.seed}:' || video_id), 8))::ubigint", "available and step is null"
    val_below = round(config.val_fraction * 2**32)
    first, last = (f"{end}({drawn}) filter (where {kept}) over ()" for end in ("min", "max"))
    is_val = f"{drawn} < greatest({val_below}, {first} + 1) and {drawn} < {last}" if val_below else "false"
    db.execute(f"""
        create or replace temp table decided as
        select clip_id, video_id,
               case when not available then 'failed' when step is null then 'kept' else 'filtered' end as state,
               case when not available then 'source_missing' {f"else case step {reason} end" if asked else ""} end
                   as reason,
               {f"case when available then case step {score} end end" if asked else "null"}::double as score,
               {f"case when available then case step {threshold} end end" if asked else "null"}::double as threshold,
               case when {kept} then case when {is_val} then 'val' else 'train' end end as split,
               left(md5('{fingerprint("decide", DECIDE_VERSION, config.to_tree())}' || made_by), 16) as fingerprint,
               step, duration_s
        from decided
    """)


def _case(asked: list[Step], field: str) -> str:
    conditions = " ".join(f"when {getattr(step, field)} then {index}" for index, step in enumerate(asked))
    return f"case {conditions} end" if asked else "null::int"


def _scores(asked: list[Step]) -> str:
    return ", ".join(f"({step.score})::double as score_{index}" for index, step in enumerate(asked)) or "null as none"


def _quantiles(db: duckdb.DuckDBPyConnection, config: DecideConfig) -> dict[tuple[str, float], float]:
    found = {}
    for name, rule in config.rules.items():
        for quantile in (rule.min_quantile, rule.max_quantile):
            if quantile is not None:
                value = _one(db, f"select quantile_cont({score_sql(name)}::double, {quantile!r}) from scored_clips")
                if value is not None:
                    found[name, quantile] = value
    return found


def _differ(db: duckdb.DuckDBPyConnection, first: str, second: str) -> bool:
    return _one(db, f"select exists(({first}) except ({second})) or exists(({second}) except ({first}))")


def _one(db: duckdb.DuckDBPyConnection, sql: str) -> Any:
    return db.sql(sql).fetchall()[0][0]
