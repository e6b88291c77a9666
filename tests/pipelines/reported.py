"""A dataset with something of everything that a report shows, from drawn footage."""

from datetime import datetime, timezone
from pathlib import Path

import pyarrow as pa
from curated import curate

from curate.query import connect
from curate.schema import TABLES
from curate.tables import Dataset

HOSTILE = (
    """</script></style><script>document.title = "owned"</script><img src="x" onerror="document.title = 'owned'">"""
)


def make_dataset(footage: Path, out: Path) -> Dataset:
    """Curated footage, of which rules filter some, with captions accepted, rejected and failed."""
    curate(footage, out, "decide.motion.min=0.01", "decide.duration_s.min=1.2")
    dataset = Dataset(out)
    with connect(dataset) as db:
        clips = db.sql("select clip_id, video_id from kept order by clip_id").fetchall()
    rows = [
        _caption(clip_id, video_id, "descriptive", "coca:mine", index, text=f"A red ball number {index} rolls.")
        for index, (clip_id, video_id) in enumerate(clips)
    ]
    (first, video), (second, other) = clips[:2]
    rows[0]["text"] = HOSTILE
    rows[0]["flags"] = ["opener_removed"]
    rows[0]["raw_text"] = "The video shows a ball."
    rows.append(_caption(first, video, "alt", "original", 0, text="lorem ipsum free download"))
    rejected = {"status": "rejected", "reasons": ["too_short", "loop"]}
    rows.append(_caption(first, video, "short", "hf:tiny", 0, text="ball ball ball", **rejected))
    failed = {"status": "failed", "error_kind": "captioner", "error": "the server gave no answer", "text": None}
    rows.append(_caption(second, other, "short", "hf:tiny", 0, **failed))
    dataset.replace_all("captions", rows)
    return dataset


def make_up(out: Path, num_clips: int) -> Dataset:
    """Rows without any video: ten clips to a video, one of them filtered; one video in ten is damaged."""
    dataset = Dataset(out)
    videos = [f"v{index:06}" for index in range(num_clips // 10)]
    bad = {"status": "failed", "error_kind": "corrupt", "error": "decoding failed"}
    states = [
        {"state": "filtered", "reason": "motion.min", "score": 0.0, "threshold": 0.1} if index % 10 == 3 else
        {"state": "kept", "split": "train"}
        for index in range(num_clips)
    ]  # fmt: skip
    ids = [
        {"clip_id": f"c{index:06}", "scene_id": f"s{index:06}", "video_id": videos[index // 10]}
        for index in range(num_clips)
    ]
    named = [{"video_id": video, "uri": f"/{video}.mp4", "status": "ok"} for video in videos]
    tables = {
        "sources": [{**row, **(bad if index % 10 == 0 else {})} for index, row in enumerate(named)],
        "videos": named,
        "scenes": [{"scene_id": row["scene_id"], "video_id": row["video_id"]} for row in ids],
        "clips": ids,
        "decisions": [
            {"clip_id": row["clip_id"], "video_id": row["video_id"], **state}
            for row, state in zip(ids, states, strict=True)
        ],
        "runs": [{"run_id": "r", "config": "", "started": datetime(2026, 1, 1, tzinfo=timezone.utc)}],
    }
    for name, rows in tables.items():
        dataset.replace_all(name, [_filled(name, index, row) for index, row in enumerate(rows)])
    return dataset


def _filled(table: str, index: int, values: dict) -> dict:
    """A row whose other columns hold something where they must, and a score where they can."""
    filled = {}
    for column in TABLES[table].columns:
        if pa.types.is_string(column.type) and not column.nullable:
            filled[column.name] = "x"
        elif pa.types.is_floating(column.type) or (pa.types.is_integer(column.type) and not column.nullable):
            filled[column.name] = 7 * index % 100
    return {**filled, **values}


def _caption(clip_id: str, video_id: str, kind: str, captioner: str, rank: int, **values) -> dict:
    return {
        "caption_id": f"{clip_id}/{kind}/{captioner}",
        "clip_id": clip_id,
        "video_id": video_id,
        "kind": kind,
        "captioner": captioner,
        "revision": "1",
        "status": "ok",
        "num_words": 4 + rank % 5,
        "alignment_margin": float(rank) if captioner == "coca:mine" else None,
        "created": datetime(2026, 1, 1, tzinfo=timezone.utc),
        "fingerprint": "f",
        "run_id": "r",
        **values,
    }
