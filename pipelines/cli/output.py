"""Tables for people and machines: on the terminal, as CSV, JSON or Parquet."""

from __future__ import annotations

import io
import json
import math
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
    for row in zip(*(_cells(column.to_pylist()) for column in table.columns), strict=True):
        shown.add_row(*row)
    console.print(shown)


def _cells(values: list[Any]) -> list[str]:
    """A column as text; its numbers have as many decimals as the smallest needs for two digits, 2 to 4."""
    from rich.markup import escape

    sizes = [abs(value) for value in values if isinstance(value, float) and value and math.isfinite(value)]
    decimals = min(max(2, 1 - math.floor(math.log10(min(sizes)))), 4) if sizes else 2
    shown = (f"{value:.{decimals}f}" if isinstance(value, float) else escape(str(value)) for value in values)
    return ["" if value is None else text for value, text in zip(values, shown, strict=True)]
