"""A dataset: a folder or object-store prefix of Delta tables and payload files.

    DATASET/tables/NAME/      Delta table: Parquet files and a log of atomic commits
    DATASET/payload/...       signals, previews, media: written under a temporary name, then renamed

There is one way to change a table, `replace_rows`: all rows of the named owners give way to the new ones, in one
commit. A reader sees the version before or the version after. Owners are, for example, the videos whose clips are
written. Conflicting writers are detected by the log and tried again on top of each other's work.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from curate.errors import DatasetError
from curate.schema import SCHEMA_VERSION, TABLES, TableSchema

if TYPE_CHECKING:  # deltalake loads a large native library: only those who touch a table pay for it
    from deltalake import DeltaTable

T = TypeVar("T")

_FORMAT = "reelwright/"  # the name in a table's metadata is this, the table and the schema version
_MAX_COMMIT_ATTEMPTS = 20
_SMALL_FILES = 64


class Dataset:
    """Tables and payload of one dataset; cheap to make and to pickle, holds no open files."""

    def __init__(self, uri: str | os.PathLike[str], *, storage_options: Mapping[str, str] | None = None) -> None:
        self.uri = os.fspath(uri).rstrip("/")
        self.storage_options = dict(storage_options) if storage_options else None
        if "://" not in self.uri:
            self.uri = str(Path(self.uri).expanduser().resolve())

    def __repr__(self) -> str:
        return f"Dataset({self.uri!r})"

    @property
    def is_local(self) -> bool:
        return "://" not in self.uri

    @property
    def root(self) -> Path:
        """The folder of a local dataset; DatasetError for one in an object store."""
        if not self.is_local:
            raise DatasetError(f"{self.uri}: this needs a dataset in a local or mounted folder")
        return Path(self.uri)

    # Reading

    def exists(self) -> bool:
        """Whether this is a dataset of ours, with at least a table of runs."""
        return self._has("runs")

    def require(self) -> Dataset:
        """This dataset, or DatasetError when there is none here."""
        if not self.exists():
            raise DatasetError(
                f"{self.uri}: no dataset here; make one with `reelwright curate FOOTAGE --out {self.uri}`"
            )
        return self

    def version(self, name: str) -> int | None:
        """Current version of a table, or None before its first commit."""
        return self._open(name).version() if self._has(name) else None

    def versions(self) -> dict[str, int]:
        """Current version of every table that has one."""
        found = {name: self.version(name) for name in TABLES}
        return {name: version for name, version in found.items() if version is not None}

    def arrow_dataset(self, name: str, *, version: int | None = None) -> pa.dataset.Dataset:
        """A table for scanning: nothing is read until it is. An empty one before its first commit."""
        import pyarrow.dataset

        schema = _table(name)
        if not self._has(name):
            return pyarrow.dataset.dataset(schema.arrow.empty_table())
        table = self._open(name, version)
        if not table.file_uris():
            return pyarrow.dataset.dataset(schema.arrow.empty_table())
        return table.to_pyarrow_dataset(schema=schema.arrow)

    def read(
        self,
        name: str,
        columns: Sequence[str] | None = None,
        *,
        where: pa.compute.Expression | None = None,
        version: int | None = None,
    ) -> pa.Table:
        """Rows of a table, as they are or as they were at a version, sorted by their key when it was read."""
        table = self.arrow_dataset(name, version=version).to_table(
            columns=list(columns) if columns is not None else None, filter=where
        )
        key = [column for column in _table(name).key if column in table.column_names]
        return table.sort_by([(column, "ascending") for column in key]) if key and table.num_rows else table

    # Writing

    def replace_rows(self, name: str, owners: Iterable[str], rows: pa.Table | Sequence[Mapping[str, Any]]) -> int:
        """Replace all rows of the owners by `rows`, in one commit, and return the new version.

        Rows of other owners stay. Raises ValueError when a row belongs to an owner that was not named, and
        DatasetError when other writers keep winning.
        """
        schema = _table(name)
        table = _as_table(schema, rows)
        named = set(owners)
        strangers = set(table.column(schema.owner).to_pylist()) - named
        if strangers:
            raise ValueError(f"{name}: rows of {schema.owner} {sorted(strangers)[:3]} were not named as replaced")
        if not named:
            return self.version(name) or 0
        return _deep(len(named), lambda: self._commit(name, table, predicate=_is_in(schema.owner, named)))

    def replace_all(self, name: str, rows: pa.Table | Sequence[Mapping[str, Any]]) -> int:
        """Replace the whole table in one commit, and return the new version."""
        return self._commit(name, _as_table(_table(name), rows), predicate=None)

    def compact(self, name: str) -> None:
        """Join small files, which many small commits leave behind. Old versions stay readable."""
        if self._has(name) and len(self._open(name).file_uris()) > _SMALL_FILES:
            self._retry(name, lambda: self._open(name).optimize.compact())

    def _commit(self, name: str, table: pa.Table, *, predicate: str | None) -> int:
        from deltalake import CommitProperties, WriterProperties, write_deltalake

        def commit() -> int:
            target = self._open_or_create(name)
            write_deltalake(
                target,
                table,
                mode="overwrite",
                predicate=predicate,
                commit_properties=CommitProperties(max_commit_retries=0),
                writer_properties=WriterProperties(compression="ZSTD"),
            )
            return target.version()

        return self._retry(name, commit)

    def _retry(self, name: str, change: Callable[[], T]) -> T:
        from deltalake.exceptions import CommitFailedError

        for attempt in range(_MAX_COMMIT_ATTEMPTS):
            try:
                return change()
            except CommitFailedError:  # somebody else committed in between: look again, then try on top of it
                time.sleep(random.uniform(0, 0.02 * 2 ** min(attempt, 6)))
        raise DatasetError(
            f"{self.uri}: the table {name} is being changed by other jobs all the time; run the command again later"
        )

    def _open_or_create(self, name: str) -> DeltaTable:
        from deltalake import DeltaTable

        if not self._has(name):
            schema = _table(name)
            with suppress(OSError):
                if self.is_local:
                    Path(self._table_uri(name)).mkdir(parents=True, exist_ok=True)
            DeltaTable.create(
                self._table_uri(name),
                schema=schema.arrow,
                mode="ignore",
                name=f"{_FORMAT}{name}/{SCHEMA_VERSION}",
                description=schema.doc,
                configuration={
                    "delta.logRetentionDuration": "interval 3650 days",
                    "delta.deletedFileRetentionDuration": "interval 3650 days",
                },
                storage_options=self.storage_options,
            )
        return self._open(name)

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        try:
            table = DeltaTable(self._table_uri(name), version=version, storage_options=self.storage_options)
        except DeltaError as error:
            raise DatasetError(f"{self.uri}: cannot read version {version} of the table {name}: {error}") from None
        if table.metadata().name != f"{_FORMAT}{name}/{SCHEMA_VERSION}":
            raise DatasetError(
                f"{self.uri}: the table {name} is {table.metadata().name!r}, and this release writes schema version "
                f"{SCHEMA_VERSION}; use the release that wrote it, or curate into a new folder"
            )
        return table

    def _has(self, name: str) -> bool:
        if self.is_local:
            return os.path.isdir(os.path.join(self._table_uri(name), "_delta_log"))
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(self._table_uri(name), self.storage_options)

    def _table_uri(self, name: str) -> str:
        return f"{self.uri}/tables/{name}"


def _table(name: str) -> TableSchema:
    try:
        return TABLES[name]
    except KeyError:
        raise DatasetError(f"no table {name!r}; tables: {', '.join(TABLES)}") from None


def _as_table(schema: TableSchema, rows: pa.Table | Sequence[Mapping[str, Any]]) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows.select(schema.arrow.names).cast(schema.arrow)
    unknown = {key for row in rows for key in row} - set(schema.arrow.names)
    if unknown:
        raise ValueError(f"{schema.name}: no such columns: {', '.join(sorted(unknown))}")
    return pa.Table.from_pylist(list(rows), schema=schema.arrow)


def _deep(num_owners: int, change: Callable[[], T]) -> T:
    """Call with a stack that a predicate of so many values fits on: deltalake's parser recurses over them."""
    if num_owners < 5_000:
        return change()
    usual = threading.stack_size((8 << 20) + 4096 * num_owners)
    try:
        with ThreadPoolExecutor(max_workers=1) as pool:
            return pool.submit(change).result()
    finally:
        threading.stack_size(usual)


def _is_in(column: str, values: set[str]) -> str:
    quoted = ("'" + value.replace("'", "''") + "'" for value in sorted(values))
    return f"{column} IN ({', '.join(quoted)})"
