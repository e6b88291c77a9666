"""What all sections ask about clips, gathered once: a temporary table `facts` with state, limit and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from curate.config import parse_toml
from curate.errors import ReelwrightError
from curate.query import own_score_names
from curate.rules import SCORES, DecideConfig, score_sql

if TYPE_CHECKING:
    import duckdb

_NOT_SHOWN = {
    "start_pts", "end_pts", "start_s", "end_s", "num_frames", "time_base_num", "time_base_den", "pixels",
    "width_px", "height_px", "content_x_px", "content_y_px", "content_width_px", "content_height_px",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RulesInUse:
    """The rules that the current decisions were made by, or why they are not known."""

    config: DecideConfig
    run_id: str | None
    problem: str | None = None


def shown_scores(db: duckdb.DuckDBPyConnection) -> list[str]:
    """What is drawn as a histogram and listed with a clip; ids, times and places are no scores."""
    return [*(name for name in SCORES if name not in _NOT_SHOWN), *own_score_names(db)]


def gather(db: duckdb.DuckDBPyConnection) -> None:
    """Make the table `facts`: a row per clip."""
    scores = ", ".join(f'{score_sql(name)}::double as "score_{name}"' for name in shown_scores(db))
    db.execute(f"""
        create temp table facts as
        select clip_id, clips.video_id, start_s, end_s, clips.duration_s as length_s, clips.fps as clip_fps,
               width_px, height_px, camera_motion,
               coalesce(state, 'pending') as state, case when state is null then 'decide' else reason end as reason,
               split, decisions.score as decided_score, threshold, {scores}
        from scored_clips as clips left join decisions using (clip_id)
    """)


def rules_in_use(db: duckdb.DuckDBPyConnection) -> RulesInUse:
    """The rules of the run that wrote the decisions; without decisions, the default ones."""
    rows = db.sql("""
        select run_id, config from runs where run_id in (select run_id from decisions) order by run_id desc limit 1
    """).fetchall()
    if not rows:
        return RulesInUse(DecideConfig(), None)
    run_id, text = rows[0]
    try:
        tree = parse_toml(text, where=run_id).get("decide", {})
        return RulesInUse(DecideConfig.from_tree(tree, own_score_names(db)), run_id)
    except ReelwrightError as error:  # written by another release, with other scores or settings
        return RulesInUse(DecideConfig(rules={}), run_id, str(error))


def dicts(db: duckdb.DuckDBPyConnection, sql: str, **values: Any) -> list[dict[str, Any]]:
    """Rows of a small answer."""
    return db.sql(sql, params=values or None).to_arrow_table().to_pylist()
