"""Training of the codec as a command: a bar while it runs, and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.codec_train import CodecTrainConfig, Step, train_codec
from model.frame_bank import Footage
from pipelines.progress import StageReport, stage


def run_training(
    footage: Footage, held_out: Footage, config: CodecTrainConfig, out: Path, *, quiet: bool = False
) -> dict[str, Any]:
    """Train a codec into a folder, or go on with it; returns what was measured."""
    report = StageReport("codec", total=1 if config.kind == "pca" else config.steps)
    with stage(report, quiet=quiet) as advance:

        def on_step(step: Step) -> None:
            while report.done < step.step:  # a resumed run begins in the middle
                report.done += 1
                advance()
            report.numbers["loss"] = round(step.loss, 4)

        measured = train_codec(footage, held_out, config, out, on_step=on_step)
        report.done = report.total
    return measured
