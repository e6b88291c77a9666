"""Frames of a span from anywhere in a video: PyAV, which `curate.video.read_span` uses, beside decord.

    python -m benchmarks.random_access [FILE...]        # without files, some of REELWRIGHT_MEDIA

Each takes spans of 16 frames at random places, opening the file for each as a worker does that gets one clip. CPU time
per span, one thread. `same` compares the pixels.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import decord
import numpy as np

from curate.video import open_video, read_span

MEDIA = Path(os.environ.get("REELWRIGHT_MEDIA", Path(__file__).parents[2] / "shared/media"))
FILES = (
    *("single/butterfly.mp4", "single/traffic_camera_vfr.mp4", "multishot/bbb_first_216s.mp4"),
    *("single/selfie_rotated_hevc.mp4", "multishot/mixed_content_vfr.webm", "single/water_channel_av1.webm"),
    *("single/pattern_anamorphic.mov", "single/aquarium.wmv"),
)
SPANS, SPAN_FRAMES = 4, 16


def main() -> None:
    files = [Path(name) for name in sys.argv[1:]] or [MEDIA / name for name in FILES]
    print(f"PyAV {av.__version__}, decord {decord.__version__}, one thread\n")
    print("| file | size | frames | PyAV, ms a span | decord | of it opening | same |")
    print("|---|---|--:|--:|--:|--:|---|")
    for path in files:
        print(row(path), flush=True)


def row(path: Path) -> str:
    with open_video(path) as video:
        times = [pts for pts, _ in video.frames()]
        size = f"{video.info.width_px}x{video.info.height_px}"
    length = min(SPAN_FRAMES, len(times) - 1)
    starts = np.random.default_rng(0).integers(0, len(times) - length, SPANS).tolist()
    began = time.process_time()
    ours = [np.stack([p for _, p in read_span(path, times[i], times[i + length])]) for i in starts]
    ours_ms = 1000 * (time.process_time() - began) / SPANS
    start = f"| {path.name} | {size} | {len(times)} | {ours_ms:.0f} |"
    began, opening_s = time.process_time(), 0.0
    theirs = []
    try:
        for i in starts:
            opened = time.process_time()
            reader = decord.VideoReader(str(path), num_threads=1)
            opening_s += time.process_time() - opened
            theirs.append(reader.get_batch(list(range(i, i + length))).asnumpy())
    except decord.DECORDError:
        return f"{start} fails | | |"
    theirs_ms = 1000 * (time.process_time() - began) / SPANS
    if ours[0].shape != theirs[0].shape:
        same = f"no: {theirs[0].shape[2]}x{theirs[0].shape[1]}"
    else:
        same = "yes" if all((a == b).all() for a, b in zip(ours, theirs, strict=True)) else "no"
    return f"{start} {theirs_ms:.0f} | {1000 * opening_s / SPANS:.0f} | {same} |"


if __name__ == "__main__":
    main()
