"""Verbs of the captioner half."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.config import build
from curate.errors import UsageError
from curate.tables import Dataset
from pipelines.cli.captioner_training import verbs
from pipelines.cli.options import AddressOpt, ConfigOpt, DatasetArg, DryRunOpt, JsonOpt, LocalOpt, SetOpt, StrictOpt
from pipelines.cli.output import write_json, write_table


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this module to the command."""
    app.command()(caption)
    verbs.command()(distill)
    app.add_typer(verbs, name="captioner")


def caption(
    dataset: DatasetArg,
    captioner: Annotated[
        str | None,
        typer.Option(
            help="Who writes: coca:PATH, hf:NAME_OR_PATH, openai:URL#MODEL, template:TRUTH.json; "
            "original (text that came with the input), compose (prose from structured captions), "
            "measured (what the scan measured), python:MODULE:NAME "
            "(your own)."
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="What is written: short, medium, descriptive (default), structured, alt, human.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="An instruction instead of the built-in one.")] = None,
    redo: Annotated[
        list[str] | None,
        typer.Option(help="Do again what is up to date but: failed (default), rejected, ok. May be repeated."),
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="Only clips that have no accepted caption of this kind by anybody.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips.")] = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    dry_run: DryRunOpt = False,
    strict: StrictOpt = False,
    json: JsonOpt = False,
) -> int:
    """Caption the kept clips; run again, it does only what is missing, failed or out of date.

    --dry-run captions a few clips without storing anything, and predicts time, tokens and cost.

    Example: reelwright caption dataset --captioner openai:http://localhost:8000/v1#Qwen/Qwen2.5-VL-7B-Instruct
    """
    from captioner.caption_job import resolve
    from captioner.caption_plan import plan_captions
    from pipelines.caption import caption_stage
    from pipelines.caption_settings import CaptionSettings
    from pipelines.engine import Engine
    from pipelines.run import recorded_run

    settings = CaptionSettings.load(
        config,
        set_ or [],
        caption={"captioner": captioner, "kind": kind, "prompt": prompt},
        engine={"local": local or None, "address": address},
    )
    target = Dataset(dataset).require()
    job = resolve(settings.caption)
    plan = plan_captions(target, job, redo=redo or ("failed",), fill=fill, limit=limit)
    if dry_run:
        return _print_prediction(target, settings, job, plan, json)
    with recorded_run(target, "caption", settings.to_toml()) as run, Engine(settings.engine) as engine:
        summary = caption_stage(target, job, plan, run, engine, quiet=json)
    if json:
        write_json({"run_id": run.run_id, **summary.as_dict()})
    return 1 if strict and summary.states["ok"] < summary.planned else 0


def distill(
    dataset: DatasetArg,
    teacher: Annotated[str, typer.Option(help="The strong captioner, for example openai:URL#MODEL or hf:NAME.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the captioner that is trained.")],
    share: Annotated[float, typer.Option(help="Share of the training clips that the teacher captions.")] = 0.1,
    audit: Annotated[int, typer.Option(help="Clips that both caption to compare them, at most.")] = 256,
    kind: Annotated[
        list[str] | None, typer.Option(help="Kinds of captions, in the order of learning; default short, descriptive.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Training: smoke, minutes or full.")] = "minutes",
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    json: JsonOpt = False,
) -> int:
    """Caption a share with a strong captioner, train ours on it, caption the rest, and say how alike they speak.

    --config and --set are those of `caption`, for the teacher. Run again, it goes on where it was.

    Example: reelwright captioner distill dataset --teacher hf:Qwen/Qwen2.5-VL-7B-Instruct --out runs/student
    """
    from captioner.training_config import PRESETS
    from curate.config import nearest
    from pipelines.caption_settings import CaptionSettings
    from pipelines.distill import REPORT, DistillConfig
    from pipelines.distill import distill as distill_all
    from pipelines.engine import Engine
    from pipelines.run import recorded_run

    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; {nearest(preset, PRESETS)}")
    recipe = {"share": share, "audit": audit, **({"kinds": tuple(kind)} if kind else {})}
    wanted = build(DistillConfig, recipe, where="distill")
    settings = CaptionSettings.load(
        config,
        set_ or [],
        caption={"captioner": teacher, "kind": wanted.kinds[0]},
        engine={"local": local or None, "address": address},
    )
    target = Dataset(dataset).require()
    with (
        recorded_run(target, "captioner distill", settings.to_toml()) as run,
        Engine(settings.engine) as engine,
    ):
        reports = distill_all(
            target, settings.caption, PRESETS[preset](), wanted, out, run, engine, quiet=json, say=_say(json)
        )
    if json:
        print((out / REPORT).read_text(encoding="utf-8"), end="")
    else:
        for each, report in reports.items():
            _print_distilled(each, report)
    return 1 if any(report.refused for report in reports.values()) else 0


def _say(json: bool) -> Any:
    return (lambda line: print(line, file=sys.stderr)) if json else print


def _print_distilled(kind: str, report: Any) -> None:
    import pyarrow as pa

    rates = (report.teacher_captions_per_s, report.student_captions_per_s)
    speeds = " and ".join(f"{rate:.2f}" if rate else "?" for rate in rates)
    print(f"{kind}: {report.taught} clips taught, {report.filled} filled; teacher and student: {speeds} captions/s")
    if report.refused:
        print(f"  {report.refused}")
    if report.agreement is None:
        print("  no agreement: fewer than two clips were captioned by both")
        return
    rows = [
        {
            "agreement": name.replace("_", " "),
            "reached": getattr(report.agreement.reached, name),
            "by chance": getattr(report.agreement.by_chance, name),
        }
        for name in ("facts_f1", "content_words", "rouge_l", "cider_d")
    ]
    write_table(pa.Table.from_pylist(rows), title=f"{report.agreement.clips} clips")


def _print_prediction(dataset: Dataset, settings: Any, job: Any, plan: Any, json: bool) -> int:
    from dataclasses import asdict

    from captioner.estimate import find_rates, predict

    rates = find_rates(plan.todo, job, dataset.uri, settings.estimate)
    estimate = predict(len(plan.todo), rates, settings.estimate) if rates else None
    if json:
        write_json(
            {"counts": plan.counts, "captions": len(plan.todo), "estimate": asdict(estimate) if estimate else None}
        )
        return 0
    print(settings.to_toml())
    print(f"# {job.identity.id}, revision {job.identity.revision}; prompt {job.prompt.id}; compared by {job.scorer_id}")
    print(f"# captions to write: {len(plan.todo)}")
    for state, count in sorted(plan.counts.items()):
        print(f"# clips {state.replace('_', ' ')}: {count}")
    if estimate is None or rates is None:
        print(
            "# no prediction: nothing to do, or nothing measured (estimate.pilot) or stated (estimate.captions_per_s)"
        )
        return 0
    print(f"# rate: {rates.captions_per_s:.2f} captions/s, {rates.basis}")
    for name in ("prompt_tokens", "output_tokens"):
        each, total = getattr(rates, name), getattr(estimate, name)
        if each is not None:
            print(f"# {name.replace('_', ' ')}: {each:.0f} a caption, {total:.0f} in all")
    print(f"# time: {_duration(estimate.seconds)}")
    if estimate.price is not None:
        print(f"# price: {estimate.price:.2f}")
    return 0


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
