"""Training sets as a folder of plain Parquet, for a machine that has neither the dataset nor its table format.

FOLDER/train.parquet, val.parquet     one row per training item (`model.dataset.SAMPLES`)
FOLDER/latents/*.parquet              their latents
FOLDER/texts.parquet, texts/          cached states of their captions, if there are any
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import Tensor

from curate.config import to_tree
from curate.errors import ConfigError, DatasetError
from curate.payload import read_note, read_payload, write_payload
from model.codec.base import Codec
from model.dataset import SAMPLES, Report, SelectionConfig, TrainingSet
from model.tensor_payload import write_tensors
from model.text.cache import CachedTextEncoder, text_id

_TEXTS_FILE = "texts.parquet"
_FIXED = ("captions", "captioners", "require_caption", "scores")
"""Settings of the selection that were decided when the files were written."""


def write_training_files(
    sets: Mapping[str, TrainingSet],
    folder: str | Path,
    *,
    codec: Codec,
    text: CachedTextEncoder | None = None,
    rows_per_file: int = 256,
) -> None:
    """Copy training sets by split, and with `text` the states of their captions. What was not cached is encoded now."""
    root = str(folder)
    texts: dict[str, None] = {"": None}  # in order, each once
    for split, data in sets.items():
        rows = data.samples.to_pylist()
        for start in range(0, len(rows), rows_per_file):
            path = f"latents/{split}-{start // rows_per_file:05d}.parquet"
            part = rows[start : start + rows_per_file]
            samples = [data[start + index] for index in range(len(part))]
            columns: dict[str, list[Tensor | None]] = {"mean": [sample.latent for sample in samples]}
            columns["logvar"] = [sample.logvar for sample in samples]
            write_tensors(root, path, [row["latent_id"] for row in part], columns)
            for index, row in enumerate(part):
                row.update(path=path, row=index)
                texts.update(dict.fromkeys(samples[index].captions.values()))
        note = {"codec": codec.fingerprint(), "report": _plain(data.report), "selection": to_tree(data.selection)}
        write_payload(root, f"{split}.parquet", pa.Table.from_pylist(rows, SAMPLES), note)
    if text is not None:
        _write_texts(root, list(texts), text, rows_per_file)


def has_training_files(folder: Path, split: str) -> bool:
    """Whether a folder holds a split of training files."""
    return (folder / f"{split}.parquet").is_file()


def read_training_files(folder: Path, selection: SelectionConfig, codec: Codec) -> TrainingSet:
    """The training set of a split. Raises DatasetError for another codec, ConfigError for another selection."""
    file = f"{selection.split}.parquet"
    note = read_note(str(folder), file)
    if note is None or "codec" not in note:
        raise DatasetError(f"{folder / file}: not a file of training samples")
    if note["codec"] != codec.fingerprint():
        raise DatasetError(
            f"{folder}: its latents were made by the codec {note['codec']}, and this one is {codec.fingerprint()}"
        )
    asked = to_tree(selection)
    for name in _FIXED:
        if asked[name] != note["selection"][name]:
            raise ConfigError(
                f"selection.{name} is {asked[name]!r}, and {folder} was written with {note['selection'][name]!r}; "
                "write the files again, or take what they hold"
            )
    kept = note["report"]
    report = Report(**{**kept, "dropped": Counter(kept["dropped"]), "captions": Counter(kept["captions"])})
    return TrainingSet(str(folder), read_payload(str(folder), file), report, codec, selection)


def read_texts(folder: Path) -> list[dict[str, Any]]:
    """Rows of the cached captions of a folder; none when there are none."""
    if not (folder / _TEXTS_FILE).is_file():
        return []
    return read_payload(str(folder), _TEXTS_FILE).to_pylist()


def _write_texts(root: str, texts: list[str], encoder: CachedTextEncoder, rows_per_file: int) -> None:
    rows = []
    for start in range(0, len(texts), rows_per_file):
        path = f"texts/{start // rows_per_file:05d}.parquet"
        ids = [text_id(text, encoder.fingerprint()) for text in texts[start : start + rows_per_file]]
        write_tensors(root, path, ids, {"states": list(encoder.encode(texts[start : start + rows_per_file]))})
        rows += [
            {"text_id": key, "encoder": encoder.fingerprint(), "dim": encoder.dim, "path": path, "row": row}
            for row, key in enumerate(ids)
        ]
    write_payload(root, _TEXTS_FILE, pa.Table.from_pylist(rows))


def _plain(report: Report) -> dict[str, Any]:
    return {**asdict(report), "dropped": dict(report.dropped), "captions": dict(report.captions)}
