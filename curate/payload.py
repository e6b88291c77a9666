"""Payload files of a dataset: plain Parquet beside the tables, written whole or not at all, locally or in a store."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import DatasetError

_NOTE = b"reelwright"


def payload_path(kind: str, item_id: str, fingerprint: str) -> str:
    """Path relative to the dataset: payload/signals/ab/abcdef-0123.parquet. A changed fingerprint is another file."""
    return f"payload/{kind}/{item_id[:2]}/{item_id}-{fingerprint}.parquet"


def write_payload(
    root: str,
    path: str,
    table: pa.Table,
    note: Mapping[str, Any] | None = None,
    *,
    row_group_size: int | None = None,
) -> None:
    """Write a table to `path` under the dataset at `root`, with a note that `read_note` returns without the rows.

    Rows that are read one at a time want a row group each.
    """
    if note is not None:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _NOTE: json.dumps(note).encode()})
    buffer = io.BytesIO()
    # Hardly a value comes twice: dictionaries and statistics would only cost time and space.
    pq.write_table(
        table,
        buffer,
        compression="lz4",
        use_dictionary=False,
        write_statistics=False,
        row_group_size=row_group_size,
    )
    if "://" in root:
        store, prefix = _store(root)
        with store.open_output_stream(f"{prefix}/{path}") as stream:  # an object appears when it is complete
            stream.write(buffer.getbuffer())
        return
    target = Path(root, path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_bytes(buffer.getbuffer())
        os.replace(partial, target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def read_payload(root: str, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a payload file. Raises DatasetError when it is gone or damaged."""
    with open_payload(root, path) as file:
        try:
            return file.read(columns, use_threads=False)  # they would cost more than they save
        except (OSError, pa.ArrowInvalid) as error:
            raise _damaged(root, path, error) from None


def open_payload(root: str, path: str) -> pq.ParquetFile:
    """A payload file for reading row groups. Raises DatasetError when it is gone or damaged."""
    try:
        if "://" in root:
            store, prefix = _store(root)
            return pq.ParquetFile(store.open_input_file(f"{prefix}/{path}"))
        return pq.ParquetFile(Path(root, path))
    except (OSError, pa.ArrowInvalid) as error:
        raise _damaged(root, path, error) from None


def read_note(root: str, path: str) -> dict[str, Any] | None:
    """The note of a payload file, or None when there is no whole file at that path."""
    try:
        with open_payload(root, path) as file:
            metadata = file.schema_arrow.metadata or {}
    except DatasetError:
        return None
    return json.loads(metadata[_NOTE]) if _NOTE in metadata else None


def _damaged(root: str, path: str, error: Exception) -> DatasetError:
    return DatasetError(f"{root}/{path}: this payload file is gone or damaged: {error}")


def _store(root: str) -> tuple[Any, str]:
    from curate.fetch import object_store

    return object_store(root)
