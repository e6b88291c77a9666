"""Verbs that make a dataset and ask it questions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from curate.errors import UsageError
from curate.schema import TABLES
from curate.tables import Dataset
from pipelines.cli.output import Format, write_json, write_table

DatasetArg = Annotated[str, typer.Argument(metavar="DATASET", help="Folder or s3:// prefix of the dataset.")]
InputsArg = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SOURCE]...", help="Files, folders, globs, lists (txt, csv, parquet), s3:// or http(s)://."
    ),
]
ConfigOpt = Annotated[Path | None, typer.Option("--config", help="TOML file with a section per stage.")]
SetOpt = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, for example split.min_s=2.")
]
AddressOpt = Annotated[str | None, typer.Option(help="Ray cluster to run on, for example auto. Default: this machine.")]
LocalOpt = Annotated[bool, typer.Option("--local", help="Run in this process, without Ray.")]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Print settings and what would be done; change nothing.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
StrictOpt = Annotated[bool, typer.Option("--strict", help="Exit with status 1 when any footage is broken.")]
HttpOpt = Annotated[bool, typer.Option("--allow-http", help="Fetch http:// and https:// sources.")]
RetryOpt = Annotated[bool, typer.Option("--retry", help="Do again what failed before.")]
FormatOpt = Annotated[Format, typer.Option("--format", "-f", help="How to print.")]


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this module to the command."""
    for verb in (
        demo,
        curate,
        scan,
        split,
        decide,
        cut,
        retry,
        query,
        stats,
        explain,
        failures,
        check,
        diff,
        export,
        schema,
    ):
        app.command()(verb)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for footage and dataset.")] = Path("demo-out"),
    seconds: Annotated[float, typer.Option(help="Length of the footage to draw.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Another seed draws other footage.")] = 0,
    set_: SetOpt = None,
    local: LocalOpt = False,
) -> int:
    """Draw footage, curate it and ask it a question; run again, it goes on where it stopped.

    Example: reelwright demo --out demo-out
    """
    from pipelines.demo import run_demo

    job = _Job(str(out / "dataset"), None, set_, section=None, local=local)
    run_demo(out, job.settings, seconds=seconds, seed=seed)
    return 0


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
    """Scan, split and decide in one go; run again, it does only what is missing or out of date.

    Example: reelwright curate footage/ --out dataset
    """
    if not out:
        raise UsageError("name the dataset to write: reelwright curate SOURCE... --out DATASET")
    from pipelines import curation

    job = _Job(out, config, set_, section=None, address=address, local=local, allow_http=allow_http)
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

    job = _Job(dataset, config, set_, section="scan", address=address, local=local, allow_http=allow_http)
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

    job = _Job(dataset, config, set_, section="split", address=address, local=local)
    job.dataset.require()
    if dry_run:
        due, unchanged, gone = curation.split_plan(job.dataset, job.settings)
        return job.print_plan({"videos to split": len(due), "unchanged": unchanged, "to forget": len(gone)})
    with job.running("split") as (run, engine):
        curation.split(job.dataset, job.settings, run, engine, quiet=json)
    return job.finish(run, False, json)


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

    job = _Job(dataset, config, set_, section="decide")
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
    job = _Job(dataset, config, overrides, section="cut", address=address, local=local)
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


def query(
    dataset: DatasetArg,
    sql: Annotated[str, typer.Argument(help="One SQL statement over the tables and views; - reads standard input.")],
    format: FormatOpt = Format.table,
    as_of: Annotated[
        str | None, typer.Option(help="The tables as they were at the end of a run; -1 is the last.")
    ] = None,
) -> int:
    """Ask the tables anything, in SQL (DuckDB).

    Example: reelwright query dataset "select reason, count(*) as clips from decisions group by all"
    """
    from curate.query import query as ask
    from curate.stats import versions_at

    opened = Dataset(dataset).require()
    statement = sys.stdin.read() if sql == "-" else sql
    write_table(ask(opened, statement, versions_at(opened, as_of) if as_of else None), format)
    return 0


def stats(dataset: DatasetArg, format: FormatOpt = Format.table) -> int:
    """Sources, scenes and clips by state and reason.

    Example: reelwright stats dataset
    """
    from curate.stats import funnel

    write_table(funnel(Dataset(dataset)), format)
    return 0


def explain(
    dataset: DatasetArg,
    name: Annotated[str, typer.Argument(metavar="ID", help="A uri, the end of a path, or (the beginning of) any id.")],
    config: ConfigOpt = None,
    set_: SetOpt = None,
    json: JsonOpt = False,
) -> int:
    """Everything that is known about a source, video, scene or clip, and why it ended as it did.

    Example: reelwright explain dataset holiday.mp4
    """
    from curate.explain import explain as explain_one
    from pipelines.cli.explained import print_explained

    job = _Job(dataset, config, set_, section="decide")
    found = explain_one(job.dataset, name, job.settings.decide)
    if json:
        write_json(found)
    else:
        print_explained(found)
    return 0


def failures(dataset: DatasetArg, format: FormatOpt = Format.table) -> int:
    """Everything that went wrong, each with its kind and a message.

    Example: reelwright failures dataset --format csv
    """
    from curate.stats import failures as list_failures

    write_table(list_failures(Dataset(dataset)), format)
    return 0


def check(dataset: DatasetArg, json: JsonOpt = False) -> int:
    """Prove that nothing was lost: every source, scene and clip has one state, and all counts add up.

    Example: reelwright check dataset
    """
    from curate.check import check as check_all

    found = check_all(Dataset(dataset))
    if json:
        keys = ("rule", "id", "problem")
        violations = [dict(zip(keys, row, strict=True)) for row in found.violations]
        write_json({"holds": found.holds, "counts": found.counts, "violations": violations})
    else:
        for level, by_state in found.counts.items():
            states = ", ".join(f"{count} {state}" for state, count in by_state.items()) or "none"
            print(f"{level}: {sum(by_state.values())} = {states}")
        for rule, name, problem in found.violations:
            print(f"BROKEN {rule}: {name}: {problem}")
        print("nothing is lost" if found.holds else f"{len(found.violations)} violations")
    return 0 if found.holds else 1


def diff(
    dataset: DatasetArg,
    before: Annotated[str, typer.Argument(help="Run id (or its beginning), or -2 for the last but one.")],
    after: Annotated[str | None, typer.Argument(help="The same; default: now.")] = None,
    format: FormatOpt = Format.table,
) -> int:
    """Clips whose state or reason changed between the ends of two runs.

    Example: reelwright diff dataset -- -2 -1
    """
    from curate.stats import changes

    write_table(changes(Dataset(dataset), before, after), format)
    return 0


def export(
    dataset: DatasetArg,
    path: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.")],
    format: Annotated[str | None, typer.Option(help="parquet or csv; default: by the file's name.")] = None,
    where: Annotated[str | None, typer.Option(help="SQL condition on the view `kept`.")] = None,
) -> int:
    """Write one wide row per kept clip to a plain file.

    Example: reelwright export dataset clips.parquet --where "duration_s > 3 and split = 'train'"
    """
    from curate.export import export as write

    print(f"{write(Dataset(dataset), path, format=format, where=where)} clips in {path}")
    return 0


def schema(
    table: Annotated[str | None, typer.Argument(help="One table; default: all.")] = None, json: JsonOpt = False
) -> int:
    """Every table and column, each with a sentence.

    Example: reelwright schema clips
    """
    if table is not None and table not in TABLES:
        raise UsageError(f"no table {table!r}; tables: {', '.join(TABLES)}")
    chosen = [TABLES[table]] if table else list(TABLES.values())
    if json:
        write_json({found.name: {column.name: str(column.type) for column in found.columns} for found in chosen})
        return 0
    for found in chosen:
        print(f"{found.name}: {found.doc}")
        width = max(len(column.name) for column in found.columns)
        for column in found.columns:
            print(f"  {column.name:<{width}}  {column.type!s:<24}  {column.doc}")
        print()
    return 0


class _Job:
    """Dataset and settings of a verb that changes something."""

    def __init__(
        self,
        dataset: str,
        config: Path | None,
        overrides: list[str] | None,
        *,
        section: str | None,
        address: str | None = None,
        local: bool = False,
        allow_http: bool = False,
    ) -> None:
        from pipelines.settings import Settings

        self.dataset = Dataset(dataset)
        flags = [*(["engine.local=true"] if local else []), *(["scan.fetch.allow_http=true"] if allow_http else [])]
        flags += [f'engine.address="{address}"'] if address else []
        self.settings = Settings.load(config, [*(overrides or []), *flags], section=section)

    @contextmanager
    def running(self, verb: str) -> Iterator[tuple[Any, Any]]:
        """The record of the run, and the engine."""
        from pipelines.engine import Engine
        from pipelines.run import recorded_run

        with recorded_run(self.dataset, verb, self.settings.to_toml()) as run, Engine(self.settings.engine) as engine:
            yield run, engine

    def finish(self, run: Any, strict: bool, json: bool, funnel: Any = None) -> int:
        """Print the result and return the exit status: broken footage is data, unless it is asked to be an error."""
        if json:
            stages = {report.stage: report.as_dict() for report in run.reports}
            write_json({"run_id": run.run_id, "stages": stages, "funnel": funnel.to_pylist() if funnel else None})
        elif funnel is not None:
            write_table(funnel, title="Clips")
        failed = sum(report.failed.total() for report in run.reports)
        return 1 if strict and failed else 0

    def print_settings(self) -> None:
        print(self.settings.to_toml())

    def print_plan(self, counts: dict[str, Any]) -> int:
        self.print_settings()
        for what, count in counts.items():
            print(f"# {what}: {count}")
        return 0

    def print_scan_plan(self, sources: list[str], retry: bool) -> int:
        from pipelines import curation

        planned, listing = curation.plan(sources, self.dataset, self.settings, "", retry=retry)
        due, unchanged, gone = curation.split_plan(self.dataset, self.settings)
        return self.print_plan(
            {
                "sources to read and decode": f"{len(planned.to_scan)} ({planned.size_bytes / 2**20:.1f} MiB)",
                "sources unchanged": planned.unchanged,
                "files passed over by name": sum(listing.skipped.values()),
                "known videos to split again": f"{len(due)} of {len(due) + unchanged}",
                "videos to forget": len(gone),
            }
        )
