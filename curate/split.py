"""Split: stored signals to scenes to clips. Arithmetic over one video's rows; no video is opened.

signals ──analyse_shots──▶ transitions ──▶ scenes, which with the transitions cover every frame
                                          ──▶ clips: scenes with trimmed edges, long ones in equal parts, with scores
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from curate.config import fingerprint
from curate.errors import ConfigError
from curate.payload import read_payload
from curate.scores import SCORED, SCORES_VERSION, clip_scores
from curate.shots import Boundary, ShotConfig, Shots, analyse_shots

SPLIT_VERSION = 3
"""Raised whenever the same signals would give other scenes or clips."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """How a video becomes scenes and clips."""

    shots: ShotConfig = field(default_factory=ShotConfig)
    """How readily a boundary is seen, and by which detector."""
    min_s: float = 1.0
    """Shorter scenes give no clip."""
    max_s: float = 10.0
    """Longer scenes are divided into equal parts of at most this length."""
    trim_s: float = 0.2
    """Taken off a clip where its scene borders on a transition, because detection is exact to a few frames only."""
    trim_frames: int = 4
    """The same in frames; the longer of the two is taken off."""

    def __post_init__(self) -> None:
        if not 0 < self.min_s <= self.max_s:
            raise ConfigError(f"split.min_s must be above 0 and at most max_s, got {self.min_s} and {self.max_s}")
        if self.max_s < 2 * self.min_s:
            raise ConfigError(
                f"split.max_s must be at least twice min_s, got {self.max_s} and {self.min_s}: "
                "a scene a little longer than max_s could not be divided"
            )
        if self.trim_s < 0 or self.trim_frames < 0:
            raise ConfigError(
                f"split.trim_s and trim_frames must not be negative, got {self.trim_s}, {self.trim_frames}"
            )

    def fingerprint(self, video_fingerprint: str) -> str:
        """Of the scenes and clips of a video whose scan has this fingerprint."""
        return fingerprint("split", SPLIT_VERSION, SCORES_VERSION, self, video_fingerprint)


class Span(NamedTuple):
    """Frames `start` to `end`, exclusive, and how they begin and end."""

    start: int
    end: int
    start_kind: str
    end_kind: str


@dataclass(frozen=True, slots=True)
class SplitVideo:
    """All that came of one video."""

    video_id: str
    scenes: list[dict[str, Any]]
    clips: list[dict[str, Any]]


def split_video(video: Mapping[str, Any], root: str, config: SplitConfig) -> SplitVideo:
    """Scenes and clips of a row of `videos`, from its stored signals."""
    signals = read_payload(root, video["signals_path"])
    shots = analyse_shots(signals, config.shots)
    pts = np.append(signals.column("pts").to_numpy(), video["end_pts"])
    values = {name: signals.column(name).to_numpy() for name in SCORED}
    made_by = config.fingerprint(video["fingerprint"])
    scenes, clips = [], []
    for index, (scene, transition_frames) in enumerate(scene_spans(shots.boundaries, len(pts) - 1)):
        spans, reason = clip_spans(scene, pts, _tick_s(video), config)
        scene_id = span_id("scene", video["video_id"], pts[scene.start], pts[scene.end])
        scenes.append(
            {
                "scene_id": scene_id,
                "video_id": video["video_id"],
                "scene_index": index,
                **_span_columns(scene, pts, _tick_s(video)),
                "transition_frames": transition_frames,
                "num_clips": len(spans),
                "reason": reason,
                "fingerprint": made_by,
            }
        )
        clips += [_clip_row(span, scene_id, video, values, shots, pts, made_by) for span in spans]
    return SplitVideo(video["video_id"], scenes, clips)


def scene_spans(boundaries: Sequence[Boundary], num_frames: int) -> list[tuple[Span, int]]:
    """Scenes between boundaries, each with the number of frames of the transition after it.

    A cut has no frames of its own; the frames of a gradual transition, `[start_index, end_index)`, belong to no scene:
    100 frames, a dissolve over [40, 50) -> [0, 40) and 10 frames, [50, 100) and 0.
    """
    spans = []
    start, kind = 0, "start"
    for boundary in sorted(boundaries, key=lambda found: found.start_index):
        first, after = boundary.start_index, boundary.end_index
        if first <= start or after >= num_frames:  # at an edge of the video there is no scene on the other side
            continue
        spans.append((Span(start, first, kind, boundary.kind), after - first))
        start, kind = after, boundary.kind
    spans.append((Span(start, num_frames, kind, "end"), 0))
    return spans


def clip_spans(scene: Span, pts: np.ndarray, tick_s: float, config: SplitConfig) -> tuple[list[Span], str | None]:
    """Clips of a scene, or none and the reason. `pts` holds a time for every frame and for the end of the last."""
    start = _trimmed(scene.start, 1, scene.start_kind, pts, tick_s, config)
    end = _trimmed(scene.end, -1, scene.end_kind, pts, tick_s, config)
    if start >= end or (pts[end] - pts[start]) * tick_s < config.min_s - tick_s / 2:
        return [], "too_short"
    length_s = (pts[end] - pts[start]) * tick_s
    parts = max(1, math.ceil(length_s / config.max_s - 1e-9))
    # Equal in time, on frames: with a varying rate, equal numbers of frames would be unequal lengths.
    inner = pts[start] + (pts[end] - pts[start]) * np.arange(1, parts) / parts
    edges = [start, *(int(index) for index in np.searchsorted(pts, inner - 0.5)), end]
    return [
        Span(
            first,
            last,
            scene.start_kind if first == start else "forced",
            scene.end_kind if last == end else "forced",
        )
        for first, last in itertools.pairwise(edges)
        if last > first
    ], None


def span_id(what: str, video_id: str, start_pts: int, end_pts: int) -> str:
    """The id of a span of a video: the same for the same content and times, on every run and machine."""
    return hashlib.sha256(f"{what}:{video_id}:{start_pts}:{end_pts}".encode()).hexdigest()[:24]


def _trimmed(edge: int, step: int, kind: str, pts: np.ndarray, tick_s: float, config: SplitConfig) -> int:
    """The edge moved inwards, where it is a transition and not the edge of the video."""
    if kind in ("start", "end"):
        return edge
    by_frames = edge + step * config.trim_frames
    wanted = pts[edge] + step * config.trim_s / tick_s
    by_time = int(np.searchsorted(pts, wanted, side="left" if step > 0 else "right")) - (step < 0)
    inwards = max(by_frames, by_time) if step > 0 else min(by_frames, by_time)
    return min(max(inwards, 0), len(pts) - 1)


def _clip_row(
    span: Span,
    scene_id: str,
    video: Mapping[str, Any],
    values: Mapping[str, np.ndarray],
    shots: Shots,
    pts: np.ndarray,
    made_by: str,
) -> dict[str, Any]:
    tick_s = _tick_s(video)
    start, end = int(pts[span.start]), int(pts[span.end])
    duration_s = (end - start) * tick_s
    return {
        "clip_id": span_id("clip", video["video_id"], start, end),
        "scene_id": scene_id,
        "video_id": video["video_id"],
        **_span_columns(span, pts, tick_s),
        "time_base_num": video["time_base_num"],
        "time_base_den": video["time_base_den"],
        "duration_s": duration_s,
        "fps": (span.end - span.start) / duration_s,
        "width_px": video["width_px"],
        "height_px": video["height_px"],
        "aspect": video["width_px"] / video["height_px"],
        **clip_scores(
            {name: column[span.start : span.end] for name, column in values.items()},
            shots.inner_change(span.start, span.end),
            sum(span.start <= flash < span.end for flash in shots.flashes),
            video,
        ),
        "fingerprint": made_by,
    }


def _span_columns(span: Span, pts: np.ndarray, tick_s: float) -> dict[str, Any]:
    start, end = int(pts[span.start]), int(pts[span.end])
    return {
        "start_pts": start,
        "end_pts": end,
        "start_s": start * tick_s,
        "end_s": end * tick_s,
        "num_frames": span.end - span.start,
        "start_kind": span.start_kind,
        "end_kind": span.end_kind,
    }


def _tick_s(video: Mapping[str, Any]) -> float:
    return video["time_base_num"] / video["time_base_den"]
