"""Samples that are read once and kept while there is room: without a cache on disk, reading one decodes its video."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from model.examples import TrainingData

if TYPE_CHECKING:
    from model.dataset import Sample


class Remembered:
    """Samples of `data` by index, from memory where they are there. One thread reads at a time."""

    def __init__(self, data: TrainingData, keep_mib: int) -> None:
        self._data = data
        self._room_bytes = keep_mib * 2**20
        self._kept: dict[int, Sample] = {}
        self._reading = threading.Lock()

    def __getitem__(self, index: int) -> Sample:
        with self._reading:
            if index in self._kept:
                return self._kept[index]
            sample = self._data[index]
            size = sum(tensor.nbytes for tensor in (sample.latent, sample.logvar) if tensor is not None)
            if size <= self._room_bytes:
                self._room_bytes -= size
                self._kept[index] = sample
            return sample
