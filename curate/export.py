"""Export: kept clips as plain files that need no Reelwright, one wide row per clip."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from curate.config import nearest
from curate.errors import UsageError
from curate.query import query
from curate.tables import Dataset


def _write_csv(table: pa.Table, path: Path) -> None:
    pa.csv.write_csv(table, path)


def _write_parquet(table: pa.Table, path: Path) -> None:
    pa.parquet.write_table(table, path, compression="zstd")


FORMATS: dict[str, Callable[[pa.Table, Path], None]] = {"parquet": _write_parquet, "csv": _write_csv}


def export(dataset: Dataset, path: Path, *, format: str | None = None, where: str | None = None) -> int:
    """Write the kept clips, or those for which the SQL condition `where` holds, and return their number.

    The format is that of the file's name unless it is named. The file appears when it is complete.
    """
    format = format or path.suffix.lstrip(".").lower()
    if format not in FORMATS:
        raise UsageError(f"{path}: no export format {format!r}; {nearest(format, FORMATS)}")
    condition = f"where {where}" if where else ""
    table = query(dataset.require(), f"select * from kept {condition} order by clip_id")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    FORMATS[format](table, partial)
    os.replace(partial, path)
    return table.num_rows
