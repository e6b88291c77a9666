"""What a scan costs beside decoding alone, and beside the `scenedetect` command, on the same files.

    python benchmarks/scan.py [FILE...] [--rounds 5] [--json results.json]

Without files, the H.264 footage of REELWRIGHT_MEDIA (default ../shared/media) is taken. Each round runs every
contestant on every file in turn, in this process with one thread; the figure is CPU time, and the ratio is taken
within a round, so that a machine that changes its speed does not change the result.

    decode   every frame of the first video stream, and nothing else
    scan     hash, decode, reduce, signals, previews, payload files
    split    scenes, clips and scores from the stored signals
    scenedetect   the command, with its default detector, as a process of its own
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import cv2

from curate.scan import ScanConfig, scan_file
from curate.split import SplitConfig, split_video

MEDIA = Path(os.environ.get("REELWRIGHT_MEDIA", Path(__file__).parents[2] / "shared/media"))
MIN_SIDE_PX = 700


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


def measure(path: Path, rounds: int) -> dict:
    """Median CPU times per frame, in ms, and ratios to decoding within each round."""
    frames = decode(path)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        size = f"{stream.width}x{stream.height}"
    times: dict[str, list[float]] = {name: [] for name in ("decode", "scan", "split", "scenedetect")}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as root:
            times["decode"].append(cpu_s(lambda: decode(path)))
            began = time.process_time()
            scanned = scan_file(str(path), str(path), root, ScanConfig())
            times["scan"].append(time.process_time() - began)
            assert scanned.video is not None
            assert scanned.decoded
            row = scanned.video
            times["split"].append(cpu_s(lambda row=row, root=root: split_video(row, root, SplitConfig())))
            times["scenedetect"].append(command_cpu_s(path, root))
    return {
        "file": path.name,
        "size": size,
        "frames": frames,
        **{f"{name}_ms": 1000 * statistics.median(values) / frames for name, values in times.items()},
        **{
            f"{name}_ratio": statistics.median(a / b for a, b in zip(values, times["decode"], strict=True))
            for name, values in times.items()
            if name != "decode"
        },
    }


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files = arguments.files or footage()
    if not files:
        sys.exit(f"no footage: name files, or set REELWRIGHT_MEDIA ({MEDIA} has none)")
    cv2.setNumThreads(1)
    decode(files[0])  # libraries are loaded and warm
    rows = [measure(path, arguments.rounds) for path in files]
    print(f"{platform.processor() or platform.machine()}, PyAV {av.__version__}, one thread, {arguments.rounds} rounds")
    print("ms per frame of CPU time; ratios to decoding alone\n")
    print(
        f"{'file':<28}{'size':>11}{'decode':>8}{'scan':>8}{'split':>8}{'scenedetect':>13}{'scan':>8}{'split':>8}{'scenedetect':>13}"
    )
    for row in rows:
        print(
            f"{row['file'][:27]:<28}{row['size']:>11}{row['decode_ms']:>8.2f}{row['scan_ms']:>8.2f}{row['split_ms']:>8.3f}"
            f"{row['scenedetect_ms']:>13.2f}{row['scan_ratio']:>7.2f}x{row['split_ratio']:>7.3f}x{row['scenedetect_ratio']:>12.2f}x"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
