"""Windows of the kept clips of a dataset as footage for the training of a codec."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model.clip_frames import clip_frames
from model.codec.base import Stride
from model.dataset import NothingToTrainOnError, Report, SelectionConfig, kept_clips
from model.windows import ClipFacts, Window, WindowConfig, plan_windows

if TYPE_CHECKING:
    from curate.tables import Dataset


@dataclass(frozen=True, slots=True)
class Place:
    """Where a window is."""

    uri: str
    clip: ClipFacts
    window: Window


class ClipFootage:
    """Frames of windows, decoded when they are asked for. May raise VideoError."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> np.ndarray:
        place = self.places[index]
        return clip_frames(place.uri, place.clip, [place.window])[0]


def read_footage(
    dataset: Dataset, windows: WindowConfig, stride: Stride, *, held_out: int = 64
) -> tuple[ClipFootage, ClipFootage]:
    """Footage to train on, and at most `held_out` windows of the validation split, spread over its clips.

    Without a validation split, one window in ten is held out. Raises NothingToTrainOnError when there is no footage.
    """
    report = Report()
    train = _places(dataset, "train", windows, stride, report)
    val = _places(dataset, "val", windows, stride, Report())
    if train and not val:
        val, train = train[::10], [place for index, place in enumerate(train) if index % 10]
    if not train:
        raise NothingToTrainOnError(f"{dataset.uri}: no footage to train a codec on.\n{report}")
    step = max(1, -(-len(val) // held_out))
    return ClipFootage(train), ClipFootage(val[::step])


def _places(dataset: Dataset, split: str, windows: WindowConfig, stride: Stride, report: Report) -> list[Place]:
    selection = SelectionConfig(split=split, require_caption=False, scores=())  # type: ignore[arg-type]
    places = []
    for clips in kept_clips(dataset.require(), selection, report):
        for clip in clips:
            planned = plan_windows(clip.facts, windows, stride)
            if isinstance(planned, str):
                report.dropped[planned] += 1
                continue
            report.used += 1
            places += [Place(clip.uri, clip.facts, window) for window in planned]
    return places
