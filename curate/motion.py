"""Motion on a time grid: dense flow about eight times a second, split into the camera's part and the rest.

Between two grid frames, dense inverse search flow (Kroeger et al. 2016) is fitted by a similarity: shift, zoom, turn.
Adjacent frames would make the numbers depend on the frame rate; an eighth of a second is short enough to follow hands
and long enough to see slow pans.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

MOTION = {
    "motion": "Mean speed of the picture's points, in frame diagonals per second; null between grid frames.",
    "motion_p95": "95th percentile over the picture of the same speed.",
    "residual_motion": "Mean speed that remains when the camera's part is taken away.",
    "pan": "Camera movement to the right, in frame widths per second; negative is left.",
    "tilt": "Camera movement upwards, in frame heights per second; negative is down.",
    "zoom": "Growth of the picture, as natural logarithm of scale per second; negative is out.",
    "roll": "Turn of the picture to the right, in radians per second.",
}

GRID_HZ = 8
_FLOW_PX = 128
_MIN_SIDE_PX = 24  # below that there is nothing for patches of 6 pixels to hold on to
_MAX_GAP_S = 0.6  # frames further apart than that say nothing about speed
_SAMPLE_STRIDE = 4
_FIT_ROUNDS = 3
_BATCH = 64


class TimeGrid:
    """Takes the first frame at or after each multiple of 1/8 s."""

    def __init__(self) -> None:
        self._cell: int | None = None

    def takes(self, seconds: float) -> bool:
        cell, self._cell = self._cell, math.floor(seconds * GRID_HZ + 1e-6)
        return cell != self._cell


class MotionExtractor:
    """Flow between the frames of the grid."""

    def __init__(self, width_px: int, height_px: int) -> None:
        scale = min(1.0, _FLOW_PX / max(width_px, height_px))
        self._size = (max(1, round(width_px * scale)), max(1, round(height_px * scale)))
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        # Fixed scales: left to itself OpenCV changes them with the size, and is ten times slower on small frames.
        self._flow.setCoarsestScale(3)
        self._flow.setFinestScale(1)
        self._flow.setPatchSize(8)
        self._flow.setPatchStride(6)
        self._before: tuple[float, np.ndarray] | None = None
        self._waiting: list[tuple[int, float, np.ndarray]] = []
        self._described: list[tuple[np.ndarray, np.ndarray]] = []

    def push(self, index: int, seconds: float, luma: np.ndarray) -> None:
        """The next grid frame, which is so many frames from the start."""
        if min(self._size) < _MIN_SIDE_PX:
            return
        picture = cv2.resize(luma, self._size, interpolation=cv2.INTER_AREA)
        before, self._before = self._before, (seconds, picture)
        if before is None or seconds - before[0] > _MAX_GAP_S:
            return
        flow = self._flow.calc(before[1], picture, None)  # type: ignore[call-overload]
        sampled = flow[::_SAMPLE_STRIDE, ::_SAMPLE_STRIDE].copy()
        self._waiting.append((index, seconds - before[0], sampled))
        if len(self._waiting) == _BATCH:
            self._describe_waiting()

    def finish(self, num_frames: int) -> dict[str, np.ndarray]:
        """The columns of `MOTION`, NaN where there is no number."""
        if self._waiting:
            self._describe_waiting()
        columns = np.full((num_frames, len(MOTION)), np.nan, np.float32)
        for indices, rows in self._described:
            columns[indices] = rows
        return dict(zip(MOTION, columns.T, strict=True))

    def _describe_waiting(self) -> None:
        indices, gaps_s, flows = zip(*self._waiting, strict=True)
        self._described.append((np.array(indices), describe_flow(np.stack(flows), self._size, np.array(gaps_s))))
        self._waiting.clear()


def describe_flow(flow: np.ndarray, size: tuple[int, int], gap_s: np.ndarray) -> np.ndarray:
    """The numbers of `MOTION`, `[N, 7]`, for flows `[N, h, w, 2]` sampled evenly from pictures of `size`."""
    width, height = size
    count, rows, columns, _ = flow.shape
    y, x = np.meshgrid(
        np.linspace(-height / 2, height / 2, rows, dtype=np.float32),
        np.linspace(-width / 2, width / 2, columns, dtype=np.float32),
        indexing="ij",
    )
    x, y = x.reshape(1, -1), y.reshape(1, -1)
    u, v = flow[..., 0].reshape(count, -1), flow[..., 1].reshape(count, -1)
    (shift_x, shift_y, grow, turn), rest = _fit_similarity(x, y, u, v)
    speed = np.sqrt(u * u + v * v)
    p95 = np.partition(speed, int(0.95 * speed.shape[1]), axis=1)[:, int(0.95 * speed.shape[1])]
    per_second = 1 / (math.hypot(width, height) * gap_s)
    return np.stack(
        [
            speed.mean(1) * per_second,
            p95 * per_second,
            rest.mean(1) * per_second,
            # The picture moves against the camera; rows count downwards.
            -shift_x / width / gap_s,
            shift_y / height / gap_s,
            0.5 * np.log(np.maximum((1 + grow) ** 2 + turn**2, 1e-6)) / gap_s,
            np.arctan2(turn, 1 + grow) / gap_s,
        ],
        axis=1,
    )


def _fit_similarity(
    x: np.ndarray, y: np.ndarray, u: np.ndarray, v: np.ndarray
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Shift, growth and turn that explain most of each flow `[N, P]`, and what they leave.

    Least squares, reweighted (Geman-McClure) so that what moves by itself has little say.
    """
    weight = np.full_like(u, 1 / u.shape[1])
    for _ in range(_FIT_ROUNDS):
        mean_x, mean_y, mean_u, mean_v = (
            np.einsum("np,np->n", weight, np.broadcast_to(part, u.shape)) for part in (x, y, u, v)
        )
        dx, dy = x - mean_x[:, None], y - mean_y[:, None]
        wx, wy = weight * dx, weight * dy
        spread = np.einsum("np,np->n", wx, dx) + np.einsum("np,np->n", wy, dy) + 1e-9
        grow = (np.einsum("np,np->n", wx, u) + np.einsum("np,np->n", wy, v)) / spread
        turn = (np.einsum("np,np->n", wx, v) - np.einsum("np,np->n", wy, u)) / spread
        shift_x = mean_u - grow * mean_x + turn * mean_y
        shift_y = mean_v - turn * mean_x - grow * mean_y
        rest_u = u - shift_x[:, None] - grow[:, None] * x + turn[:, None] * y
        rest_v = v - shift_y[:, None] - turn[:, None] * x - grow[:, None] * y
        rest = np.sqrt(rest_u * rest_u + rest_v * rest_v)
        middle = np.partition(rest, rest.shape[1] // 2, axis=1)[:, rest.shape[1] // 2]
        weight = 1 / (1 + (rest / (2 * middle + 0.1)[:, None]) ** 2) ** 2
        weight /= weight.sum(1, keepdims=True)
    return (shift_x, shift_y, grow, turn), rest
