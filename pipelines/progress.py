"""What a person sees of long work: a bar with rate and remaining time on a terminal, one line per stage anywhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class StageReport:
    """What one stage did."""

    stage: str
    total: int = 0
    done: int = 0
    unchanged: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Error kind to number."""
    numbers: dict[str, Any] = field(default_factory=dict)
    """Further counts, by name."""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return {
            "total": self.total,
            "done": self.done,
            "unchanged": self.unchanged,
            "failed": dict(self.failed),
            **self.numbers,
            "seconds": round(self.seconds, 3),
        }

    def line(self) -> str:
        """The one line of the stage."""
        parts = [f"{self.done} done"] if self.done or not self.unchanged else []
        if self.failed:
            kinds = ", ".join(f"{kind} {count}" for kind, count in self.failed.most_common())
            parts.append(f"{self.failed.total()} failed ({kinds})")
        if self.unchanged:
            parts.append(f"{self.unchanged} unchanged")
        parts += [f"{value} {name}" for name, value in self.numbers.items()]
        return f"{self.stage:<7} {', '.join(parts)}, {self.seconds:.1f} s"


@contextmanager
def stage(report: StageReport, *, quiet: bool = False) -> Iterator[Callable[[], None]]:
    """Time a stage, show a bar while it runs when standard error is a terminal, and print its line at the end.

    Yields a function to be called once for every item that is done.
    """
    began = time.monotonic()
    try:
        if quiet or not report.total or not sys.stderr.isatty():
            yield lambda: None
        else:
            with _bar(report) as advance:
                yield advance
    finally:
        report.seconds = time.monotonic() - began
        if not quiet:
            print(report.line(), file=sys.stderr)


@contextmanager
def _bar(report: StageReport) -> Iterator[Callable[[], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.1f}/s", style="progress.data.speed")

    columns = (
        TextColumn("{task.description:<7}"),
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TextColumn("[dim]left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(report.stage, total=report.total)
        yield lambda: progress.advance(task)
