"""The verb that shows a dataset or a training run as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import ConfigOpt, JsonOpt, SetOpt
from pipelines.cli.output import write_json


def add_verbs(app: typer.Typer) -> None:
    """Add the verb of this module to the command."""
    app.command()(report)


def report(
    target: Annotated[str, typer.Argument(metavar="DATASET|RUN", help="A dataset, or the folder of a training run.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Default: report.html in the folder.")] = None,
    config: ConfigOpt = None,
    set_: SetOpt = None,
    json: JsonOpt = False,
) -> int:
    """Write one HTML file that shows it all, and opens anywhere without a network.

    Of a dataset: the funnel, scores with their limits, contact sheets, captions, failures, runs. Of a training run:
    losses, samples, throughput.

    Example: reelwright report dataset --out report.html --set clips_per_reason=40
    """
    from curate.config import build, load_toml, with_overrides
    from pipelines.report.dataset_page import ReportConfig
    from pipelines.report.write import write_report

    dotted = [text if text.startswith("report.") else f"report.{text}" for text in set_ or []]
    tree = with_overrides(load_toml(config) if config else {}, dotted)
    path = write_report(target, out, build(ReportConfig, tree.get("report", {}), where="report"))
    num_bytes = path.stat().st_size
    if json:
        write_json({"path": str(path), "bytes": num_bytes})
    else:
        print(f"{path}, {num_bytes / 1e6:.1f} MB: open it in a browser")
    return 0
