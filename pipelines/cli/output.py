"""Tables for people and machines: on the terminal, as CSV, JSON or Parquet."""

from __future__ import annotations

import io
import json
import sys
from enum import Enum
from typing import Any

import pyarrow as pa


class Format(str, Enum):
    """How a table is written to standard output."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def write_table(table: pa.Table, format: Format = Format.table, *, title: str | None = None) -> None:
    """Write a table to standard output. Parquet is bytes: send it to a file."""
    if format is Format.json:
        write_json(table.to_pylist())
    elif format is Format.csv:
        import pyarrow.csv

        flat = pa.table({name: _flat(table.column(name)) for name in table.column_names})
        buffer = io.BytesIO()
        pyarrow.csv.write_csv(flat, buffer)
        sys.stdout.write(buffer.getvalue().decode())
    elif format is Format.parquet:
        import pyarrow.parquet

        pyarrow.parquet.write_table(table, sys.stdout.buffer)
    else:
        _print_table(table, title)


def write_json(value: Any) -> None:
    """Write a value as JSON; times and bytes as text."""
    json.dump(value, sys.stdout, indent=2, default=str, ensure_ascii=False)
    sys.stdout.write("\n")


def _flat(column: pa.ChunkedArray) -> pa.ChunkedArray | list[str | None]:
    if not pa.types.is_nested(column.type):
        return column
    return [None if value is None else json.dumps(value, default=str) for value in column.to_pylist()]


def _print_table(table: pa.Table, title: str | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    # Off a terminal there is no width to fit into: a cut cell would be a lost value.
    console = Console(width=None if sys.stdout.isatty() else 10_000, highlight=False)
    shown = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for name, type in zip(table.column_names, table.schema.types, strict=True):
        number = pa.types.is_integer(type) or pa.types.is_floating(type)
        shown.add_column(name, justify="right" if number else "left", overflow="fold")
    for row in table.to_pylist():
        shown.add_row(*(_cell(value) for value in row.values()))
    console.print(shown)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if value and abs(value) < 0.1 else f"{value:.2f}"
    return escape(str(value))
