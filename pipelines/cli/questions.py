"""Verbs that ask a dataset."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from curate.errors import UsageError
from curate.schema import TABLES
from curate.tables import Dataset
from pipelines.cli.options import ConfigOpt, DatasetArg, FormatOpt, Job, JsonOpt, SetOpt
from pipelines.cli.output import Format, write_json, write_table


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this module to the command."""
    for verb in (query, stats, explain, failures, check, diff, export, schema):
        app.command()(verb)


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

    job = Job(dataset, config, set_, section="decide")
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
    table: Annotated[str | None, typer.Argument(help="One table; default: all.")] = None,
    json: JsonOpt = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/manifest.md.")] = False,
) -> int:
    """Every table and column, each with a sentence.

    Example: reelwright schema clips
    """
    from pipelines.cli.schema_page import schema_page

    if table is not None and table not in TABLES:
        raise UsageError(f"no table {table!r}; tables: {', '.join(TABLES)}")
    chosen = [TABLES[table]] if table else list(TABLES.values())
    if json:
        write_json({found.name: {column.name: str(column.type) for column in found.columns} for found in chosen})
        return 0
    if markdown:
        print(schema_page(), end="")
        return 0
    for found in chosen:
        print(f"{found.name}: {found.doc}")
        width = max(len(column.name) for column in found.columns)
        for column in found.columns:
            print(f"  {column.name:<{width}}  {column.type!s:<24}  {column.doc}")
        print()
    return 0
