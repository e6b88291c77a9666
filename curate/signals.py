"""Signals: numbers per frame, from which scenes, clip scores and decisions are arithmetic, without another decode.

    reduced frames ──▶ appearance (here)        change, light, sharpness, bars, hash
                  ├──▶ curate/motion.py         optical flow on a time grid, and the camera's part of it
                  └──▶ curate/evidence.py       what tells cuts, dissolves, fades, wipes and flashes apart

All is measured at the reduced size. A number that cannot be computed is null; NaN never occurs. A value depends only on
frames within `CONTEXT_S` of its own, so a video scanned in parts gives the same table when parts overlap by that much.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cached_property

import cv2
import numpy as np
import pyarrow as pa

from curate.evidence import EVIDENCE, REACH_S, evidence
from curate.motion import GRID_HZ, MOTION, MotionExtractor, TimeGrid
from curate.video import ReducedFrame, to_bgr

SIGNALS_VERSION = 3
"""Raised whenever the same frames would give other numbers."""

CONTEXT_S = max(REACH_S, 1 / GRID_HZ)

APPEARANCE = {
    "change_hue": "Mean difference of hue to the frame before, as PySceneDetect's content score defines it.",
    "change_saturation": "The same for saturation.",
    "change_luma": "The same for brightness (the V of HSV).",
    "change_edges": "The same for its edge maps; null where hue, saturation and brightness hardly change.",
    "luma": "Mean brightness, 0 black to 255 white.",
    "contrast": "Standard deviation of brightness, 0 to 127.",
    "sharpness": "Variance of the Laplacian of the luma plane.",
    "box_left": "Left edge of the picture inside black bars, in widths; null between grid frames and in black ones.",
    "box_top": "Top edge of the same, in heights.",
    "box_right": "Right edge of the same.",
    "box_bottom": "Bottom edge of the same.",
}
"""What is measured on each frame when it comes."""

THUMBNAIL = {"saturation": "Mean distance of the colours from grey, 0 to 180."}
"""What is measured on the thumbnails, many frames at a time."""

FLOATS = APPEARANCE | THUMBNAIL | MOTION | EVIDENCE
"""All float columns of a signals table, a sentence each."""

_THUMBNAIL_PX = 64
_CHUNK_FRAMES = 256
_BLACK = 16
_FULL_RANGE = 255 / 219  # reduced frames hold 16 black to 235 white
_BAR_LUMA = 30  # a row or column with no pixel above this is a bar
_HASH_SIDE = 8
_NO_BOX = (math.nan,) * 4
_FAINT_CHANGE = 10.0  # PySceneDetect cuts at 27, its adaptive detector at 15


def schema(width_px: int, height_px: int, time_base: Fraction) -> pa.Schema:
    """Columns of a signals table, each with its sentence. The metadata say how they were measured."""
    fields = [
        pa.field("pts", pa.int64(), False, {"doc": "Presentation time, in units of the time base."}),
        pa.field("hash", pa.int64(), False, {"doc": "Perceptual hash: the signs of 64 low frequencies."}),
        *(pa.field(name, pa.float32(), metadata={"doc": doc}) for name, doc in FLOATS.items()),
    ]
    notes = {
        "signals_version": str(SIGNALS_VERSION),
        "work_width_px": str(width_px),
        "work_height_px": str(height_px),
        "time_base": str(time_base),
    }
    return pa.schema(fields, metadata=notes)


def seconds_of(signals: pa.Table) -> np.ndarray:
    """Presentation times of a signals table in seconds, float64."""
    time_base = Fraction(signals.schema.metadata[b"time_base"].decode())
    return np.asarray(signals.column("pts").to_numpy() * float(time_base))


class SignalExtractor:
    """Measures the frames of one video as they come; `finish` returns the table."""

    def __init__(self, width_px: int, height_px: int, time_base: Fraction) -> None:
        self._schema = schema(width_px, height_px, time_base)
        self._size = (width_px, height_px)
        self._time_base = float(time_base)
        self._pts: list[int] = []
        self._rows: list[tuple[float, ...]] = []
        self._edge_kernel = _edge_kernel(width_px, height_px)
        self._before: _Maps | None = None
        self._grid = TimeGrid()
        self._motion = MotionExtractor(width_px, height_px)
        self._thumbnails = _Thumbnails(width_px, height_px)

    def push(self, frame: ReducedFrame) -> None:
        """Measure the next frame. A frame of another size is measured at the size of the video."""
        if frame.y.shape[::-1] != self._size:
            frame = _resized(frame, self._size)
        seconds = frame.pts * self._time_base
        maps = _Maps(frame, self._edge_kernel)
        box = _NO_BOX
        if self._grid.takes(seconds):
            box = _content_box(frame.y)
            self._motion.push(len(self._pts), seconds, frame.y)
        self._pts.append(frame.pts)
        self._rows.append((*_changes(maps, self._before), *_light(frame.y), *box))
        self._before = maps
        self._thumbnails.push(seconds, frame)

    def finish(self) -> pa.Table:
        """One row per frame: `pts`, `hash` and the columns of `FLOATS`."""
        rows = np.array(self._rows, np.float32).reshape(-1, len(APPEARANCE))
        hashes, columns = self._thumbnails.finish()
        columns |= dict(zip(APPEARANCE, rows.T, strict=True)) | self._motion.finish(len(self._pts))
        floats = [pa.array(columns[name], pa.float32(), mask=~np.isfinite(columns[name])) for name in FLOATS]
        return pa.table([pa.array(self._pts, pa.int64()), pa.array(hashes, pa.int64()), *floats], schema=self._schema)


class _Maps:
    """What the content score compares between frames; the arithmetic is that of PySceneDetect's ContentDetector."""

    def __init__(self, frame: ReducedFrame, kernel: np.ndarray) -> None:
        self.hsv = cv2.cvtColor(to_bgr(frame), cv2.COLOR_BGR2HSV)
        self._kernel = kernel

    @cached_property
    def edges(self) -> np.ndarray:
        value = cv2.extractChannel(self.hsv, 2)
        median = _median(value)
        edges = cv2.Canny(value, int(max(0, (1 - 1 / 3) * median)), int(min(255, (1 + 1 / 3) * median)))
        return cv2.dilate(edges, self._kernel)


def _edge_kernel(width_px: int, height_px: int) -> np.ndarray:
    side = 4 + round(math.sqrt(width_px * height_px) / 192)
    return np.ones((side + 1 - side % 2,) * 2, np.uint8)


def _median(plane: np.ndarray) -> float:
    counts = np.cumsum(cv2.calcHist([plane], [0], None, [256], [0, 256]).ravel())
    low, high = np.searchsorted(counts, [(plane.size - 1) // 2 + 0.5, plane.size // 2 + 0.5])
    return (int(low) + int(high)) / 2


def _changes(maps: _Maps, before: _Maps | None) -> tuple[float, float, float, float]:
    if before is None:
        return (math.nan,) * 4
    hue, saturation, luma, _ = cv2.mean(cv2.absdiff(maps.hsv, before.hsv))
    if hue + saturation + luma < 3 * _FAINT_CHANGE:  # edges cost more than all the rest
        return hue, saturation, luma, math.nan
    return hue, saturation, luma, cv2.norm(maps.edges, before.edges, cv2.NORM_L1) / maps.edges.size


def _light(y: np.ndarray) -> tuple[float, float, float]:
    mean, spread = cv2.meanStdDev(y)
    laplacian = cv2.Laplacian(y, cv2.CV_16S)
    variance = cv2.norm(laplacian, cv2.NORM_L2SQR) / y.size - (cv2.sumElems(laplacian)[0] / y.size) ** 2
    # Video may hold values below black and above white; brightness stays within what its column promises.
    luma = min(max((mean[0, 0] - _BLACK) * _FULL_RANGE, 0.0), 255.0)
    return luma, spread[0, 0] * _FULL_RANGE, variance * _FULL_RANGE**2


def _content_box(y: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(y.max(1) > _BAR_LUMA), np.flatnonzero(y.max(0) > _BAR_LUMA)
    if not len(rows):
        return _NO_BOX
    height, width = y.shape
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def _resized(frame: ReducedFrame, size: tuple[int, int]) -> ReducedFrame:
    half = (size[0] // 2, size[1] // 2)
    y, u, v = (
        cv2.resize(p, s, interpolation=cv2.INTER_AREA) for p, s in zip(frame[2:5], (size, half, half), strict=True)
    )
    return frame._replace(y=y, u=u, v=v)


class _Thumbnails:
    """Keeps thumbnails until all that their evidence looks at has come, and measures them many at a time."""

    def __init__(self, width_px: int, height_px: int) -> None:
        scale = min(1.0, _THUMBNAIL_PX / max(width_px, height_px))
        self._size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
        self._half = (max(1, self._size[0] // 2), max(1, self._size[1] // 2))
        self._dct = _dct_rows(self._size[1]), _dct_rows(self._size[0])
        self._seconds: list[float] = []
        self._luma: list[np.ndarray] = []
        self._colour: list[np.ndarray] = []
        self._num_done = 0  # of those that are kept
        self._is_start = True  # the first of those that are kept is the first of the video
        self._hashes: list[np.ndarray] = []
        self._columns: list[dict[str, np.ndarray]] = []

    def push(self, seconds: float, frame: ReducedFrame) -> None:
        luma = _shrink(frame.y, self._size)
        self._seconds.append(seconds)
        self._luma.append(luma)
        self._colour.append(np.stack([_shrink(plane, self._half) for plane in (luma, frame.u, frame.v)]))
        if len(self._seconds) - self._num_done >= _CHUNK_FRAMES:
            # Only frames whose later context is complete, and all of them, so that chunks do not show in the result.
            complete = int(np.searchsorted(self._seconds, seconds - REACH_S))
            if complete - self._num_done >= _CHUNK_FRAMES // 2:
                self._measure(complete)

    def finish(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        if len(self._seconds) > self._num_done:
            self._measure(len(self._seconds))
        if not self._columns:
            return np.empty(0, np.int64), {name: np.empty(0, np.float32) for name in THUMBNAIL | EVIDENCE}
        return np.concatenate(self._hashes), {
            name: np.concatenate([part[name] for part in self._columns]) for name in THUMBNAIL | EVIDENCE
        }

    def _measure(self, end: int) -> None:
        rows = slice(self._num_done, end)
        seconds, luma, colour = np.array(self._seconds), np.stack(self._luma), np.stack(self._colour)
        self._hashes.append(perceptual_hash(luma[rows], self._dct))
        columns = {"saturation": _saturation(colour[rows])} | evidence(seconds, luma, colour, rows, self._is_start)
        self._columns.append(columns)
        forget = max(0, int(np.searchsorted(seconds, seconds[end - 1] - REACH_S)) - 1)
        self._is_start &= forget == 0
        for kept in (self._seconds, self._luma, self._colour):
            del kept[:forget]
        self._num_done = end - forget


def perceptual_hash(luma: np.ndarray, dct: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """64 bits per picture `[N, h, w]`: which of the 8 x 8 lowest frequencies lie above their median."""
    low = np.einsum("ih,nhw,jw->nij", dct[0], luma.astype(np.float32), dct[1], optimize=True).reshape(len(luma), -1)
    bits = low > np.median(low[:, 1:], axis=1, keepdims=True)
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(">i8").ravel().astype(np.int64)


def _dct_rows(side: int) -> np.ndarray:
    frequency, place = np.arange(_HASH_SIDE)[:, None], np.arange(side)[None]
    return np.cos(np.pi * frequency * (place + 0.5) / side).astype(np.float32)


def _saturation(colour: np.ndarray) -> np.ndarray:
    from_grey = colour[:, 1:].astype(np.float32) - 128
    return np.sqrt((from_grey**2).sum(1)).mean((1, 2)) * (255 / 224)


def _shrink(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average by halves while that stays above the target, then one step of less than two."""
    while plane.shape[1] >= 2 * size[0] and plane.shape[0] >= 2 * size[1]:
        half = (plane.shape[1] // 2, plane.shape[0] // 2)
        plane = cv2.resize(plane[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
    if plane.shape[::-1] != size:
        plane = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
    return plane
