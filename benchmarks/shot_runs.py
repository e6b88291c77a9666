"""Our detector and PySceneDetect's over one video, with the CPU time of each.

Peers see the frames as their own tool feeds them: whole, as BGR, reduced by one linear step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from scenedetect.common import FrameTimecode
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from benchmarks.shot_scoring import Found
from curate.shots import find_boundaries
from curate.signals import SignalExtractor
from curate.video import open_video, work_size

OURS = "reelwright"
PEERS: dict[str, Callable[[], Any]] = {
    "content (default)": ContentDetector,
    "content 31, 0.6 s": lambda: ContentDetector(31.0, min_scene_len="0.6s"),
    "adaptive (default)": AdaptiveDetector,
    "adaptive 3.5/3, 0.6 s": lambda: AdaptiveDetector(3.5, window_width=3, min_scene_len="0.6s"),
    "hash (default)": HashDetector,
    "hash 0.395/16": lambda: HashDetector(0.395, size=16),
    "histogram (default)": HistogramDetector,
    "histogram 0.05/256": lambda: HistogramDetector(0.05, bins=256),
    "threshold (default)": ThresholdDetector,
}
"""Each CPU detector at its defaults and at the best settings known from its own benchmarks."""

_PEER_WIDTH_PX = 256


@dataclass(frozen=True, slots=True)
class Run:
    """What a detector found in a video. `cpu_s` includes decoding and all that it needs to see the frames."""

    found: list[Found]
    cpu_s: float


def run_ours(path: Path) -> tuple[Run, pa.Table]:
    """Our detector from the file on, and the signals for more questions."""
    began = time.process_time()
    signals = signals_of(path)
    boundaries = find_boundaries(signals)
    found = [Found(boundary.start_index, boundary.end_index, boundary.kind) for boundary in boundaries]
    return Run(found, time.process_time() - began), signals


def signals_of(path: Path) -> pa.Table:
    with open_video(path) as video:
        size = work_size(video.info.width_px, video.info.height_px)
        extractor = SignalExtractor(*size, video.info.time_base)
        for frame in video.reduced_frames():
            extractor.push(frame)
    return extractor.finish()


def run_peers(path: Path, fps: float, names: list[str]) -> dict[str, Run]:
    """PySceneDetect's detectors, all in one pass; the decoding is charged to each of them."""
    detectors = {name: PEERS[name]() for name in names}
    cuts: dict[str, list[Any]] = {name: [] for name in names}
    own_s = dict.fromkeys(names, 0.0)
    began = time.process_time()
    now = None
    for index, picture in enumerate(_as_peers_see_it(path)):
        now = FrameTimecode(index, fps=float(fps))
        for name, detector in detectors.items():
            start = time.process_time()
            cuts[name] += detector.process_frame(now, picture)
            own_s[name] += time.process_time() - start
    shared_s = time.process_time() - began - sum(own_s.values())
    if now is not None:
        for name, detector in detectors.items():
            cuts[name] += detector.post_process(now)
    found = {name: [Found(cut.frame_num, cut.frame_num) for cut in cuts[name]] for name in names}
    return {name: Run(found[name], shared_s + own_s[name]) for name in names}


def decode_s(path: Path) -> tuple[float, int]:
    """CPU time of decoding alone, and the number of frames."""
    began = time.process_time()
    with open_video(path) as video:
        count = sum(1 for _ in video.frames())
    return time.process_time() - began, count


def _as_peers_see_it(path: Path) -> Iterator[np.ndarray]:
    with open_video(path) as video:
        for _, frame in video.frames():
            picture = frame.to_ndarray(format="bgr24")
            scale = _PEER_WIDTH_PX / picture.shape[1]
            if scale < 1:
                size = (_PEER_WIDTH_PX, round(picture.shape[0] * scale))
                picture = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
            yield picture
