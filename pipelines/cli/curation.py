"""Verbs that make a dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from curate.errors import UsageError
from curate.tables import Dataset
from pipelines.cli.options import (
    AddressOpt,
    ConfigOpt,
    DatasetArg,
    DryRunOpt,
    HttpOpt,
    InputsArg,
    Job,
    JsonOpt,
    LocalOpt,
    RetryOpt,
    SetOpt,
    StrictOpt,
)
from pipelines.cli.output import write_json, write_table


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this module to the command."""
    for verb in (curate, scan, split, score, decide, cut, retry):
        app.command()(verb)


def curate(
    sources: InputsArg = None,
    out: Annotated[str, typer.Option("--out", "-o", help="Dataset to make or add to.")] = "",
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    allow_http: HttpOpt = False,
    retry: RetryOpt = False,
    dry_run: DryRunOpt = False,
    strict: StrictOpt = False,
    json: JsonOpt = False,
) -> int:
    """Scan, split, score and decide in one go; run again, it does only what is missing or out of date.

    Example: reelwright curate footage/ --out dataset
    """
    if not out:
        raise UsageError("name the dataset to write: reelwright curate SOURCE... --out DATASET")
    from pipelines import curation

    job = Job(out, config, set_, section=None, address=address, local=local, allow_http=allow_http)
    if dry_run:
        return job.print_scan_plan(sources or [], retry)
    with job.running("curate") as (run, engine):
        funnel = curation.curate(sources or [], job.dataset, job.settings, run, engine, retry=retry, quiet=json)
    return job.finish(run, strict, json, funnel)


def scan(
    dataset: DatasetArg,
    sources: InputsArg = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    allow_http: HttpOpt = False,
    retry: RetryOpt = False,
    dry_run: DryRunOpt = False,
    strict: StrictOpt = False,
    json: JsonOpt = False,
) -> int:
    """Read and measure sources: one decode per video, everything later stages need is stored.

    Example: reelwright scan dataset footage/ more/*.mp4
    """
    from pipelines import curation

    job = Job(dataset, config, set_, section="scan", address=address, local=local, allow_http=allow_http)
    if dry_run:
        return job.print_scan_plan(sources or [], retry)
    with job.running("scan") as (run, engine):
        curation.scan(sources or [], job.dataset, job.settings, run, engine, retry=retry, quiet=json)
    return job.finish(run, strict, json)


def split(
    dataset: DatasetArg,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    dry_run: DryRunOpt = False,
    json: JsonOpt = False,
) -> int:
    """Divide videos into scenes and clips, from stored signals: no video is decoded.

    Example: reelwright split dataset --set min_s=2 --set max_s=8
    """
    from pipelines import curation

    job = Job(dataset, config, set_, section="split", address=address, local=local)
    job.dataset.require()
    if dry_run:
        due, unchanged, gone = curation.split_plan(job.dataset, job.settings)
        return job.print_plan({"videos to split": len(due), "unchanged": unchanged, "to forget": len(gone)})
    with job.running("split") as (run, engine):
        curation.split(job.dataset, job.settings, run, engine, quiet=json)
    return job.finish(run, False, json)


def score(
    dataset: DatasetArg,
    functions: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FUNCTION]...", help="module:function of your own; default: those called before."),
    ] = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    retry: RetryOpt = False,
    dry_run: DryRunOpt = False,
    strict: StrictOpt = False,
    json: JsonOpt = False,
) -> int:
    """Call functions of your own for every clip, on stored frames and signals; see docs/extending.md.

    Rules, queries and the model know the result by the function's name.

    Example: reelwright score dataset my_scores:greenness
    """
    from curate.own_scores import known_functions
    from pipelines import curation

    target = Dataset(dataset).require()
    wanted = functions or ([] if config else list(known_functions(target).values()))
    overrides = [*([f"score.functions={wanted}"] if wanted else []), *(set_ or [])]
    job = Job(dataset, config, overrides, section="score", address=address, local=local)
    if not job.settings.score.functions:
        raise UsageError("name a function: reelwright score DATASET module:function")
    if dry_run:
        due, unchanged = job.scores_due(retry)
        return job.print_plan({"scores to compute": due, "unchanged": unchanged})
    with job.running("score") as (run, engine):
        curation.score(job.dataset, job.settings, run, engine, retry=retry, quiet=json)
    return job.finish(run, strict, json)


def decide(
    dataset: DatasetArg,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    dry_run: DryRunOpt = False,
    curves: Annotated[bool, typer.Option(help="Print the hours kept for other limits of each rule.")] = True,
    json: JsonOpt = False,
) -> int:
    """Apply rules to the stored scores; prints the funnel and the yield of other limits.

    Example: reelwright decide dataset --set motion.min=0.01 --set aspect=false
    """
    from curate.decide import decide as decide_all
    from curate.decide import yield_curves
    from pipelines import curation

    job = Job(dataset, config, set_, section="decide")
    job.dataset.require()
    if dry_run:
        funnel = decide_all(job.dataset, job.settings.decide, run_id="", dry_run=True)
        job.print_settings()
    else:
        with job.running("decide") as (run, _):
            funnel = curation.decide(job.dataset, job.settings, run, quiet=json)
    found = yield_curves(job.dataset, job.settings.decide) if curves else None
    if json:
        write_json({"funnel": funnel.to_pylist(), "curves": found.to_pylist() if found else None})
    else:
        write_table(funnel, title="Clips")
        if found:
            write_table(found, title="Hours kept for other limits")
    return 0


def cut(
    dataset: DatasetArg,
    mode: Annotated[str | None, typer.Option(help="virtual, copy or reencode.")] = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    retry: RetryOpt = False,
    dry_run: DryRunOpt = False,
    strict: StrictOpt = False,
    json: JsonOpt = False,
) -> int:
    """Cut kept clips: virtual spans, copied packets, or re-encoded files of exactly the planned frames.

    Example: reelwright cut dataset --mode reencode --set encoding.codec=hevc
    """
    from pipelines import curation

    overrides = [*(set_ or []), *([f"cut.mode={mode}"] if mode else [])]
    job = Job(dataset, config, overrides, section="cut", address=address, local=local)
    job.dataset.require()
    if dry_run:
        due, unchanged, gone = curation.cut_plan(job.dataset, job.settings, retry=retry)
        return job.print_plan({"clips to cut": len(due), "unchanged": unchanged, "to forget": len(gone)})
    with job.running("cut") as (run, engine):
        curation.cut(job.dataset, job.settings, run, engine, retry=retry, quiet=json)
    return job.finish(run, strict, json)


def retry(
    dataset: DatasetArg,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    address: AddressOpt = None,
    local: LocalOpt = False,
    allow_http: HttpOpt = False,
    strict: StrictOpt = False,
    json: JsonOpt = False,
) -> int:
    """Do again what failed before, then split and decide.

    Example: reelwright retry dataset --set scan.limits.wall_s=7200
    """
    Dataset(dataset).require()
    return curate([], dataset, config, set_, address, local, allow_http, True, False, strict, json)
