"""Folders of training runs, as the trainers leave them behind, with made-up numbers."""

import json
from pathlib import Path

import cv2
import numpy as np


def write_model_run(run: Path, steps: int = 300) -> Path:
    """A run of the video model: a crash at step 200, from where it went on at 150; samples at two steps."""
    run.mkdir(parents=True)
    records = [{"event": "started", "step": 0, "parameters": 1_711_808, "total": _total(0)}]
    for step in [*range(10, 201, 10), *range(160, steps + 1, 10)]:
        loss = 2 * 0.99**step
        records.append(
            {
                "event": "step",
                "step": step,
                "loss": loss,
                "grad_norm": 1.0,
                "lr": 1e-3,
                "waste": 0.004,
                "seconds": 0.5,
                "data_wait_s": 0.05,
                "loss_by_time": {f"{t / 10:g}": loss + t / 100 for t in range(10)},
                "total": _total(step),
            }
        )
        if step % 100 == 0:
            at = {"0.1": loss, "0.5": loss / 2, "0.9": loss / 3}
            gain = {"0.1": 0.0, "0.5": 0.1, "0.9": 0.2}
            records.append(
                {
                    "event": "validation",
                    "step": step,
                    "loss": loss,
                    "raw_loss": loss,
                    "loss_at": at,
                    "text_gain_at": gain,
                }
            )
    records.append({"event": "skipped", "step": 170, "skipped": ["clip"], "loss": float("nan"), "total": _total(170)})
    lines = [json.dumps(record) for record in records]
    (run / "train.jsonl").write_text("\n".join(lines) + '\n{"event": "step", "st')  # cut off while it was written
    (run / "config.toml").write_text('steps = 300\nname = "<tiny>"\n')
    (run / "samples").mkdir()
    for step in (20, 100):
        cv2.imwrite(str(run / f"samples/step-{step} a cat.png"), np.full((32, 48, 3), step, np.uint8))
    return run


def write_captioner_run(run: Path) -> Path:
    """A run of the captioner: two stages."""
    (run / "training").mkdir(parents=True)
    records = [
        {
            "stage": stage,
            "step": step,
            "caption": 5.0 / step,
            "contrast": 3.0,
            "seconds": step / 4,
            "unique": 0.75,
            "samples": [f"a {stage} caption at step {step}", "<b>bold</b>", "ball", "ball"],
        }
        for stage in ("base", "descriptive")
        for step in range(5, 101, 5)
    ]
    (run / "training/log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (run / "training/config.toml").write_text("seed = 0\n")
    return run


def _total(step: int) -> dict[str, float]:
    return {"samples": 40.0 * step, "tokens": 2048.0 * step, "seconds": 0.5 * step}
