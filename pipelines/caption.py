"""The caption job: caption what is planned, batch by batch on the engine, and commit each batch as it comes.

A crash loses the batches under way and nothing else; the same command does the rest.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from captioner.caption_commit import Committed, commit_batch
from captioner.caption_job import CaptionJob
from captioner.caption_plan import CaptionPlan
from captioner.duplicates import text_key
from captioner.recaption import BatchDone, caption_batch, close_all, failed_batch
from curate.errors import CaptionerError
from curate.tables import Dataset
from pipelines.engine import Engine, Raised, Workers
from pipelines.progress import StageReport, stage
from pipelines.run import Run

_REFUSALS_BORNE = 0.05
"""Share of batches that the alignment gate may refuse before the job stops."""
_SLIPS_BORNE = 3
"""Batches that may break off at the start before the job stops."""


@dataclass(slots=True)
class CaptionSummary:
    """What a caption job did so far."""

    run_id: str
    planned: int = 0
    states: Counter[str] = field(default_factory=Counter)
    """Clips by what became of them: ok, rejected, failed, or kept_older where an accepted caption stayed."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why captions were rejected; one may have several reasons."""
    errors: Counter[str] = field(default_factory=Counter)
    """Kinds of errors of failed captions."""
    flags: Counter[str] = field(default_factory=Counter)
    demoted: int = 0
    """Captions of earlier runs that were accepted then, and rejected now that their words occur too often."""
    prompt_tokens: int = 0
    output_tokens: int = 0
    num_words: int = 0
    batches: int = 0
    compared_batches: int = 0
    """Batches that were compared with their clips at all."""
    refused_batches: int = 0
    """Batches whose captions fit their clips no better than shuffled ones."""
    texts: set[int] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def done(self) -> int:
        """Clips that were dealt with."""
        return self.states.total()

    def add(self, done: BatchDone, committed: Committed) -> None:
        """Count a batch."""
        self.batches += 1
        self.compared_batches += done.alignment_z is not None
        self.refused_batches += done.refused
        self.states["kept_older"] += committed.kept_older
        for row in committed.rows:
            self.states[row["status"]] += 1
            self.reasons.update(row.get("reasons") or ())
            self.flags.update(row.get("flags") or ())
            if row["status"] == "ok":
                self.num_words += row["num_words"]
                self.texts.add(text_key(row["text"]))
            elif row["status"] == "failed":
                self.errors[row["error_kind"]] += 1
        for row in committed.demoted:
            if row["run_id"] != self.run_id:
                self.demoted += 1
                continue
            self.states["ok"] -= 1
            self.states["rejected"] += 1
            self.reasons.update(row["reasons"])
            self.num_words -= row["num_words"]
            self.texts.discard(text_key(row["text"]))
        self.prompt_tokens += sum(row.get("prompt_tokens") or 0 for row in done.rows)
        self.output_tokens += sum(row.get("output_tokens") or 0 for row in done.rows)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        seconds = max(self.seconds, 1e-9)
        return {
            "planned": self.planned,
            **{state: self.states[state] for state in ("ok", "rejected", "failed", "kept_older")},
            "demoted": self.demoted,
            "reasons": dict(self.reasons),
            "errors": dict(self.errors),
            "flags": dict(self.flags),
            "distinct_texts": len(self.texts),
            "mean_words": round(self.num_words / max(1, self.states["ok"]), 1),
            "captions_per_s": round(self.done / seconds, 3),
            "prompt_tokens": self.prompt_tokens,
            "output_tokens": self.output_tokens,
            "output_tokens_per_s": round(self.output_tokens / seconds, 1),
            "batches": self.batches,
            "compared_batches": self.compared_batches,
            "refused_batches": self.refused_batches,
            "seconds": round(self.seconds, 2),
        }


def caption_dataset(
    dataset: Dataset,
    job: CaptionJob,
    plan: CaptionPlan,
    engine: Engine,
    *,
    run_id: str,
    progress: Callable[[CaptionSummary], None] | None = None,
) -> CaptionSummary:
    """Caption what is planned.

    Raises CaptionerError when no clip is answered any more, when captions do not fit their clips, and when batches
    broke off by a fault of ours. What was done until then is stored.
    """
    summary = CaptionSummary(run_id, planned=len(plan.todo))
    began = time.monotonic()
    slips: list[str] = []
    try:
        function = partial(caption_batch, job=job, root=dataset.uri)
        batches = plan.batches(job.batch)
        done = engine.run(function, batches, workers=workers_of(job), apart=lambda batch: [[clip] for clip in batch])
        with closing(done) as outcomes:  # nothing is at work any more when captioners are let go
            for batch, outcome in outcomes:
                if isinstance(outcome, Raised) and outcome.kind == "crashed":
                    outcome = failed_batch(batch, outcome.kind, outcome.message, job=job)
                if isinstance(outcome, Raised):
                    slips.append(outcome.message)
                    if summary.batches == 0 and len(slips) >= _SLIPS_BORNE:
                        break  # nothing works: the rest would break off as well
                    continue
                summary.add(outcome, commit_batch(dataset, job, plan, outcome.rows, run_id=run_id))
                summary.seconds = time.monotonic() - began
                if progress is not None:
                    progress(summary)
                _stop_if_hopeless(outcome, summary, job)
    finally:
        close_all()
        dataset.compact("captions")
    if slips:
        raise CaptionerError(f"{len(slips)} of {summary.batches + len(slips)} batches broke off; the first: {slips[0]}")
    if summary.refused_batches:
        raise CaptionerError(_misfit(summary, job))
    return summary


def caption_stage(
    dataset: Dataset, job: CaptionJob, plan: CaptionPlan, run: Run, engine: Engine, *, quiet: bool = False
) -> CaptionSummary:
    """`caption_dataset` as a stage of a recorded run, with a bar and a line."""
    report = StageReport("caption", total=len(plan.todo), unchanged=plan.counts["done"])
    run.begin()
    run.reports.append(report)
    advanced = 0
    with stage(report, quiet=quiet) as advance:

        def show(summary: CaptionSummary) -> None:
            nonlocal advanced
            for _ in range(summary.done - advanced):
                advance()
            advanced = summary.done
            _fill(report, summary)

        return caption_dataset(dataset, job, plan, engine, run_id=run.run_id, progress=show)


def _fill(report: StageReport, summary: CaptionSummary) -> None:
    report.done = summary.states["ok"]
    report.failed = summary.errors
    seconds = max(summary.seconds, 1e-9)
    report.numbers = {
        **{f"rejected ({reason})": count for reason, count in summary.reasons.most_common()},
        **({"kept older": summary.states["kept_older"]} if summary.states["kept_older"] else {}),
        "distinct": len(summary.texts),
        "captions/s": round(summary.done / seconds, 2),
        "output tokens/s": round(summary.output_tokens / seconds, 1),
    }


def workers_of(job: CaptionJob) -> Workers:
    """Where a captioner runs: one process speaks to a server, every GPU or core holds a model of its own."""
    return Workers(
        most=1 if job.config.captioner.startswith("openai:") else None,
        wants_gpu=job.identity.wants_gpu,
        threads=job.identity.num_threads,
    )


def _stop_if_hopeless(done: BatchDone, summary: CaptionSummary, job: CaptionJob) -> None:
    failed = [row for row in done.rows if row["status"] == "failed" and row["error_kind"] == "captioner"]
    if done.rows and len(failed) == len(done.rows):
        raise CaptionerError(
            f"{job.identity.id} answered none of {len(failed)} clips: {failed[0]['error']}. "
            f"{summary.states['ok']} captions are stored; run the same command again to go on."
        )
    if summary.refused_batches > max(1, _REFUSALS_BORNE * summary.batches):
        raise CaptionerError(_misfit(summary, job))


def _misfit(summary: CaptionSummary, job: CaptionJob) -> str:
    return (
        f"the captions of {summary.refused_batches} of {summary.compared_batches} batches fit their own clips no "
        f"better than shuffled ones, as {job.scorer_id} sees it; they are stored as rejected (misaligned). Look at "
        "some, mend the captioner or choose another caption.scorer, then run again with --redo rejected."
    )
