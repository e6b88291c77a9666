"""The log of a training run, whoever trained: JSON lines with a step and numbers, read without asking for more.

`train.jsonl` is the video model's, `training/log.jsonl` the captioner's. Records belong to a part: the captioner's
stage, or the model's event (step, validation). A run that was stopped and went on from a checkpoint wrote some steps
twice: the later record counts, and what was logged beyond it before the stop is forgotten.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.report.charts import Point

LOGS = ("train.jsonl", "training/log.jsonl")

Record = dict[str, Any]


def log_path(run: Path) -> Path | None:
    """The log of a run folder, or None when it is none."""
    return next((run / name for name in LOGS if (run / name).is_file()), None)


def read_parts(path: Path) -> dict[str, list[Record]]:
    """Records by part, each in the order of steps."""
    parts: dict[str, list[Record]] = {}
    for record in _records(path):
        part = parts.setdefault(str(record.get("stage") or record.get("event") or "training"), [])
        while part and part[-1]["step"] >= record["step"]:
            part.pop()
        part.append(record)
    return parts


def points(records: list[Record], *names: str) -> list[Point]:
    """Step and value of a number in the records; names lead into dicts within."""
    found = []
    for record in records:
        value: Any = record
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        if _is_number(value):
            found.append((float(record["step"]), float(value)))
    return found


def rates(records: list[Record], name: str) -> list[Point]:
    """How much of a running total was done per second, from record to record; nothing where there is no total."""
    done = points(records, "total", name)
    seconds = dict(points(records, "total", "seconds"))
    return [
        (step, (amount - before) / (seconds[step] - seconds[earlier]))
        for (earlier, before), (step, amount) in itertools.pairwise(done)
        if seconds.get(step, 0) > seconds.get(earlier, math.inf)
    ]


def number_names(records: list[Record]) -> list[str]:
    """Names of the numbers in the records, in the order in which they appear."""
    return list(dict.fromkeys(name for record in records for name, value in record.items() if _is_number(value)))


def _records(path: Path) -> Iterator[Record]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:  # the last line of a run that was killed, or one that is being written
                continue
            if isinstance(record, dict) and _is_number(record.get("step")):
                yield record


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
