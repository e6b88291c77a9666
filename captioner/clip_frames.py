"""Frames of a clip for a captioner: previews that the scan stored, or decoded from the video when more are wanted."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from queue import Empty, LifoQueue
from typing import TYPE_CHECKING

import numpy as np

from captioner.base import Clip, FramePolicy
from curate.errors import VideoError

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.isolate import Child

_idle_children: LifoQueue[Child] = LifoQueue()
_reading = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipSource:
    """Where a clip's frames are: a small record that travels to the worker."""

    clip_id: str
    video_id: str
    uri: str
    previews_path: str | None
    start_pts: int
    end_pts: int
    time_base: Fraction
    num_frames: int
    context: Mapping[str, str] = field(default_factory=dict)

    @property
    def duration_s(self) -> float:
        return float((self.end_pts - self.start_pts) * self.time_base)


def load_clip(source: ClipSource, root: str, policy: FramePolicy) -> Clip:
    """Frames of a clip as the policy says. Raises VideoError when they cannot be had.

    A clip between two previews, or with none, is decoded whatever the policy.
    """
    pictures = _from_previews(source, root, policy) if policy.source == "previews" else []
    pictures = pictures or _from_video(source, policy)
    if not pictures:
        raise VideoError("no_frames", f"{source.uri}: no frame in the span of clip {source.clip_id}")
    times_s = tuple(float((pts - source.start_pts) * source.time_base) for pts, _ in pictures)
    frames = np.stack([picture for _, picture in pictures])
    return Clip(
        clip_id=source.clip_id, frames=frames, times_s=times_s, duration_s=source.duration_s, context=source.context
    )


def without_frames(source: ClipSource) -> Clip:
    """The clip for a captioner that looks at no picture."""
    nothing = np.zeros((1, 1, 1, 3), np.uint8)
    return Clip(
        clip_id=source.clip_id, frames=nothing, times_s=(0.0,), duration_s=source.duration_s, context=source.context
    )


def spread(num_frames: int, num_wanted: int) -> list[int]:
    """Positions of at most so many frames, each the middle of an equal part: 9, 3 -> [1, 4, 7]; 2, 8 -> [0, 1]."""
    num = min(num_frames, num_wanted)
    return [(2 * index + 1) * num_frames // (2 * num) for index in range(num)]


def read_frames(
    path: str, start_pts: int, end_pts: int, num_frames: int, policy: FramePolicy
) -> list[tuple[int, np.ndarray]]:
    """Evenly spread frames of a span, reduced; `num_frames` is how many the span holds."""
    import cv2

    from curate.video import read_span

    wanted = set(spread(num_frames, policy.num_frames))
    pictures = []
    for index, (pts, picture) in enumerate(read_span(path, start_pts, end_pts)):
        if index in wanted:
            height, width = picture.shape[:2]
            scale = min(1.0, policy.long_side_px / max(height, width))
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            pictures.append((pts, cv2.resize(picture, size, interpolation=cv2.INTER_AREA)))
    return pictures


def _from_previews(source: ClipSource, root: str, policy: FramePolicy) -> list[tuple[int, np.ndarray]]:
    import cv2
    import pyarrow.compute as pc

    if source.previews_path is None:
        return []
    with _reading:  # or several threads would read the same file
        table = _previews(root, source.previews_path)
    pts = table.column("pts")
    inside = table.filter(pc.and_(pc.greater_equal(pts, source.start_pts), pc.less(pts, source.end_pts)))
    pictures = []
    for index in spread(inside.num_rows, policy.num_frames) if inside.num_rows else ():
        jpeg = np.frombuffer(inside["jpeg"][index].as_buffer(), np.uint8)
        picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        if picture is None:
            raise VideoError("corrupt", f"{source.previews_path}: a preview of {source.uri} is damaged; scan it again")
        pictures.append((inside["pts"][index].as_py(), cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)))
    return pictures


@lru_cache(maxsize=16)  # a batch takes neighbouring clips from a few parts of the dataset
def _previews(root: str, path: str) -> pa.Table:
    from curate.errors import DatasetError
    from curate.payload import read_payload

    try:
        return read_payload(root, path)
    except DatasetError as error:
        raise VideoError("missing", str(error)) from None


def _from_video(source: ClipSource, policy: FramePolicy) -> list[tuple[int, np.ndarray]]:
    from curate.fetch import FetchConfig, local_copy
    from curate.isolate import Limits
    from curate.sources import local_path

    span = (source.start_pts, source.end_pts, source.num_frames, policy)
    limits = Limits(wall_s=600, stall_s=600)  # one clip
    path = local_path(source.uri)
    if path is not None and not path.exists():
        raise VideoError("missing", f"{source.uri}: no such file; put it back, or scan where it is now")
    with _a_child() as child:
        if path is not None:
            return child.call("captioner.clip_frames:read_frames", str(path), *span, limits=limits)
        with local_copy(source.uri, FetchConfig()) as copy:
            return child.call("captioner.clip_frames:read_frames", str(copy), *span, limits=limits)


@contextmanager
def _a_child() -> Iterator[Child]:
    """A process to decode in, which this thread has to itself."""
    from curate.isolate import Child

    try:
        child = _idle_children.get_nowait()
    except Empty:
        child = Child()
    try:
        yield child
    finally:
        _idle_children.put(child)
