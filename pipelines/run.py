"""The record of a command that changes a dataset: when, with which settings, and what came of it."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any

from curate.tables import Dataset
from pipelines.progress import StageReport


@dataclass(slots=True)
class Run:
    """A command under way. Its row is written when its first stage begins, and again when all ended well.

    A command that cannot start leaves no trace; one that was killed leaves a row whose `finished` is null.
    """

    dataset: Dataset
    verb: str
    config_toml: str
    run_id: str
    started: datetime
    reports: list[StageReport] = field(default_factory=list)
    begun: bool = False

    def begin(self) -> None:
        """Write the row of the run, once."""
        if not self.begun:
            self.dataset.replace_rows("runs", [self.run_id], [self._row()])
            self.begun = True

    def finish(self) -> None:
        """Write the row again, with counts and the versions of all tables."""
        ended = {
            "finished": datetime.now(timezone.utc),
            "counts": json.dumps({report.stage: report.as_dict() for report in self.reports}),
            "tables": json.dumps(self.dataset.versions()),
        }
        self.dataset.replace_rows("runs", [self.run_id], [{**self._row(), **ended}])

    def _row(self) -> dict[str, Any]:
        return {
            "run_id": self.run_id,
            "verb": self.verb,
            "started": self.started,
            "version": version("reelwright"),
            "config": self.config_toml,
        }


@contextmanager
def recorded_run(dataset: Dataset, verb: str, config_toml: str) -> Iterator[Run]:
    """A run that is finished when the block ends without an error."""
    started = datetime.now(timezone.utc)
    run = Run(dataset, verb, config_toml, f"{started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}", started)
    yield run
    run.finish()
