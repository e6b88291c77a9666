"""Filmstrips of clips from the previews that the scan stored: no video is decoded, and a budget of bytes is kept."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from captioner.clip_frames import spread
from curate.errors import DatasetError
from curate.payload import open_payload

if TYPE_CHECKING:
    import duckdb
    import numpy as np

_MAX_HEIGHT_PX = 144
_MAX_WIDTH_PX = 384
_QUALITY = 60
_BATCH_ROWS = 64


class Wanted(NamedTuple):
    """A picture to be drawn: of which clip, and how many of its frames side by side."""

    clip_id: str
    num_frames: int


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames of a clip side by side, as a picture that can stand in a page."""

    uri: str
    num_frames: int
    width_px: int
    """Of one frame, as stored here."""
    height_px: int

    @property
    def aspect(self) -> float:
        return self.width_px / self.height_px


@dataclass(frozen=True, slots=True)
class Drawn:
    """The pictures that found room, and the number of videos whose previews are gone or damaged."""

    strips: Mapping[Wanted, Strip]
    unreadable: int

    def get(self, clip_id: str, num_frames: int) -> Strip | None:
        return self.strips.get(Wanted(clip_id, num_frames))


def draw_strips(db: duckdb.DuckDBPyConnection, root: str, wanted: Sequence[Wanted], *, budget_bytes: int) -> Drawn:
    """Draw what is wanted, the first first, until the budget is spent. Clips without a preview have no picture."""
    order = list(dict.fromkeys(wanted))
    by_video: dict[str, list[Wanted]] = defaultdict(list)
    spans: dict[str, tuple[int, int]] = {}
    rows = db.execute(
        """select clip_id, clips.start_pts, clips.end_pts, previews_path from clips join videos using (video_id)
           where list_contains($ids, clip_id) and previews_path is not null""",
        {"ids": sorted({each.clip_id for each in order})},
    ).fetchall()
    paths = {}
    for clip_id, start_pts, end_pts, path in rows:
        spans[clip_id], paths[clip_id] = (start_pts, end_pts), path
    for each in order:
        if each.clip_id in paths:
            by_video[paths[each.clip_id]].append(each)
    encoded: dict[Wanted, Strip] = {}
    unreadable = 0
    for path, of_video in sorted(by_video.items()):
        try:
            found = _read_frames(root, path, of_video, spans)
        except DatasetError:
            unreadable += 1
            continue
        encoded |= {each: _encode(frames) for each, frames in found.items() if frames}
    strips: dict[Wanted, Strip] = {}
    for each in order:
        if each in encoded:
            budget_bytes -= len(encoded[each].uri)
            if budget_bytes < 0:
                break
            strips[each] = encoded[each]
    return Drawn(strips, unreadable)


def _read_frames(
    root: str, path: str, wanted: Sequence[Wanted], spans: Mapping[str, tuple[int, int]]
) -> dict[Wanted, list[np.ndarray]]:
    """Frames for each, spread evenly over its clip; of hours of previews only a few are in memory at a time."""
    import cv2
    import numpy as np

    with open_payload(root, path) as file:
        pts = file.read(columns=["pts"]).column("pts").to_numpy()
        rows: dict[Wanted, list[int]] = {}
        for each in wanted:
            start_pts, end_pts = spans[each.clip_id]
            inside = np.flatnonzero((pts >= start_pts) & (pts < end_pts))
            rows[each] = [int(inside[index]) for index in spread(len(inside), each.num_frames)] if len(inside) else []
        needed = {row for picked in rows.values() for row in picked}
        pictures: dict[int, np.ndarray] = {}
        first = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=["jpeg"]):
            if not any(row >= first for row in needed):
                break
            for row in range(first, first + batch.num_rows):
                if row in needed:
                    jpeg = np.frombuffer(batch.column("jpeg")[row - first].as_buffer(), np.uint8)
                    picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
                    if picture is not None:
                        pictures[row] = _reduced(picture)
            first += batch.num_rows
    return {each: [pictures[row] for row in picked if row in pictures] for each, picked in rows.items()}


def _reduced(picture: np.ndarray) -> np.ndarray:
    import cv2

    height, width = picture.shape[:2]
    scale = min(1.0, _MAX_HEIGHT_PX / height, _MAX_WIDTH_PX / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return picture if scale == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _encode(frames: Sequence[np.ndarray]) -> Strip:
    import cv2
    import numpy as np

    height, width = frames[0].shape[:2]
    _, data = cv2.imencode(".webp", np.hstack(frames), [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])
    return Strip(f"data:image/webp;base64,{base64.b64encode(data.tobytes()).decode()}", len(frames), width, height)
