"""Check: proof that nothing was lost. Every source, scene and clip has exactly one state, and all counts add up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from curate.query import connect
from curate.schema import STATES, TABLES
from curate.tables import Dataset

# Each statement returns the rows that break the rule: an id, and what is wrong with it. No rows: the rule holds.
_RULES: dict[str, str] = {
    "a source that was read is a video": """
        select uri, 'status ok, but there is no usable video ' || coalesce(video_id, 'id') from sources
        where status = 'ok' and video_id not in (select video_id from videos where status = 'ok') is not false""",
    "a source that failed says why": """
        select uri, 'status failed without a kind or message' from sources
        where status = 'failed' and (error_kind is null or error is null)""",
    "a status is one of the three": """
        select uri, 'unknown status ' || status from sources where status not in ('ok', 'failed', 'pending')""",
    "a duplicate stands beside its original": """
        select s.uri, 'duplicate of ' || s.duplicate_of || ', which is no source with the same content'
        from sources s left join sources o on o.uri = s.duplicate_of
        where s.duplicate_of is not null
              and (o.uri is null or o.video_id <> s.video_id or o.duplicate_of is not null)""",
    "one source stands for each content": """
        select video_id, count(*) || ' sources with this content are no duplicates' from sources
        where status = 'ok' and duplicate_of is null group by video_id having count(*) > 1""",
    "scenes and transitions cover every frame": """
        select v.video_id, coalesce(covered, 0) || ' of ' || v.num_frames || ' frames are in scenes or transitions'
        from videos v join (
            select video_id, sum(num_frames + transition_frames) as covered from scenes group by video_id
        ) using (video_id) where covered <> v.num_frames""",
    "scenes follow each other from the first frame to the last": """
        select video_id, 'scene ' || scene_index || ': ' || start_pts || ' to ' || end_pts || ', after ' || before_pts
        from (
            select s.*, v.start_pts as first_pts, v.end_pts as last_pts,
                   coalesce(lag(s.end_pts) over every, v.start_pts) as before_pts,
                   lead(scene_index) over every as next_index
            from scenes s join videos v using (video_id)
            window every as (partition by video_id order by scene_index)
        )
        where end_pts <= start_pts or start_pts < before_pts or (scene_index = 0) <> (start_pts = first_pts)
              or (next_index is null) <> (end_pts = last_pts)""",
    "a scene has as many clips as it says, or a reason": """
        select scene_id, num_clips || ' clips stated, ' || count(clip_id) || ' found'
                         || case when num_clips = 0 and any_value(reason) is null then ', no reason' else '' end
        from scenes left join clips using (scene_id) group by scene_id, num_clips
        having num_clips <> count(clip_id) or (num_clips = 0 and any_value(reason) is null)""",
    "a clip lies within its scene": """
        select clip_id, 'its scene ' || clips.scene_id || ' is missing or elsewhere'
        from clips left join scenes using (scene_id)
        where (scenes.scene_id is null and clips.video_id in (select video_id from scenes))
              or clips.start_pts < scenes.start_pts or clips.end_pts > scenes.end_pts""",
    "scenes and clips belong to a video that a source names": """
        select video_id, 'has rows in scenes or clips, but no source' from
        (select video_id from scenes union select video_id from clips)
        where video_id not in (select video_id from sources where video_id is not null)""",
    "a decision is about a clip": """
        select clip_id, 'decided, but there is no such clip' from decisions
        where clip_id not in (select clip_id from clips)""",
    "a state is one of the five, with a reason where one is needed": f"""
        select clip_id, 'state ' || state || ', reason ' || coalesce(reason, 'missing') from decisions
        where state not in {STATES}
              or (state = 'kept') <> (reason is null) or (state = 'kept') <> (split is not null)""",
    "a video is on one side of the split": """
        select video_id, 'has clips for training and for validation' from decisions
        group by video_id having count(distinct split) > 1""",
    "a caption has a text, or says why not": """
        select caption_id, 'status ' || status || ' without what it needs' from captions
        where status not in ('ok', 'rejected', 'failed')
              or (status = 'ok' and (coalesce(text, '') = '' or len(reasons) > 0))
              or (status = 'rejected' and coalesce(len(reasons), 0) = 0)
              or (status = 'failed' and (error_kind is null or error is null))""",
}


@dataclass(frozen=True, slots=True)
class Checked:
    """What `check` found."""

    counts: dict[str, dict[str, int]]
    """sources, scenes, clips: state to number."""
    violations: list[tuple[str, str, str]]
    """Rule that does not hold, id of the row, what is wrong with it."""

    @property
    def holds(self) -> bool:
        return not self.violations


def check(dataset: Dataset) -> Checked:
    """Check conservation over sources, scenes and clips, the keys of all tables, and that payload files are there."""
    violations = []
    with connect(dataset.require()) as db:
        for rule, sql in _RULES.items():
            violations += [(rule, str(row[0]), str(row[1])) for row in db.sql(sql).fetchall()]
        for schema in TABLES.values():
            key = ", ".join(schema.key)
            repeated = db.sql(f"select {key}, count(*) from {schema.name} group by all having count(*) > 1").fetchall()
            violations += [("a key is there once", f"{schema.name} {row[:-1]}", f"{row[-1]} rows") for row in repeated]
        violations += _missing_payload(db, dataset)
        counts = {
            level: dict(db.sql(f"select state, count(*) from {level[:-1]}_states group by all order by all").fetchall())
            for level in ("sources", "scenes", "clips")
        }
        for level, by_state in counts.items():
            total = db.sql(f"select count(*) from {level}").fetchall()[0][0]
            if sum(by_state.values()) != total:
                violations.append(
                    ("every row has one state", level, f"{total} rows, but {sum(by_state.values())} states")
                )
    return Checked(counts, violations)


def _missing_payload(db: duckdb.DuckDBPyConnection, dataset: Dataset) -> list[tuple[str, str, str]]:
    if not dataset.is_local:
        return []
    rows = db.sql("""
        select video_id, unnest([signals_path, previews_path]) as path from videos where status = 'ok'
        union all select clip_id, uri from media where status = 'ok' and mode <> 'virtual'
    """).fetchall()
    return [
        ("a payload file is where its row says", owner, f"{path} is missing")
        for owner, path in rows
        if path is None or not Path(dataset.root, path).is_file()
    ]
