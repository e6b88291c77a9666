"""The log of a run: one JSON object per line in `train.jsonl`, and TensorBoard or Weights & Biases where asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.config import nearest
from curate.errors import ConfigError

SINKS = ("tensorboard", "wandb")
_POLL_S = 0.5


class TrainLog:
    """Appends records; numbers in them also go to the other places by name."""

    def __init__(self, out: Path, sinks: tuple[str, ...] = ()) -> None:
        out.mkdir(parents=True, exist_ok=True)
        self._file = (out / "train.jsonl").open("a", encoding="utf-8", buffering=1)
        self._board = _tensorboard(out) if "tensorboard" in sinks else None
        self._wandb = _wandb(out) if "wandb" in sinks else None
        for sink in sinks:
            if sink not in SINKS:
                raise ConfigError(f"log_to: no {sink!r}; {nearest(sink, SINKS)}")

    def write(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record) + "\n")
        numbers = dict(_numbers(record))
        if self._board is not None:
            for name, value in numbers.items():
                self._board.add_scalar(name, value, record.get("step", 0))
        if self._wandb is not None:
            self._wandb.log(numbers, step=record.get("step", 0))

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()
        if self._wandb is not None:
            self._wandb.finish()


def read_log(out: Path) -> list[dict[str, Any]]:
    """All records of a run, oldest first; a last line that was cut off by a crash is left out."""
    return _parsed((out / "train.jsonl").read_bytes())


@contextmanager
def followed(out: Path, report: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """While this lasts, call `report` with each record that other processes add to the log, from a thread."""
    file, ended = out / "train.jsonl", threading.Event()
    place = file.stat().st_size if file.exists() else 0

    def pass_on() -> None:
        nonlocal place
        is_last = False
        while not is_last:
            is_last = ended.wait(_POLL_S)
            if not file.exists():
                continue
            with file.open("rb") as opened:
                opened.seek(place)
                whole, newline, _ = opened.read().rpartition(b"\n")
            place += len(whole + newline)
            for record in _parsed(whole):
                report(record)

    thread = threading.Thread(target=pass_on, name="training log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _parsed(lines: bytes) -> list[dict[str, Any]]:
    records = []
    for line in lines.splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:  # cut off by a crash
            continue
    return records


def _numbers(record: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    pairs: list[tuple[str, float]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            pairs += _numbers(value, f"{prefix}{key}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            pairs.append((prefix + key, float(value)))
    return pairs


def _tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError("log_to names tensorboard, which is not installed: pip install tensorboard") from None
    return SummaryWriter(str(out / "tensorboard"))


def _wandb(out: Path) -> Any:
    try:
        import wandb
    except ImportError:
        raise ConfigError("log_to names wandb, which is not installed: pip install wandb") from None
    return wandb.init(project="reelwright", name=out.name, dir=str(out), resume="allow")
