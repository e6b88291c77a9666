"""Explain: everything that is known about one source, video, scene or clip, and why it ended as it did."""

from __future__ import annotations

from typing import Any

import duckdb

from curate.errors import UsageError
from curate.query import connect
from curate.rules import DecideConfig, score_sql
from curate.tables import Dataset

_KINDS = {
    "clip": ("scored_clips", "clip_id"),
    "scene": ("scenes", "scene_id"),
    "video": ("videos", "video_id"),
    "source": ("sources", "uri"),
}


def explain(dataset: Dataset, name: str, config: DecideConfig | None = None) -> dict[str, Any]:
    """What the tables say about an id (or the beginning of one), a uri, or the end of a path.

    Returns `kind` and `rows`: the row itself and those that it belongs to, from source to clip; for a clip also
    `rules`, every rule with the score that it met, and its `captions`. Raises UsageError when nothing or several things
    have that name.
    """
    with connect(dataset.require()) as db:
        kind, key = _find(db, name)
        if kind == "source":
            rows = {"source": _row(db, "sources", "uri", key)}
            video = rows["source"]["video_id"]
            rows |= {"video": _row(db, "videos", "video_id", video)} if video else {}
            return {"kind": kind, "rows": rows, "scenes": _scenes(db, video)}
        if kind == "video":
            video_row = _row(db, "videos", "video_id", key)
            rows = {"source": _row(db, "sources", "uri", video_row["uri"]), "video": video_row}
            return {"kind": kind, "rows": rows, "scenes": _scenes(db, key)}
        row = _row(db, *_KINDS[kind], key)
        scene = row if kind == "scene" else _row(db, "scenes", "scene_id", row["scene_id"])
        video_row = _row(db, "videos", "video_id", row["video_id"])
        rows = {"source": _row(db, "sources", "uri", video_row["uri"]), "video": video_row, "scene": scene}
        if kind == "scene":
            clips = db.sql("select clip_id, state, reason from clip_states where scene_id = $key", params={"key": key})
            return {"kind": kind, "rows": rows, "clips": _dicts(clips)}
        rows |= {"clip": row, "decision": _row(db, "decisions", "clip_id", key)}
        rows |= {"media": _row(db, "media", "clip_id", key)}
        return {
            "kind": kind,
            "rows": {name: row for name, row in rows.items() if row},
            "rules": _rules(db, key, config or DecideConfig()),
            "captions": _captions(db, key),
        }


def _find(db: duckdb.DuckDBPyConnection, name: str) -> tuple[str, str]:
    found = []
    for kind, (table, key) in _KINDS.items():
        matches = f"ends_with({key}, $name)" if kind == "source" else f"starts_with({key}, $name)"
        rows = db.sql(f"select distinct {key} from {table} where {matches} limit 6", params={"name": name}).fetchall()
        exact = [row for row in rows if row[0] == name]
        found += [(kind, row[0]) for row in exact or rows]
    if not found:
        raise UsageError(f"{name}: no source, video, scene or clip has this id, uri or end of a path")
    if len(found) > 1:
        names = "\n".join(f"  {kind} {key}" for kind, key in found[:6])
        raise UsageError(f"{name}: could be several things; give more of it:\n{names}")
    return found[0]


def _row(db: duckdb.DuckDBPyConnection, table: str, key: str, value: str) -> dict[str, Any]:
    rows = _dicts(db.sql(f"select * from {table} where {key} = $value", params={"value": value}))
    return rows[0] if rows else {}


def _scenes(db: duckdb.DuckDBPyConnection, video_id: str | None) -> list[dict[str, Any]]:
    return _dicts(
        db.sql(
            """select scene_id, start_s, end_s, start_kind, end_kind, num_clips, s.state, s.reason
               from scenes join scene_states s using (scene_id) where scenes.video_id = $id order by scene_index""",
            params={"id": video_id},
        )
    )


def _rules(db: duckdb.DuckDBPyConnection, clip_id: str, config: DecideConfig) -> list[dict[str, Any]]:
    names = list(config.rules)
    scores = ", ".join(f"{score_sql(name)}::double" for name in names) or "null"
    values = db.sql(f"select {scores} from scored_clips where clip_id = $id", params={"id": clip_id}).fetchall()[0]
    return [
        {"rule": name, "score": value, "min": config.rules[name].min, "max": config.rules[name].max}
        for name, value in zip(names, values, strict=False)
    ]


def _captions(db: duckdb.DuckDBPyConnection, clip_id: str) -> list[dict[str, Any]]:
    return _dicts(
        db.sql(
            """select kind, captioner, status, text, reasons, error from captions where clip_id = $id
               order by kind, captioner""",
            params={"id": clip_id},
        )
    )


def _dicts(relation: duckdb.DuckDBPyRelation) -> list[dict[str, Any]]:
    return relation.to_arrow_table().to_pylist()
