"""Curating in this process, and what a dataset holds, for comparison."""

from contextlib import contextmanager
from pathlib import Path

from curate.schema import TABLES
from curate.tables import Dataset
from pipelines import curation
from pipelines.engine import Engine
from pipelines.run import recorded_run
from pipelines.settings import Settings


@contextmanager
def running(dataset: Dataset, settings: Settings):
    with recorded_run(dataset, "test", settings.to_toml()) as run, Engine(settings.engine) as engine:
        yield run, engine


def curate(footage: Path | list[Path], out: Path, *overrides: str, retry: bool = False) -> dict[str, dict]:
    """Curate without Ray; returns the report of each stage."""
    inputs = footage if isinstance(footage, list) else [footage]
    settings = Settings.load(None, ["engine.local=true", *overrides])
    with running(Dataset(out), settings) as (run, engine):
        curation.curate([str(path) for path in inputs], run.dataset, settings, run, engine, retry=retry, quiet=True)
        return {report.stage: report.as_dict() for report in run.reports}


def contents(out: Path) -> dict[str, list[dict]]:
    """All rows of all tables but `runs`, without the run that wrote them."""
    dataset = Dataset(out)
    return {
        name: [{key: value for key, value in row.items() if key != "run_id"} for row in dataset.read(name).to_pylist()]
        for name in TABLES
        if name != "runs"
    }
