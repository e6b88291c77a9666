"""Verbs of the captioner half."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from curate.tables import Dataset
from pipelines.cli.captioner_training import verbs
from pipelines.cli.options import AddressOpt, ConfigOpt, DatasetArg, DryRunOpt, JsonOpt, LocalOpt, SetOpt, StrictOpt
from pipelines.cli.output import write_json


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this module to the command."""
    app.command()(caption)
    app.add_typer(verbs, name="captioner")


def caption(
    dataset: DatasetArg,
    captioner: Annotated[
        str | None,
        typer.Option(
            help="Who writes: coca:PATH, hf:NAME_OR_PATH, openai:URL#MODEL, template:TRUTH.json; "
            "original (text that came with the input) or compose (prose from structured captions)."
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
