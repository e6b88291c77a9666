"""What drawing costs, and how well the judge reads drawn clips back.

python benchmarks/drawn.py                                   two tables
python benchmarks/drawn.py --sheet docs/images/drawn.png     and a sheet of shots, one a row
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from curate.counter_random import generator
from curate.drawn.describe import describe
from curate.drawn.film import render_film
from curate.drawn.footage import draw_footage
from curate.drawn.judge import JUDGED_SLOTS, score
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.sample_film import sample_film
from curate.drawn.shot import Shot, World, facts, tiny_world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=300, help="clips per figure")
    parser.add_argument("--sheet", type=Path, help="write a picture of shots there")
    options = parser.parse_args()
    print_costs(options.clips)
    print_accuracy(options.clips)
    if options.sheet:
        write_sheet(options.sheet)


def shots(count: int, world: World, name: str) -> list[Shot]:
    return [sample_shot(generator(0, "benchmark", name, index), world) for index in range(count)]


def print_costs(clips: int) -> None:
    print("one core                              CPU ms each")
    start = time.process_time()
    full = shots(clips, World(), "full")
    report("sample a shot", start, clips)
    for width, height, num_frames, count in (
        (64, 64, 8, clips),
        (256, 144, 8, clips // 4),
        (1280, 720, 8, clips // 20),
    ):
        start = time.process_time()
        for shot in full[:count]:
            render_shot(shot, width, height, (num_frames - 1) / shot.duration_s, num_frames)
        report(f"render {num_frames} frames of {width}x{height}", start, count)
    start = time.process_time()
    for index, shot in enumerate(full):
        describe(shot, "descriptive", index)
    report("describe a shot", start, clips)
    start = time.process_time()
    frames = sum(1 for _ in render_film(sample_film(generator(0, "benchmark"), seconds=20, fps=Fraction(24))))
    report("a frame of a film at 320x180", start, frames)
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        draw_footage(folder, seconds=120)
        report("two minutes of footage, encoded", start, 1)


def report(name: str, start: float, count: int) -> None:
    print(f"{name:36s} {1000 * (time.process_time() - start) / count:12.2f}")


def print_accuracy(clips: int) -> None:
    def noisy(frames: np.ndarray, index: int) -> np.ndarray:
        return np.clip(frames + generator(index, "noise").normal(0, 12, frames.shape), 0, 255).astype(np.uint8)

    def blurred(frames: np.ndarray, index: int) -> np.ndarray:
        return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in frames])

    spoilers = {"clean": lambda frames, index: frames, "noise 12": noisy, "blur 1 px": blurred}
    spoilers["both"] = lambda frames, index: noisy(blurred(frames, index), index)
    print(f"\n{'judge':24s}" + "".join(f"{slot:>18s}" for slot in JUDGED_SLOTS))
    for width, height in ((24, 40), (32, 32), (64, 48)):
        for name, spoil in spoilers.items():
            right: Counter[str] = Counter()
            for index, shot in enumerate(shots(clips, tiny_world(), "tiny")):
                frames = spoil(render_shot(shot, width, height, 8 / shot.duration_s, 9), index)
                right.update(score(frames, facts(shot)))
            print(f"{width}x{height}x9 {name:15s}" + "".join(f"{right[slot] / clips:18.3f}" for slot in JUDGED_SLOTS))


def write_sheet(path: Path, rows: int = 9, columns: int = 8) -> None:
    picture = []
    for shot in shots(rows, World(lightings=("bright", "spotlight")), "sheet"):
        frames = render_shot(shot, 160, 90, (columns - 1) / shot.duration_s, columns)
        picture.append(np.hstack([np.pad(frame, ((1, 1), (1, 1), (0, 0)), constant_values=255) for frame in frames]))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(np.vstack(picture), cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
