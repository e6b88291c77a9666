"""The page about a training run: losses by time and by noise level, what it made on the way, speed, settings."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines.report.charts import Point, lines, thinned
from pipelines.report.page import duration, number, render
from pipelines.report.run_log import Record, log_path, number_names, points, rates, read_parts

_MEDIA = {
    ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif",
    ".mp4": "video/mp4", ".webm": "video/webm",
}  # fmt: skip
_MAX_MEDIA_BYTES = 5_000_000
_MOST_ROWS = 8
_TEXTS = 4
_NOISE_POINTS = 40  # ten lines of training losses cross each other all the time: few means are easier to follow
_MODEL_LOSSES = {"step": "training", "validation": "held-out"}
_NOT_LOSSES = {"step", "seconds", "unique"}
_NOT_TOLD = {"cursor", "clip", "by_time", "counts", "version", "step"}  # of a checkpoint: the trainer's own business


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing, its heading, and the names of its lines with their CSS classes."""

    title: str
    svg: Markup
    legend: Sequence[tuple[str, str]]


def is_run(folder: Path) -> bool:
    """Whether this is the folder of a training run."""
    return log_path(folder) is not None


def run_page(folder: Path, title: str | None, *, now: datetime) -> str:
    """The page as HTML."""
    path = log_path(folder)
    assert path is not None, folder
    parts = read_parts(path)
    config = path.with_name("config.toml")
    facts = {
        "title": title or folder.resolve().name,
        "uri": str(folder.resolve()),
        "now": now,
        "tiles": _tiles(parts),
        "losses": _losses(parts),
        "noise": _by_noise_level(parts),
        "speed": _speed(parts),
        "texts": {part: _spread(_with_texts(records)) for part, records in parts.items() if _with_texts(records)},
        "num_texts": _TEXTS,
        "media": _media(folder / "samples"),
        "config": config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        "checkpoint": _checkpoint(folder),
        "events": _events(parts),
    }
    return render("run.html", facts)


def _tiles(parts: Mapping[str, list[Record]]) -> list[tuple[str, str]]:
    """Name and value of the figures at the top: those that the log has."""
    last = {part: records[-1] for part, records in parts.items()}
    stages = {part: record for part, record in last.items() if "stage" in record}
    totals: Mapping[str, Any] = {}
    for record in sorted(last.values(), key=lambda record: record["step"]):
        totals = record.get("total") or totals
    steps = sum(record["step"] for record in stages.values()) or max((r["step"] for r in last.values()), default=0)
    found: list[tuple[str, float | None]] = [("steps", int(steps))]
    found += [(f"{name} loss", last.get(part, {}).get("loss")) for part, name in _MODEL_LOSSES.items()]
    found += [(f"loss, stage {part}", record.get("caption")) for part, record in stages.items()]
    found += [("parameters", last.get("started", last.get("resumed", {})).get("parameters"))]
    found += [(name, int(totals[name])) for name in ("samples", "tokens") if totals.get(name)]
    seconds = totals.get("seconds") or sum(record.get("seconds") or 0 for record in stages.values())
    return [
        *((name, number(value)) for name, value in found if value is not None),
        *([("of computing", duration(seconds))] if seconds else []),
    ]


def _losses(parts: Mapping[str, list[Record]]) -> list[Chart]:
    """Losses of the model together, or of each stage of the captioner; then what else was measured of the training."""
    steps, validation = parts.get("step", []), parts.get("validation", [])
    series = {
        "training": points(steps, "loss"),
        "held out": points(validation, "raw_loss"),
        "held out, averaged weights": points(validation, "loss"),
    }
    charts = [
        _chart("Loss", series),
        _chart("Norm of the gradient", {"norm": points(steps, "grad_norm")}, from_zero=True),
        _chart("Learning rate", {"rate": points(steps, "lr")}, from_zero=True),
    ]
    for part, records in _stages(parts).items():
        names = [name for name in number_names(records) if name not in _NOT_LOSSES]
        charts.append(_chart(f"Loss, stage {part}", {name: points(records, name) for name in names}))
    shares = {part: points(records, "unique") for part, records in _stages(parts).items()}
    charts.append(_chart("Share of samples that differ from each other", shares, from_zero=True))
    return [chart for chart in charts if chart.svg]


def _by_noise_level(parts: Mapping[str, list[Record]]) -> list[Chart]:
    """Losses at each time of the flow, from noise at 1 to the clip at 0."""
    charts = []
    for part, name, title in (
        ("validation", "loss_at", "Held-out loss by noise level"),
        ("validation", "text_gain_at", "What the text gains, by noise level"),
        ("step", "loss_by_time", "Training loss by noise level"),
    ):
        records = [record for record in parts.get(part, []) if isinstance(record.get(name), dict)]
        levels = sorted({level for record in records for level in record[name]}, key=float)
        classes = {
            f"t = {level}": f"level l{round(9 * place / max(1, len(levels) - 1))}" for place, level in enumerate(levels)
        }
        series = {f"t = {level}": thinned(points(records, name, level), _NOISE_POINTS) for level in levels}
        charts.append(_chart(title, series, classes=classes))
    return [chart for chart in charts if chart.svg]


def _speed(parts: Mapping[str, list[Record]]) -> list[Chart]:
    steps = parts.get("step", [])
    seconds = dict(points(steps, "seconds"))
    waits = [(step, 100 * wait / seconds[step]) for step, wait in points(steps, "data_wait_s") if seconds.get(step)]
    unused = [(step, 100 * waste) for step, waste in points(steps, "waste")]
    charts = [
        _chart("Tokens per second", {"tokens/s": rates(steps, "tokens")}, from_zero=True),
        _chart("Samples per second", {"samples/s": rates(steps, "samples")}, from_zero=True),
        _chart("Waiting for data, % of the time", {"waiting": waits}, from_zero=True),
        _chart("Unused places in packs, %", {"unused": unused}, from_zero=True),
    ]
    staged = {
        part: [(step, step / taken) for step, taken in points(records, "seconds") if taken > 0]
        for part, records in _stages(parts).items()
    }
    charts.append(_chart("Steps per second", staged, from_zero=True))
    return [chart for chart in charts if chart.svg]


def _chart(
    title: str,
    series: Mapping[str, Sequence[Point]],
    *,
    classes: Mapping[str, str] | None = None,
    from_zero: bool = False,
) -> Chart:
    series = {name: found for name, found in series.items() if found}
    named = {name: (classes or {}).get(name, f"s{index % 6}") for index, name in enumerate(series)}
    return Chart(title, lines(series, label=title, classes=named, from_zero=from_zero), list(named.items()))


def _stages(parts: Mapping[str, list[Record]]) -> dict[str, list[Record]]:
    """The parts that are stages of the captioner."""
    return {part: records for part, records in parts.items() if "stage" in records[-1]}


def _with_texts(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if isinstance(record.get("samples"), list) and record["samples"]]


def _spread(records: Sequence[Record]) -> list[Record]:
    """A few records from the first to the last."""
    if len(records) <= _MOST_ROWS:
        return list(records)
    return [records[index * (len(records) - 1) // (_MOST_ROWS - 1)] for index in range(_MOST_ROWS)]


def _media(folder: Path) -> list[tuple[str, str, str, str]]:
    """Name, what was asked for, kind and data of what lies in RUN/samples, evenly chosen when there is too much."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _MEDIA) if folder.is_dir() else []
    files = [path for path in files if not path.stem.endswith(".sheet")]  # the same again, as one picture
    files.sort(key=lambda path: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path))])
    sizes = [path.stat().st_size for path in files]
    every = 1
    while sum(sizes[::-1][::every]) > _MAX_MEDIA_BYTES:  # the last is always among them
        every += 1
        if every > len(files):
            return []
    found = []
    for path in files[::-1][::every][::-1]:
        kind = _MEDIA[path.suffix.lower()]
        data = base64.b64encode(path.read_bytes()).decode()
        name = str(path.relative_to(folder).with_suffix(""))
        found.append((name, _asked(path.with_suffix(".json")), kind.partition("/")[0], f"data:{kind};base64,{data}"))
    return found


def _asked(record: Path) -> str:
    """The task and the user's own prompt of a sample, where its record lies beside it."""
    try:
        tree = json.loads(record.read_text(encoding="utf-8"))
        request, expansion = tree["request"], tree.get("expansion", {})
        prompt = expansion.get("original") or request["prompt"]
    except (OSError, ValueError, KeyError, AttributeError):
        return ""
    return ": ".join(filter(None, ("" if request.get("task") == "make" else request.get("task"), prompt)))


def _events(parts: Mapping[str, list[Record]]) -> list[tuple[str, int, int]]:
    """What went wrong on the way: how often, and when last."""
    found = {part: parts[part] for part in ("skipped", "rolled back") if part in parts}
    return [(part, len(records), int(records[-1]["step"])) for part, records in found.items()]


def _checkpoint(folder: Path) -> dict[str, Any]:
    """What the newest checkpoint says of what it was made from."""
    with suppress(OSError, ValueError, KeyError):
        name = (folder / "LATEST").read_text().strip()
        state = json.loads((folder / name / "state.json").read_text())
        told = {key: value for key, value in state.items() if key not in _NOT_TOLD and value not in (None, [], {})}
        return {"folder": name, **told}
    return {}
