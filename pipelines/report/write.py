"""Write the report of a dataset or of a training run: one HTML file that opens without a network."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

from curate.errors import UsageError
from curate.tables import Dataset
from pipelines.report.dataset_page import ReportConfig, dataset_page
from pipelines.report.page import write_page
from pipelines.report.run_page import is_run, run_page


def write_report(target: str, out: Path | None = None, config: ReportConfig | None = None) -> Path:
    """Write the report of what `target` is, and return where it lies; by default in the folder itself.

    Raises UsageError when `target` is neither a dataset nor the folder of a training run.
    """
    config = config or ReportConfig()
    now = datetime.now(timezone.utc)
    folder = Path(target).expanduser()
    if "://" not in target and is_run(folder):
        html = run_page(folder, config.title, now=now)
    else:
        dataset = Dataset(target)
        if not dataset.exists():
            raise UsageError(f"{target}: neither a dataset nor the folder of a training run")
        if out is None and not dataset.is_local:
            raise UsageError(f"{target}: name a file for the report of a dataset in a store: --out report.html")
        html, folder = dataset_page(dataset, config, now=now), Path(dataset.uri)
    path = out or folder / "report.html"
    write_page(path, html)
    return path
