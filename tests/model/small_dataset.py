"""A dataset with real, small videos and hand-written rows: what curation leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.counter_random import generator
from curate.schema import TABLES
from curate.tables import Dataset
from curate.video import open_video
from curate.video_write import Encoding, write_video

SIZES = ((24, 16), (16, 16), (16, 32), (48, 32))
"""Width and height of the videos, in turn."""


def make_dataset(root: Path, num_videos: int = 4, *, num_frames: int = 18, captions: bool = True) -> Dataset:
    """Each video is two clips of 9 frames: `v0-a` kept and `v0-b` kept; the last video's `b` is filtered."""
    dataset = Dataset(root)
    clips, decisions, videos, texts = [], [], [], []
    for index in range(num_videos):
        video_id, path = f"v{index}", root / "footage" / f"v{index}.mkv"
        width, height = SIZES[index % len(SIZES)]
        pts, base = draw_video(path, width, height, num_frames, seed=index)
        videos.append(_row("videos", video_id=video_id, uri=str(path), width_px=width, height_px=height, status="ok"))
        half = num_frames // 2
        for name, first, end in (("a", 0, half), ("b", half, num_frames)):
            clip_id = f"{video_id}-{name}"
            clips.append(
                _row(
                    "clips",
                    clip_id=clip_id,
                    video_id=video_id,
                    start_pts=pts[first],
                    end_pts=pts[end] if end < len(pts) else pts[-1] + pts[1],
                    num_frames=end - first,
                    time_base_num=base.numerator,
                    time_base_den=base.denominator,
                    fps=10.0,
                    width_px=width,
                    height_px=height,
                    motion=0.1 * index,
                    sharpness=None if name == "b" else 50.0,
                )
            )
            dull = index == num_videos - 1 and name == "b"
            split = "val" if index == 0 else "train"
            state = ("filtered", "motion.min", None) if dull else ("kept", None, split)
            decisions.append(
                _row("decisions", clip_id=clip_id, video_id=video_id, state=state[0], reason=state[1], split=state[2])
            )
            texts.append(_caption(clip_id, video_id, "descriptive", f"A pattern, number {index}{name}."))
    for name, rows in (("videos", videos), ("clips", clips), ("decisions", decisions)):
        dataset.replace_all(name, rows)
    dataset.replace_all("runs", [_row("runs", run_id="r0", verb="curate", started=0)])
    if captions:
        dataset.replace_all("captions", texts)
    return dataset


def draw_video(path: Path, width: int, height: int, num_frames: int, seed: int) -> tuple[list[int], Any]:
    """Slow waves of colour, without loss; returns the pts of its frames and their unit."""
    phase = generator(seed, "waves").uniform(0, 6, 3)
    t, y, x = np.meshgrid(*(np.arange(n) for n in (num_frames, height, width)), indexing="ij")
    waves = np.stack([np.sin(0.3 * t + 0.2 * (1 + c) * x + 0.15 * y + phase[c]) for c in range(3)], -1)
    pictures = ((waves + 1) * 127).astype(np.uint8)
    write_video(path, pictures, fps=10, encoding=Encoding(codec="ffv1", pixel_format="bgr0"))
    with open_video(path) as video:
        return [pts for pts, _ in video.frames()], video.info.time_base


def _caption(clip_id: str, video_id: str, kind: str, text: str) -> dict[str, Any]:
    return _row(
        "captions",
        caption_id=f"{clip_id}-{kind}",
        clip_id=clip_id,
        video_id=video_id,
        kind=kind,
        text=text,
        status="ok",
    )


def _row(table: str, **values: Any) -> dict[str, Any]:
    """A row whose other columns are null, or a filler where null is not allowed."""
    fillers = {pa.string(): "", pa.int64(): 0, pa.float64(): 0.0}
    row = {column.name: None if column.nullable else fillers.get(column.type, 0) for column in TABLES[table].columns}
    unknown = values.keys() - row.keys()
    assert not unknown, f"{table} has no {unknown}"
    return {**row, **values}
