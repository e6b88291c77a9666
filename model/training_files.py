"""A training set as a folder of plain Parquet, for a machine that has neither the dataset nor its table format.

FOLDER/samples.parquet           one row per training item (`model.dataset.SAMPLES`)
FOLDER/latents/*.parquet         their latents
FOLDER/texts.parquet, texts/     cached states of their captions, if there are any
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import Tensor

from curate.errors import DatasetError
from curate.payload import read_note, read_payload, write_payload
from model.codec.base import Codec
from model.dataset import SAMPLES, SAMPLES_FILE, Report, TrainingSet
from model.tensor_payload import write_tensors
from model.text.cache import CachedTextEncoder, text_id

_TEXTS_FILE = "texts.parquet"


def write_training_files(
    data: TrainingSet,
    folder: str | Path,
    *,
    codec: Codec,
    text: CachedTextEncoder | None = None,
    rows_per_file: int = 256,
) -> None:
    """Copy a training set, and with `text` the states of its captions. Items that were not cached are encoded now."""
    root = str(folder)
    rows = data.samples.to_pylist()
    texts: dict[str, None] = {"": None}  # in order, each once
    for start in range(0, len(rows), rows_per_file):
        path = f"latents/{start // rows_per_file:05d}.parquet"
        part = rows[start : start + rows_per_file]
        samples = [data[start + index] for index in range(len(part))]
        columns: dict[str, list[Tensor | None]] = {"mean": [sample.latent for sample in samples]}
        columns["logvar"] = [sample.logvar for sample in samples]
        write_tensors(root, path, [row["latent_id"] for row in part], columns)
        for index, row in enumerate(part):
            row.update(path=path, row=index)
            texts.update(dict.fromkeys(samples[index].captions.values()))
    if text is not None:
        _write_texts(root, list(texts), text, rows_per_file)
    note = {"codec": codec.fingerprint(), "report": _plain(data.report)}
    write_payload(root, SAMPLES_FILE, pa.Table.from_pylist(rows, SAMPLES), note)


def read_training_files(folder: Path, codec: Codec, *, keep_mib: int = 0) -> TrainingSet:
    """The training set of a folder. Raises DatasetError when its latents are of another codec."""
    note = read_note(str(folder), SAMPLES_FILE)
    if note is None or "codec" not in note:
        raise DatasetError(f"{folder / SAMPLES_FILE}: not a file of training samples")
    if note["codec"] != codec.fingerprint():
        raise DatasetError(
            f"{folder}: its latents were made by the codec {note['codec']}, and this one is {codec.fingerprint()}"
        )
    kept = note["report"]
    report = Report(**{**kept, "dropped": Counter(kept["dropped"]), "captions": Counter(kept["captions"])})
    return TrainingSet(str(folder), read_payload(str(folder), SAMPLES_FILE), report, codec, keep_mib)


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
