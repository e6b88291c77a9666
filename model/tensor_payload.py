"""Tensors in plain Parquet, read one row at a time: what the caches of latents and of text are made of.

    write_tensors(root, path, ids, {"mean": [...], "logvar": [...]})     one row group per row, whole or not at all
    TensorReader(root).read(path, row)                                   {"mean": Tensor, "logvar": Tensor or absent}

A tensor `x` is three columns: its bytes `x`, `x_shape` and `x_dtype`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from curate.errors import DatasetError
from curate.payload import open_payload, write_payload

DTYPES = {"float16": torch.float16, "float32": torch.float32}
_OPEN_FILES = 64


def write_tensors(
    root: str, path: str, ids: Sequence[str], columns: Mapping[str, Sequence[Tensor | None]], *, dtype: str = "float16"
) -> None:
    """Write tensors by row under the ids of their rows. Raises ValueError for values that `dtype` cannot hold."""
    arrays: dict[str, pa.Array] = {"id": pa.array(ids, pa.string())}
    for name, tensors in columns.items():
        stored = [None if tensor is None else _stored(tensor, dtype, name) for tensor in tensors]
        arrays[name] = pa.array([None if x is None else x.tobytes() for x in stored], pa.large_binary())
        arrays[f"{name}_shape"] = pa.array([None if x is None else list(x.shape) for x in stored], pa.list_(pa.int32()))
        arrays[f"{name}_dtype"] = pa.array([None if x is None else dtype for x in stored], pa.string())
    write_payload(root, path, pa.table(arrays), row_group_size=1)


class TensorReader:
    """Reads rows of tensor files; keeps files open and, up to `keep_mib`, what it has read. Can be pickled."""

    def __init__(self, root: str, *, keep_mib: int = 0) -> None:
        self.root = root
        self._files: OrderedDict[str, pq.ParquetFile] = OrderedDict()
        self._kept: dict[tuple[str, int], dict[str, Tensor]] = {}
        self._room_bytes = keep_mib << 20

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict()}  # open files do not travel

    def read(self, path: str, row: int, expected_id: str) -> dict[str, Tensor]:
        """Tensors of one row, in fp32. Raises DatasetError when the file does not hold `expected_id` there."""
        kept = self._kept.get((path, row))
        if kept is not None:
            return kept
        tensors = self._decode(path, row, expected_id)
        size = sum(tensor.nbytes for tensor in tensors.values())
        if size <= self._room_bytes:
            self._room_bytes -= size
            self._kept[path, row] = tensors
        return tensors

    def _decode(self, path: str, row: int, expected_id: str) -> dict[str, Tensor]:
        file = self._open(path)
        table = file.read_row_group(row) if row < file.num_row_groups else None
        if table is None or table["id"][0].as_py() != expected_id:
            raise DatasetError(f"{self.root}/{path}: row {row} is not {expected_id}; run `reelwright encode` again")
        tensors = {}
        for name in table.column_names:
            if f"{name}_shape" not in table.column_names or not table[name][0].is_valid:
                continue
            values = np.frombuffer(table[name][0].as_buffer(), table[f"{name}_dtype"][0].as_py())
            shape = table[f"{name}_shape"][0].as_py()
            tensors[name] = torch.from_numpy(values.astype(np.float32).reshape(shape))
        return tensors

    def _open(self, path: str) -> pq.ParquetFile:
        if path in self._files:
            self._files.move_to_end(path)
            return self._files[path]
        file = self._files[path] = open_payload(self.root, path)
        if len(self._files) > _OPEN_FILES:
            self._files.popitem(last=False)
        return file


def _stored(tensor: Tensor, dtype: str, name: str) -> np.ndarray:
    if dtype not in DTYPES:
        raise ValueError(f"no tensor format {dtype!r}; formats: {', '.join(DTYPES)}")
    values = tensor.detach().cpu().to(DTYPES[dtype])
    if not torch.isfinite(values).all():
        raise ValueError(f"{name} has values that are not finite in {dtype}")
    return values.contiguous().numpy()
