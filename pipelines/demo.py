"""The demo: footage drawn here, with its ground truth, through the curation stages, and a question to the result."""

from __future__ import annotations

import sys
from pathlib import Path

from curate.query import query
from curate.tables import Dataset
from pipelines import curation
from pipelines.cli.output import write_table
from pipelines.engine import Engine
from pipelines.run import recorded_run
from pipelines.settings import Settings

QUESTION = (
    "select camera_motion, count(*) as clips, round(sum(duration_s), 1) as seconds, round(avg(motion), 3) as motion "
    "from kept group by all order by clips desc, camera_motion"
)


def run_demo(out: Path, settings: Settings, *, seconds: float = 120.0, seed: int = 0) -> None:
    """Draw footage below `out`, curate it, and print the funnel, the failures and the answer to a query.

    Run again, it goes on where it stopped: drawing is skipped when the footage is there, and so is what was curated.
    """
    footage, dataset = out / "footage", Dataset(out / "dataset")
    if not (footage / "truth.json").exists():  # written last
        from curate.drawn.footage import draw_footage

        _say(f"drawing {seconds:g} s of footage, with broken files among it, in {footage}")
        draw_footage(footage, seconds=seconds, seed=seed)
    listed = footage / "footage.csv"
    _say(f"reelwright curate {listed} --out {dataset.uri}")
    with recorded_run(dataset, "demo", settings.to_toml()) as run, Engine(settings.engine) as engine:
        funnel = curation.curate([str(listed)], dataset, settings, run, engine)
    write_table(funnel, title="What became of every clip")
    _say(f'reelwright query {dataset.uri} "{QUESTION}"')
    write_table(query(dataset, QUESTION))
    _say(f"ask more: reelwright query|stats|explain|failures|check {dataset.uri}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
