"""What a scan costs beside decoding alone, and beside the `scenedetect` command, on the same files.

    python -m benchmarks.scan [FILE...] [--rounds 3] [--enlarge] [--skim]

Without files, the H.264 footage of REELWRIGHT_MEDIA (default ../shared/media) with at least 720 lines is taken.
`--enlarge` adds 1080p encodes of some of it, because little real footage at hand has that size. Each round runs every
contestant on a file in turn, in this process with one thread; the figure is CPU time, and the ratio is taken within a
round, so that a machine that changes its speed does not change the result.

    decode       every frame of the first video stream, and nothing else
    scan         hash, decode, reduce, signals, previews, payload files
    split        scenes, clips and scores from the stored signals
    scenedetect  the command, with its default detector, as a process of its own, in the first round

`--skim` asks instead what leaving out the loop filter changes: in the reduced frames, and in the boundaries.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import cv2
import numpy as np

from curate.scan import ScanConfig, scan_file
from curate.shots import find_boundaries
from curate.signals import SignalExtractor
from curate.split import SplitConfig, split_video
from curate.video import open_video, to_rgb, work_size
from curate.video_write import Encoding, write_video

MEDIA = Path(os.environ.get("REELWRIGHT_MEDIA", Path(__file__).parents[2] / "shared/media"))
MIN_SIDE_PX = 700
ENLARGED = ("butterfly", "ball_juggle", "dog_fetch")
ENLARGED_FRAMES = 150


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--enlarge", action="store_true", help="also measure 1080p encodes of some files")
    parser.add_argument("--skim", action="store_true", help="what leaving out the loop filter changes")
    options = parser.parse_args()
    files = options.files or footage()
    if not files:
        sys.exit(f"no footage: name files, or set REELWRIGHT_MEDIA ({MEDIA} has none)")
    cv2.setNumThreads(1)
    print(f"PyAV {av.__version__}, OpenCV {cv2.__version__}, one thread\n")
    if options.skim:
        print("| file | frames | mean difference | largest of a frame | boundaries | decoding, share of full |")
        print("|---|--:|--:|--:|---|--:|")
        for path in files:
            print(skim_row(path, options.rounds), flush=True)
        return
    decode(files[0])  # libraries are loaded and warm
    print("| file | size | frames | decode, ms a frame | scan | scenedetect | scan ÷ decode | split ÷ decode |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        made = [enlarged(path, Path(folder)) for path in files if options.enlarge and path.stem in ENLARGED]
        for path in [*files, *made]:
            print(cost_row(path, options.rounds), flush=True)


def footage() -> list[Path]:
    """H.264 files of at least 720 lines, or columns, in the folder of real footage."""
    found = []
    for path in sorted(MEDIA.glob("*/*.mp4")):
        if path.parent.name == "bad":
            continue
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if stream.codec_context.name == "h264" and min(stream.width, stream.height) >= MIN_SIDE_PX:
                found.append(path)
    return found


def enlarged(path: Path, folder: Path) -> Path:
    """The first frames of a video at 1920x1080, as x264 encodes them by default."""
    target = folder / f"{path.stem}_1080p.mp4"
    with open_video(path) as video:
        frames = (to_rgb(frame, video.info) for _, frame in islice(video.frames(), ENLARGED_FRAMES))
        pictures = [cv2.resize(frame, (1920, 1080), interpolation=cv2.INTER_CUBIC) for frame in frames]
    write_video(target, pictures, fps=Fraction(25), encoding=Encoding(codec="h264", quality="20"))
    return target


def cost_row(path: Path, rounds: int) -> str:
    """Median CPU times per frame, and ratios to decoding within each round."""
    frames = decode(path)
    times: dict[str, list[float]] = {name: [] for name in ("decode", "scan", "split")}
    for index in range(rounds):
        with tempfile.TemporaryDirectory() as root:
            times["decode"].append(cpu_s(lambda: decode(path)))
            began = time.process_time()
            row = scan_file(str(path), str(path), root, ScanConfig()).video
            times["scan"].append(time.process_time() - began)
            assert row is not None
            times["split"].append(cpu_s(lambda row=row, root=root: split_video(row, root, SplitConfig())))
            if index == 0:
                peer_s = command_cpu_s(path, root)
    decode_ms, scan_ms = (1000 * statistics.median(times[name]) / frames for name in ("decode", "scan"))
    scan_ratio, split_ratio = (
        statistics.median(a / b for a, b in zip(times[name], times["decode"], strict=True))
        for name in ("scan", "split")
    )
    return (
        f"| {path.name} | {row['width_px']}x{row['height_px']} | {frames} | {decode_ms:.2f} | {scan_ms:.2f} "
        f"| {1000 * peer_s / frames:.2f} | {scan_ratio:.2f} | {split_ratio:.4f} |"
    )


def decode(path: Path) -> int:
    """Decode every frame; returns how many there were."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def cpu_s(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def command_cpu_s(path: Path, folder: str) -> float:
    """CPU time of the `scenedetect` command with its default detector."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [Path(sys.executable).with_name("scenedetect"), "-q", "-i", path, "-o", folder, "detect-adaptive"]
    subprocess.run([*map(str, command), "list-scenes"], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def skim_row(path: Path, rounds: int) -> str:
    """How reduced frames, boundaries and the cost of decoding differ when the loop filter is left out where it may."""
    apart: list[float] = []
    with open_video(path) as full, open_video(path, skim=True) as skimmed:
        size = work_size(full.info.width_px, full.info.height_px)
        extractors = [SignalExtractor(*size, full.info.time_base) for _ in range(2)]
        for frames in zip(full.reduced_frames(), skimmed.reduced_frames(), strict=True):
            apart.append(float(cv2.absdiff(frames[0].y, frames[1].y).mean()))
            for extractor, frame in zip(extractors, frames, strict=True):
                extractor.push(frame)
    spans = [
        [(b.kind, b.start_index, b.end_index) for b in find_boundaries(extractor.finish())] for extractor in extractors
    ]
    same = f"the same {len(spans[0])}" if spans[0] == spans[1] else f"{spans[0]} and {spans[1]}"
    shares = [cpu_s(lambda: _pull(path, True)) / cpu_s(lambda: _pull(path, False)) for _ in range(rounds)]
    return (
        f"| {path.name} | {len(apart)} | {np.mean(apart):.3f} | {max(apart):.2f} | {same} "
        f"| {statistics.median(shares):.2f} |"
    )


def _pull(path: Path, skim: bool) -> None:
    with open_video(path, skim=skim) as video:
        for _ in video.frames():
            pass


if __name__ == "__main__":
    main()
