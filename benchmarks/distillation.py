"""The distillation recipe on drawn clips: what agreement a small captioner reaches with its teacher, and how fast.

    python -m benchmarks.distillation --clips 4000 --share 0.5 --preset minutes --out runs/distillation

The teacher is the template captioner, which tells the truth in many words. So agreement in facts is also truth.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path

import cv2
import pyarrow as pa

from captioner.caption_job import CaptionConfig
from captioner.training_config import PRESETS
from curate.config import to_tree
from curate.counter_random import generator
from curate.drawn.film import Film, Join, Take, film_truth
from curate.drawn.footage import FileTruth, Truth
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shot import Shot, World
from curate.payload import payload_path, write_payload
from curate.tables import Dataset
from pipelines.distill import DistillConfig, distill
from pipelines.engine import Engine, EngineConfig
from pipelines.run import recorded_run

FPS, FRAMES, TAKES, WIDTH, HEIGHT = 4, 8, 50, 128, 96
WORLD = World(min_duration_s=2.0, max_duration_s=2.0)


def draw_dataset(root: Path, num_clips: int) -> tuple[Dataset, Path]:
    """Kept clips with previews and no video files, and the truth about them. One film in ten is for validation."""
    dataset = Dataset(root / "dataset")
    facts = {"fingerprint": "drawn", "run_id": "drawn"}
    videos, clips, decisions, files = [], [], [], []
    for index in range(-(-num_clips // TAKES)):
        shots = [sample_shot(generator(0, "clip", TAKES * index + place), WORLD) for place in range(TAKES)]
        video_id, path = f"film{index:04}", payload_path("previews", f"film{index:04}", "drawn")
        uri, side = str(root / f"{video_id}.mp4"), "val" if index % 10 == 9 else "train"
        write_payload(dataset.uri, path, _previews(shots))
        videos.append({"video_id": video_id, "uri": uri, "previews_path": path, "status": "ok", **facts})
        for place in range(TAKES):
            clip = _clip(f"{video_id}-{place:02}", video_id, place)
            clips.append({**clip, **facts})
            decisions.append(
                {"clip_id": clip["clip_id"], "video_id": video_id, "state": "kept", "split": side, **facts}
            )
        takes = tuple(Take(shot=shot, num_frames=FRAMES) for shot in shots)
        film = Film(width=WIDTH, height=HEIGHT, fps=Fraction(FPS), takes=takes, joins=(Join(),) * (TAKES - 1))
        files.append(FileTruth(path=f"{video_id}.mp4", title="", license="", caption="", film=film_truth(film)))
    truth = root / "truth.json"
    truth.write_text(json.dumps(to_tree(Truth(seed=0, files=tuple(files)))))
    now = datetime.now(timezone.utc)
    dataset.replace_all("runs", [{"run_id": "drawn", "verb": "draw", "started": now, "version": "", "config": ""}])
    for name, rows in (("videos", videos), ("clips", clips), ("decisions", decisions)):
        dataset.replace_all(name, rows)
    return dataset, truth


def _previews(shots: list[Shot]) -> pa.Table:
    jpegs = []
    for shot in shots:
        for frame in render_shot(shot, WIDTH, HEIGHT, FPS, FRAMES):
            _, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
            jpegs.append(data.tobytes())
    return pa.table({"pts": range(len(jpegs)), "jpeg": jpegs})


def _clip(clip_id: str, video_id: str, place: int) -> dict:
    start = place * FRAMES
    return {
        "clip_id": clip_id,
        "scene_id": clip_id,
        "video_id": video_id,
        "start_pts": start,
        "end_pts": start + FRAMES,
        "start_s": start / FPS,
        "end_s": (start + FRAMES) / FPS,
        "num_frames": FRAMES,
        "time_base_num": 1,
        "time_base_den": FPS,
        "duration_s": FRAMES / FPS,
        "fps": float(FPS),
        "width_px": WIDTH,
        "height_px": HEIGHT,
        "aspect": WIDTH / HEIGHT,
        "start_kind": "cut",
        "end_kind": "cut",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--preset", choices=list(PRESETS), default="minutes")
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    wanted = parser.parse_args()
    wanted.out.mkdir(parents=True, exist_ok=True)
    truth = wanted.out / "truth.json"
    dataset = Dataset(wanted.out / "dataset")
    if not truth.exists():
        dataset, truth = draw_dataset(wanted.out, wanted.clips)
    began, used = time.monotonic(), time.process_time()
    teacher = CaptionConfig(captioner=f"template:{truth}")
    config = DistillConfig(share=wanted.share, audit=256)
    with recorded_run(dataset, "benchmark", "") as run, Engine(EngineConfig(local=True)) as engine:
        reports = distill(dataset, teacher, PRESETS[wanted.preset](), config, wanted.out / "student", run, engine)
    print(f"\n{wanted.clips} clips, a share of {wanted.share}, preset {wanted.preset}: ", end="")
    print(f"{time.monotonic() - began:.0f} s, {time.process_time() - used:.0f} CPU-s")
    for kind, report in reports.items():
        print(f"{kind}: {report.taught} taught, {report.filled} filled, {report.student_captions_per_s:.1f} captions/s")
        if report.refused:
            print(f"  {report.refused}")
        if report.agreement:
            for name, found in (("reached", report.agreement.reached), ("by chance", report.agreement.by_chance)):
                print(f"  {name:<9} " + "  ".join(f"{measure} {value:.2f}" for measure, value in asdict(found).items()))


if __name__ == "__main__":
    main()
