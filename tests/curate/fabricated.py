"""Rows of a small dataset, made up: what tests of arithmetic over tables need, without any video."""

import cv2
import numpy as np
import pyarrow as pa

from curate.payload import write_payload
from curate.schema import TABLES
from curate.tables import Dataset


def row(table: str, **values) -> dict:
    """A row with every required column filled in somehow."""
    schema = TABLES[table]
    filled = {}
    for column in schema.columns:
        if not column.nullable:
            kind = str(column.type)
            filled[column.name] = "x" if kind == "string" else 1 if kind.startswith("int") else 1.0
    return {**filled, **values}


def source(uri: str, video_id: str | None, **values) -> dict:
    return row("sources", **{"uri": uri, "video_id": video_id, "status": "ok", **values})


def video(video_id: str, num_frames: int = 100, **values) -> dict:
    """Frames at pts 0 to num_frames, one a tick of 1/10 s."""
    known = {"uri": f"/{video_id}.mp4", "status": "ok", "num_frames": num_frames, "duration_s": num_frames / 10}
    span = {"start_pts": 0, "end_pts": num_frames, "time_base_num": 1, "time_base_den": 10}
    return row("videos", **{"video_id": video_id, **known, **span, **values})


def scene(video_id: str, index: int, start: int, end: int, **values) -> dict:
    known = {"scene_id": f"{video_id}-s{index}", "video_id": video_id, "scene_index": index, "num_clips": 1}
    span = {"start_pts": start, "end_pts": end, "start_s": start / 10, "end_s": end / 10, "num_frames": end - start}
    return row("scenes", **{**known, **span, "transition_frames": 0, **values})


def clip(video_id: str, index: int, start: int, end: int, **values) -> dict:
    known = {"clip_id": f"{video_id}-c{index}", "scene_id": f"{video_id}-s{index}", "video_id": video_id}
    span = {"start_pts": start, "end_pts": end, "start_s": start / 10, "end_s": end / 10, "num_frames": end - start}
    facts = {"duration_s": (end - start) / 10, "fps": 10.0, "width_px": 640, "height_px": 360, "aspect": 16 / 9}
    return row("clips", **{**known, **span, **facts, "fingerprint": f"made-{video_id}-{index}", **values})


def decision(clip_row: dict, state: str = "kept", reason: str | None = None, **values) -> dict:
    split = "train" if state == "kept" else None
    known = {"clip_id": clip_row["clip_id"], "video_id": clip_row["video_id"], "state": state}
    return row("decisions", **{**known, "reason": reason, "split": split, **values})


def fill(dataset: Dataset, **tables: list[dict]) -> Dataset:
    """Commit the rows of some tables, and a run so that the dataset exists."""
    for name, rows in {"runs": [row("runs", started=0)], **tables}.items():
        dataset.replace_all(name, rows)
    return dataset


def consistent(dataset: Dataset) -> Dataset:
    """Two videos of two scenes each; the last clip is filtered; one more source failed."""
    clips = [clip(v, i, 50 * i, 50 * i + 50) for v in ("a", "b") for i in range(2)]
    return fill(
        dataset,
        sources=[
            source("/a.mp4", "a"),
            source("/b.mp4", "b"),
            source("/c.mp4", None, status="failed", error_kind="empty", error="/c.mp4: an empty file (zero bytes)"),
        ],
        videos=[video("a"), video("b")],
        scenes=[scene(v, i, 50 * i, 50 * i + 50) for v in ("a", "b") for i in range(2)],
        clips=clips,
        decisions=[*map(decision, clips[:3]), decision(clips[3], "filtered", "motion.min", score=0.0, threshold=0.1)],
    )


def red_and_black(root) -> Dataset:
    """A video of two clips of five seconds, 10 frames a second, first red, then black; with a preview every second."""
    dataset = Dataset(root)
    jpegs = [cv2.imencode(".jpg", np.full((8, 12, 3), (0, 0, red), np.uint8))[1].tobytes() for red in (255, 0)]
    previews = {"pts": range(0, 100, 10), "jpeg": [jpegs[pts >= 50] for pts in range(0, 100, 10)]}
    write_payload(dataset.uri, "payload/previews", pa.table(previews))
    write_payload(dataset.uri, "payload/signals", pa.table({"pts": range(100), "motion": np.arange(100) / 100}))
    return fill(
        dataset,
        sources=[source("/v.mp4", "v")],
        videos=[video("v", previews_path="payload/previews", signals_path="payload/signals")],
        clips=[clip("v", 0, 0, 50, motion=0.5), clip("v", 1, 50, 100, motion=0.5)],
    )
