"""What verbs have in common: options, and the dataset and settings of a verb that changes something."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

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


class Job:
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
        from curate.own_scores import known_functions
        from pipelines.settings import Settings

        self.dataset = Dataset(dataset)
        flags = [*(["engine.local=true"] if local else []), *(["scan.fetch.allow_http=true"] if allow_http else [])]
        flags += [f'engine.address="{address}"'] if address else []
        own = known_functions(self.dataset)
        self.settings = Settings.load(config, [*(overrides or []), *flags], section=section, own_scores=own)

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

    def scores_due(self, retry: bool) -> tuple[int, int]:
        """Scores of the user's own that would be computed, and those that are up to date."""
        from curate.own_scores import plan_scores

        due, unchanged = plan_scores(self.dataset, self.settings.score, retry=retry)
        return sum(len(wanted) for clips in due.values() for wanted in clips.values()), unchanged

    def print_scan_plan(self, sources: list[str], retry: bool) -> int:
        from pipelines import curation

        planned, listing = curation.plan(sources, self.dataset, self.settings, "", retry=retry)
        due, unchanged, gone = curation.split_plan(self.dataset, self.settings)
        scores = (
            {"scores of known clips to compute": self.scores_due(retry)[0]} if self.settings.score.functions else {}
        )
        return self.print_plan(
            {
                "sources to read and decode": f"{len(planned.to_scan)} ({planned.size_bytes / 2**20:.1f} MiB)",
                "sources unchanged": planned.unchanged,
                "files passed over by name": sum(listing.skipped.values()),
                "known videos to split again": f"{len(due)} of {len(due) + unchanged}",
                "videos to forget": len(gone),
                **scores,
            }
        )
