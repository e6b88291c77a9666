"""Distillation: caption a share with a strong captioner, train ours on it, caption the rest, say how alike they are.

    teacher ──▶ captions of a share of the training clips ──▶ student ──▶ captions of all other clips
    teacher ──▶ captions of some clips that were not learned from ──▶ agreement with the student's

Each step resumes: run again, it does what is missing. What was measured stands in OUT/distillation.json.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from captioner.caption_job import CaptionConfig, CaptionJob, resolve
from captioner.caption_plan import plan_captions
from captioner.distill import Agreement, agreement, choose_share
from captioner.kept_clips import kept_clips
from captioner.training_config import StageConfig, TrainingConfig, frames_of
from curate.errors import CaptionerError, UsageError
from curate.tables import Dataset
from pipelines.caption import CaptionSummary, caption_stage
from pipelines.engine import Engine
from pipelines.run import Run

REPORT = "distillation.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillConfig:
    """What the teacher is asked for."""

    share: float = 0.1
    """Share of the training clips that the teacher captions."""
    audit: int = 256
    """Clips that both caption and neither the student learned from, at most; validation clips first."""
    kinds: tuple[str, ...] = ("short", "descriptive")
    """Kinds of captions to learn, in this order."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share must be between 0 and 1, got {self.share}")
        if self.audit < 2:
            raise ValueError(f"audit needs at least 2 clips to compare, got {self.audit}")
        if not self.kinds:
            raise ValueError("kinds: name at least one")


@dataclass(frozen=True, slots=True, kw_only=True)
class KindReport:
    """What came of one kind of captions."""

    taught: int
    """Clips with an accepted caption of the teacher, that the student learned from."""
    filled: int
    """Clips with an accepted caption of the student."""
    refused: str | None
    """Why the student's captions were not accepted, if they were not."""
    agreement: Agreement | None
    """On clips that both captioned and the student did not learn from; rejected captions included."""
    teacher_captions_per_s: float | None
    student_captions_per_s: float | None


def distill(
    dataset: Dataset,
    teacher: CaptionConfig,
    training: TrainingConfig,
    config: DistillConfig,
    out: Path,
    run: Run,
    engine: Engine,
    *,
    device: str = "cpu",
    quiet: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, KindReport]:
    """Do whatever of the recipe is not done yet, and return a report by kind of caption."""
    lessons, audit = _choose(dataset, config)
    speeds = _known_speeds(out)
    teachers = {kind: resolve(replace(teacher, kind=kind)) for kind in config.kinds}
    for kind, job in teachers.items():
        _measure(speeds, f"teacher {kind}", _caption(dataset, job, run, engine, quiet, only=lessons))
    if not (out / "model.safetensors").exists():
        _train(dataset, teachers, training, config, out, device, say)
    reports = {}
    for kind, job in teachers.items():
        _caption(dataset, job, run, engine, quiet, only=audit)
        student = resolve(CaptionConfig(captioner=f"coca:{out}", kind=kind))
        refused = None
        try:
            _measure(speeds, f"student {kind}", _caption(dataset, student, run, engine, quiet, only=audit))
            _measure(speeds, f"student {kind}", _caption(dataset, student, run, engine, quiet, fill=True))
        except CaptionerError as error:
            refused = str(error)
        taught, learned = _texts(dataset, job), _texts(dataset, student)
        reports[kind] = KindReport(
            taught=len(_texts(dataset, job, status="ok").keys() & lessons),
            filled=len(_texts(dataset, student, status="ok")),
            refused=refused,
            agreement=agreement(*({key: texts[key] for key in texts.keys() & audit} for texts in (taught, learned))),
            teacher_captions_per_s=speeds.get(f"teacher {kind}"),
            student_captions_per_s=speeds.get(f"student {kind}"),
        )
    _write(out, reports, speeds)
    return reports


def distillation_stages(training: TrainingConfig, kinds: Collection[str]) -> TrainingConfig:
    """The training with one stage per kind that the teacher writes, each as long as the stage of that name."""
    missing = [kind for kind in kinds if kind not in training.stages]
    if missing:
        raise UsageError(f"the training has no stage {missing[0]}; its stages: {', '.join(training.stages)}")
    stages: dict[str, StageConfig] = {}
    for kind in kinds:
        stages[kind] = replace(training.stages[kind], mix={kind: 1.0}, init_from=None)
    return replace(training, stages=stages)


def _choose(dataset: Dataset, config: DistillConfig) -> tuple[frozenset[str], frozenset[str]]:
    """Clips to learn from, and other clips to compare on."""
    sides = {clip.source.clip_id: clip.side for clip in kept_clips(dataset)}
    lessons = choose_share([clip for clip, side in sides.items() if side != "val"], config.share, seed=config.seed)
    others = sorted(sides.keys() - set(lessons), key=lambda clip: sides[clip] != "val")
    if len(lessons) < 2 or len(others) < 2:
        raise UsageError(
            f"{dataset.uri}: a share of {config.share} of {len(sides)} kept clips leaves {len(lessons)} to learn from "
            f"and {len(others)} to compare on; both need 2"
        )
    return frozenset(lessons), frozenset(others[: config.audit])


def _caption(
    dataset: Dataset,
    job: CaptionJob,
    run: Run,
    engine: Engine,
    quiet: bool,
    *,
    only: Collection[str] | None = None,
    fill: bool = False,
) -> CaptionSummary:
    plan = plan_captions(dataset, job, only=only, fill=fill)
    return caption_stage(dataset, job, plan, run, engine, quiet=quiet)


def _train(
    dataset: Dataset,
    teachers: dict[str, CaptionJob],
    training: TrainingConfig,
    config: DistillConfig,
    out: Path,
    device: str,
    say: Callable[[str], None],
) -> None:
    from captioner.training import train_captioner
    from captioner.training_clips import DatasetSource

    settings = distillation_stages(training, config.kinds)
    prefer = sorted({job.identity.id for job in teachers.values()})
    source = DatasetSource(dataset, frames_of(settings), prefer=prefer, folder=out, seed=settings.seed)
    train_captioner(settings, source, out, device=device, say=say)


def _texts(dataset: Dataset, job: CaptionJob, *, status: str | None = None) -> dict[str, str]:
    where = (pc.field("kind") == job.config.kind) & (pc.field("captioner") == job.identity.id)
    if status:
        where &= pc.field("status") == status
    rows = dataset.read("captions", ["clip_id", "text"], where=where).to_pylist()
    return {row["clip_id"]: row["text"] for row in rows if row["text"]}


def _measure(speeds: dict[str, float], name: str, summary: CaptionSummary) -> None:
    if summary.done:  # what an earlier run measured stays, when this one had nothing to do
        speeds[name] = summary.done / max(summary.seconds, 1e-9)


def _known_speeds(out: Path) -> dict[str, float]:
    path = out / REPORT
    return json.loads(path.read_text(encoding="utf-8"))["captions_per_s"] if path.exists() else {}


def _write(out: Path, reports: dict[str, KindReport], speeds: dict[str, float]) -> None:
    tree: dict[str, Any] = {
        "captions_per_s": speeds,
        "kinds": {kind: asdict(report) for kind, report in reports.items()},
    }
    partial = out / f".{REPORT}.{os.getpid()}"
    partial.write_text(json.dumps(tree, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, out / REPORT)
