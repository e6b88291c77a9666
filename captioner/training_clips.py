"""Kept clips of a dataset and their accepted captions, as examples to learn from.

The frames of a clip are read once, reduced, and packed into one file in the folder of the training; a restart finds it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from captioner.base import Clip, FramePolicy
from captioner.clip_frames import ClipSource, load_clip
from captioner.frames import FrameConfig, fit_frames
from captioner.kept_clips import kept_clips
from captioner.training_data import Example
from curate.blend import best_captions
from curate.config import fingerprint
from curate.counter_random import generator, uniform
from curate.errors import UsageError, VideoError
from curate.schema import CAPTION_KINDS
from curate.tables import Dataset

_CAPTION_COLUMNS = ["clip_id", "kind", "captioner", "status", "text", "alignment_margin", "created"]


def load_clips(dataset: Dataset, count: int, *, policy: FramePolicy | None = None) -> list[Clip]:
    """Kept clips to examine a captioner on: spread evenly over the dataset, those that cannot be read left out."""
    sources = [clip.source for clip in kept_clips(dataset)]
    chosen = [sources[index * len(sources) // count] for index in range(count)] if len(sources) > count else sources
    clips = []
    for source in chosen:
        try:
            clips.append(load_clip(source, dataset.uri, policy or FramePolicy()))
        except VideoError:
            continue
    if not clips:
        raise UsageError(f"{dataset.uri}: none of {len(sources)} kept clips can be read")
    return clips


class DatasetSource:
    """Examples from a dataset. A clip that cannot be read is left out, and counted in `unreadable`."""

    def __init__(
        self,
        dataset: Dataset,
        frames: FrameConfig,
        *,
        folder: Path | None = None,
        kinds: Sequence[str] = CAPTION_KINDS,
        prefer: Sequence[str] = (),
        policy: FramePolicy | None = None,
        seed: int = 0,
    ) -> None:
        """Of captions of other `kinds` it knows nothing: they may come and go while one learns from these."""
        self.seed = seed
        clips = {clip.source.clip_id: clip for clip in kept_clips(dataset)}
        rows = dataset.read("captions", _CAPTION_COLUMNS, where=pc.field("kind").isin(kinds)).to_pylist()
        captions = best_captions(rows, prefer=prefer)
        if prefer:
            self._check_names(dataset, prefer)
        captions = {clip_id: captions[clip_id] for clip_id in clips if clip_id in captions}
        if not captions:
            raise UsageError(
                f"{dataset.uri}: no kept clip has an accepted caption; make some with `reelwright caption`"
            )
        self.fingerprint = fingerprint(captions, frames, policy, seed)
        sources = [clips[clip_id].source for clip_id in captions]
        self._frames, readable = _pack(sources, dataset.uri, frames, policy or FramePolicy(), self.fingerprint, folder)
        self.unreadable = int((~readable).sum())
        self._captions = list(captions.values())
        sides = np.array([clips[clip_id].side for clip_id in captions])
        self._numbers: dict[tuple[str, bool], np.ndarray] = {}
        for kind in CAPTION_KINDS:
            has = readable & np.array([kind in texts for texts in self._captions])
            for held_out in (False, True):
                self._numbers[kind, held_out] = np.flatnonzero(has & ((sides == "val") == held_out))
            if not len(self._numbers[kind, True]):  # a dataset of one video: better seen clips than none
                self._numbers[kind, True] = self._numbers[kind, False]
        self.kinds = frozenset(kind for kind in CAPTION_KINDS if len(self._numbers[kind, False]))

    def example(self, kind: str, index: int, *, held_out: bool = False, still: bool = False) -> Example:
        number = self._shuffled(kind, index, held_out)
        frames = self._frames[number]
        if still:
            place = int(uniform(self.seed, "still", index) * len(frames))
            frames = frames[place : place + 1]
        return Example(frames, self._captions[number][kind])

    def pair(self, index: int) -> tuple[str, str]:
        """A short and a descriptive caption of a clip that has both."""
        if "short" not in self.kinds or "descriptive" not in self.kinds:
            raise UsageError("an expander learns from short and descriptive captions; this dataset lacks one of them")
        texts = self._captions[self._shuffled("descriptive", index, False)]
        return texts.get("short", texts["descriptive"]), texts["descriptive"]

    def texts(self, kinds: frozenset[str]) -> Iterator[str]:
        for kind in sorted(kinds & self.kinds):
            for number in self._numbers[kind, False]:
                yield self._captions[number][kind]

    def _shuffled(self, kind: str, index: int, held_out: bool) -> int:
        """Every example once per round, in an order of its own each round."""
        numbers = self._numbers[kind, held_out]
        rounds, place = divmod(index, len(numbers))
        return int(numbers[_order(self.seed, kind, rounds, len(numbers))[place]])

    def _check_names(self, dataset: Dataset, prefer: Sequence[str]) -> None:
        known = set(dataset.read("captions", ["captioner"]).column("captioner").to_pylist())
        for name in prefer:
            if name not in known:
                raise UsageError(f"{dataset.uri}: no captions by {name}; there are: {', '.join(sorted(known))}")


@lru_cache(maxsize=16)
def _order(seed: int, kind: str, rounds: int, length: int) -> np.ndarray:
    return generator(seed, "order", kind, rounds).permutation(length)


def _pack(
    sources: Sequence[ClipSource],
    root: str,
    frames: FrameConfig,
    policy: FramePolicy,
    name: str,
    folder: Path | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Frames of all clips, uint8 `[clips, N, S, S, 3]`, and which could be read. In a file, if there is a folder."""
    shape = (len(sources), frames.num_frames, frames.size_px, frames.size_px, 3)
    path = folder / "training" / f"frames-{name}.npy" if folder else None
    if path is not None and path.is_file():
        packed = np.load(path, mmap_mode="r")
        return packed, np.load(path.with_suffix(".read.npy"))
    partial = path.with_name(f".{path.name}.{os.getpid()}") if path else None
    if partial is not None:
        partial.parent.mkdir(parents=True, exist_ok=True)
        packed = np.lib.format.open_memmap(partial, "w+", np.uint8, shape)
    else:
        packed = np.zeros(shape, np.uint8)
    readable = np.zeros(len(sources), bool)
    for index, source in enumerate(sources):
        try:
            packed[index] = fit_frames(load_clip(source, root, policy).frames, frames)
            readable[index] = True
        except VideoError:
            continue
    if path is not None and partial is not None:
        np.save(path.with_suffix(".read.npy"), readable)
        packed.flush()
        os.replace(partial, path)
    return packed, readable
