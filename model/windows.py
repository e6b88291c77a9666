"""Which frames and pixels of a clip become one training item: declared, recorded, and never silent.

    clip ──▶ frames on a time grid ──▶ windows of at most max_frames ──▶ resize to the area ──▶ crop to whole cells

A window is a plan made from numbers alone; `read_windows` then does exactly what it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from curate.config import fingerprint
from curate.errors import VideoError

if TYPE_CHECKING:  # the child process that decodes does not load torch
    from model.codec.base import Stride

WINDOW_VERSION = 1
"""Raised whenever the same plan would give other pixels."""

Refusal = Literal["too small", "too short"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowConfig:
    """How clips are cut and resized before the codec."""

    max_area_px: int = 512 * 512
    """Larger pictures are reduced to this area; smaller ones keep their size."""
    fps: float | None = None
    """Frames per second that are taken; none takes every frame. A clip with fewer keeps its own."""
    max_frames: int = 81
    """Longer clips become several windows."""
    min_frames: int = 1
    """Clips and last windows with fewer frames are not used."""
    multiple: int = 1
    """Latent cells per patch of the model, by which rows and columns must divide."""

    def __post_init__(self) -> None:
        if self.max_area_px < 1 or self.max_frames < 1 or self.min_frames < 1 or self.multiple < 1:
            raise ValueError("max_area_px, max_frames, min_frames and multiple must be at least 1")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, got {self.fps}")
        if self.min_frames > self.max_frames:
            raise ValueError(f"min_frames {self.min_frames} is above max_frames {self.max_frames}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipFacts:
    """What a plan depends on: the span of a clip and its picture, as displayed."""

    clip_id: str
    start_pts: int
    end_pts: int
    time_base: float  # seconds per pts
    num_frames: int
    fps: float
    width_px: int
    height_px: int
    content: tuple[int, int, int, int] | None = None
    """x, y, width, height of the picture inside its black bars."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Frames `first .. first + num_frames` of a clip's time grid, cropped to a box and resized."""

    first: int
    num_frames: int
    fps: float
    every_frame: bool  # the grid is the clip's own frames, not points in time
    crop_x_px: int
    crop_y_px: int
    crop_width_px: int
    crop_height_px: int
    width_px: int
    height_px: int


def plan_windows(clip: ClipFacts, config: WindowConfig, stride: Stride) -> list[Window] | Refusal:
    """The windows of a clip in order of time, or why there are none.

    Frames that do not fill a latent frame are left off the end: 30 frames at stride 4 -> 29. Rows and columns that do
    not fill a patch are cropped evenly from both sides.
    """
    box = _plan_picture(clip, config, stride)
    if box is None:
        return "too small"
    every_frame = config.fps is None or config.fps >= clip.fps * 0.999
    fps = clip.fps if every_frame or config.fps is None else config.fps
    duration_s = (clip.end_pts - clip.start_pts) * clip.time_base
    grid = clip.num_frames if every_frame else max(1, math.floor(duration_s * fps + 1e-6))
    longest = _whole(config.max_frames, stride[0])
    windows = []
    for first in range(0, grid, longest):
        num_frames = _whole(min(longest, grid - first), stride[0])
        # A rest of a few frames would become a still that nobody asked for.
        if num_frames >= max(config.min_frames, 1 + stride[0] if first and longest > 1 else 1):
            windows.append(Window(first=first, num_frames=num_frames, fps=fps, every_frame=every_frame, **box))
    return windows or "too short"


def window_id(clip_id: str, window: Window, *parts: Any) -> str:
    """Key of what is made from a window: content and span (the clip's id), frames, crop, size, and `parts`."""
    return fingerprint("window", WINDOW_VERSION, clip_id, asdict(window), *parts)


def read_windows(
    path: str, clip: ClipFacts, windows: Sequence[Window], *, on_frame: Callable[[int], None] | None = None
) -> Iterator[np.ndarray]:
    """Frames uint8 `[T, H, W, 3]` of each window, in order of time, from one pass over the clip.

    Raises VideoError when the file gives fewer frames than planned.
    """
    from curate.video import read_span

    windows = sorted(windows, key=lambda window: window.first)
    frames = _on_grid(read_span(path, clip.start_pts, clip.end_pts), clip, windows[0])
    position = 0
    for window in windows:
        taken = []
        for picture in frames:
            position += 1
            if on_frame is not None:
                on_frame(position)
            if position > window.first:
                taken.append(_fit(picture, window))
            if len(taken) == window.num_frames:
                break
        if len(taken) < window.num_frames:
            raise VideoError(
                "truncated",
                f"{path}: {len(taken)} of {window.num_frames} frames from frame {window.first} of clip {clip.clip_id}; "
                "the file may have changed since it was scanned: curate it again",
            )
        yield np.stack(taken)


def _plan_picture(clip: ClipFacts, config: WindowConfig, stride: Stride) -> dict[str, int] | None:
    x, y, width, height = clip.content or (0, 0, clip.width_px, clip.height_px)
    scale = min(1.0, math.sqrt(config.max_area_px / (width * height)))
    out_width, out_height = (
        math.floor(side * scale / unit + 1e-6) * unit
        for side, unit in ((width, stride[2] * config.multiple), (height, stride[1] * config.multiple))
    )
    if not (out_width and out_height):
        return None
    crop_width, crop_height = min(width, round(out_width / scale)), min(height, round(out_height / scale))
    return {
        "crop_x_px": x + (width - crop_width) // 2,
        "crop_y_px": y + (height - crop_height) // 2,
        "crop_width_px": crop_width,
        "crop_height_px": crop_height,
        "width_px": out_width,
        "height_px": out_height,
    }


def _whole(frames: int, stride_frames: int) -> int:
    return 1 + (frames - 1) // stride_frames * stride_frames


def _on_grid(frames: Iterator[tuple[int, np.ndarray]], clip: ClipFacts, window: Window) -> Iterator[np.ndarray]:
    """The picture shown at each point of the grid: the clip's frames, or the one that shows at start + i / fps."""
    if window.every_frame:
        yield from (picture for _, picture in frames)
        return
    step = 1 / window.fps / clip.time_base
    early = 0.1 * step  # containers round times: a frame that is due now may be stamped a little later
    index, shown = 0, None
    for pts, picture in frames:
        while shown is not None and clip.start_pts + index * step + early < pts:
            yield shown
            index += 1
        shown = picture
    while shown is not None and clip.start_pts + index * step < clip.end_pts:
        yield shown
        index += 1


def _fit(picture: np.ndarray, window: Window) -> np.ndarray:
    x, y = window.crop_x_px, window.crop_y_px
    part = picture[y : y + window.crop_height_px, x : x + window.crop_width_px]
    if part.shape[:2] == (window.height_px, window.width_px):
        return part
    import cv2

    return cv2.resize(part, (window.width_px, window.height_px), interpolation=cv2.INTER_AREA)
