"""The kept clips of a dataset, as captioners look at them and learn from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import pyarrow.compute as pc

from captioner.clip_frames import ClipSource
from curate.errors import UsageError
from curate.tables import Dataset

_COLUMNS = ("clip_id", "video_id", "start_pts", "end_pts", "num_frames", "time_base_num", "time_base_den")


class KeptClip(NamedTuple):
    source: ClipSource
    side: str  # train or val
    row: dict[str, Any]  # of the table `clips`, with the columns that were asked for


def kept_clips(dataset: Dataset, columns: Sequence[str] = ()) -> Iterator[KeptClip]:
    """Kept clips in the order of their videos and times. Raises UsageError when there is none, with what to do."""
    dataset.require()
    if dataset.version("decisions") is None:
        raise UsageError(f"{dataset.uri}: no clip is decided yet; run `reelwright decide {dataset.uri}` first")
    kept = dataset.read("decisions", ["clip_id", "split"], where=pc.field("state") == "kept")
    if not kept.num_rows:
        raise UsageError(
            f"{dataset.uri}: no clip is kept; `reelwright stats {dataset.uri}` shows what filters them out"
        )
    sides = dict(zip(kept["clip_id"].to_pylist(), kept["split"].to_pylist(), strict=True))
    videos = {row["video_id"]: row for row in dataset.read("videos", ["video_id", "uri", "previews_path"]).to_pylist()}
    clips = dataset.read("clips", [*_COLUMNS, *columns])
    clips = clips.filter(pc.is_in(clips["clip_id"], kept["clip_id"].combine_chunks()))
    clips = clips.sort_by([("video_id", "ascending"), ("start_pts", "ascending"), ("end_pts", "ascending")])
    for row in clips.to_pylist():
        source = ClipSource(
            clip_id=row["clip_id"],
            video_id=row["video_id"],
            uri=videos[row["video_id"]]["uri"],
            previews_path=videos[row["video_id"]]["previews_path"],
            start_pts=row["start_pts"],
            end_pts=row["end_pts"],
            time_base=Fraction(row["time_base_num"], row["time_base_den"]),
            num_frames=row["num_frames"],
        )
        yield KeptClip(source, sides[row["clip_id"]] or "train", row)
