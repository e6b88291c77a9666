"""Scores of the user's own: functions over a clip, named as `module:function`, whose values rules and models may use.

    def greenness(clip: ScoredClip) -> float:          # in my_scores.py
        return float(clip.frames[..., 1].mean())

A function sees what the scan stored, so no video is decoded. Its values are rows of the table `scores`, made again when
the module or the video changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow.compute as pc

from curate.config import fingerprint
from curate.errors import ConfigError, ErrorKind, VideoError
from curate.payload import read_payload
from curate.references import load, source_hash, split_reference
from curate.rules import SCORES
from curate.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.tables import Dataset

SCORE_VERSION = 1
"""Raised whenever the same function would be shown something else of the same clip."""

_PART = 1000  # videos whose clips are read at a time
_TAKEN = frozenset(SCORES) | {column.name for table in TABLES.values() for column in table.columns}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig:
    """Which functions are called for every clip."""

    functions: tuple[str, ...] = ()
    """Each as module:function; the score has the name of the function."""

    def __post_init__(self) -> None:
        names = [split_reference(reference)[1] for reference in self.functions]
        for name in names:
            if name in _TAKEN:
                raise ConfigError(f"score.functions: {name} is the name of a column already; rename the function")
            if names.count(name) > 1:
                raise ConfigError(f"score.functions: two functions are called {name}; a score has one")

    @property
    def names(self) -> list[str]:
        """Of the scores."""
        return [split_reference(reference)[1] for reference in self.functions]

    def revisions(self) -> dict[str, str]:
        """Hash of each function's module, by reference. Raises UsageError when one cannot be imported."""
        for reference in self.functions:
            load(reference)  # a wrong name is found now, not at the first clip
        return {reference: source_hash(reference) for reference in self.functions}


class ScoredVideo:
    """What the scan stored of a video; read when a function asks for it."""

    def __init__(self, root: str, row: Mapping[str, Any]) -> None:
        self._root, self._row = root, row
        self.tick_s: float = row["time_base_num"] / row["time_base_den"]

    @cached_property
    def previews(self) -> pa.Table:
        return read_payload(self._root, self._row["previews_path"])

    @cached_property
    def signals(self) -> pa.Table:
        return read_payload(self._root, self._row["signals_path"])


class ScoredClip:
    """What a score function sees of a clip. Frames and signals are read when they are asked for."""

    def __init__(self, facts: Mapping[str, Any], video: ScoredVideo) -> None:
        self.facts = facts
        """The clip's row of the table `clips`: sizes, times and scores."""
        self._video = video

    @cached_property
    def frames(self) -> np.ndarray:
        """Previews of the clip, about two a second and 256 px high or wide: uint8 `[T, H, W, 3]`, RGB, T at least 1."""
        import cv2

        jpegs = self._shown["jpeg"].to_pylist()
        if not jpegs:
            raise VideoError("no_frames", "no preview lies within this clip; scan with more of them a second")
        pictures: list[Any] = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in jpegs]
        if any(picture is None for picture in pictures):
            raise VideoError("corrupt", "a preview of this clip is damaged; scan the video again")
        return np.stack(pictures)[..., ::-1]  # OpenCV gives BGR

    @cached_property
    def times_s(self) -> np.ndarray:
        """Time of each of `frames` from the start of the clip, in seconds."""
        return (self._shown["pts"].to_numpy() - self.facts["start_pts"]) * self._video.tick_s

    @cached_property
    def signals(self) -> pa.Table:
        """What the scan measured, a row per frame of the clip: pts, luma, sharpness, motion and so on."""
        return self._within(self._video.signals)

    @cached_property
    def _shown(self) -> pa.Table:
        return self._within(self._video.previews)

    def _within(self, table: pa.Table) -> pa.Table:
        pts = table["pts"].to_numpy()
        start, end = np.searchsorted(pts, [self.facts["start_pts"], self.facts["end_pts"]])
        return table.slice(start, end - start)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoToScore:
    """A video with the scores that are due: a small record that travels to the worker."""

    video: Mapping[str, Any]
    """Its row of `videos`."""
    due: Sequence[tuple[Mapping[str, Any], Mapping[str, str]]]
    """Rows of `clips`, each with the references of the functions to call and the fingerprint of each result."""


Due: TypeAlias = dict[str, dict[str, dict[str, str]]]
"""By video and clip: the references of the functions to call, each with the fingerprint of its result."""


def plan_scores(dataset: Dataset, config: ScoreConfig, *, retry: bool = False) -> tuple[Due, int]:
    """The scores to be computed, and the number of those that are up to date.

    A score outlives a new split that finds the same span.
    """
    revisions = config.revisions()
    stored = _columns(dataset, "scores", ["score_id", "fingerprint", "status"])
    known = {key: (made_by, status) for key, made_by, status in zip(*stored, strict=True)}
    scans = dict(zip(*_columns(dataset, "videos", ["video_id", "fingerprint"]), strict=True))
    due: Due = {}
    unchanged = 0
    for clip_id, video_id in zip(*_columns(dataset, "clips", ["clip_id", "video_id"]), strict=True):
        for reference, revision in revisions.items():
            made_by = fingerprint("score", SCORE_VERSION, reference, revision, clip_id, scans[video_id])
            before, status = known.get(_score_id(clip_id, reference), (None, None))
            if before == made_by and not (retry and status == "failed"):
                unchanged += 1
            else:
                due.setdefault(video_id, {}).setdefault(clip_id, {})[reference] = made_by
    return due, unchanged


def videos_to_score(dataset: Dataset, due: Due) -> Iterator[list[VideoToScore]]:
    """What is due as records for workers, a part of the videos at a time: rows of clips are large."""
    ids = list(due)
    for start in range(0, len(ids), _PART):
        part = pc.field("video_id").isin(ids[start : start + _PART])
        clips: dict[str, list[Any]] = {}
        for row in dataset.read("clips", where=part).to_pylist():
            if wanted := due[row["video_id"]].get(row["clip_id"]):
                clips.setdefault(row["video_id"], []).append((row, wanted))
        videos = dataset.read("videos", where=part).to_pylist()
        yield [VideoToScore(video=row, due=clips[row["video_id"]]) for row in videos]


def score_video(item: VideoToScore, root: str) -> list[dict[str, Any]]:
    """Rows of `scores`: what each function says of each clip, or why it says nothing."""
    video = ScoredVideo(root, item.video)
    rows = []
    for facts, wanted in item.due:
        clip = ScoredClip(facts, video)
        rows += [{**_score(clip, reference), "fingerprint": made_by} for reference, made_by in wanted.items()]
    return rows


def failed_scores(item: VideoToScore, kind: ErrorKind, message: str) -> list[dict[str, Any]]:
    """Rows for a video of which nothing could be read."""
    return [
        {**_row(facts, reference), **_failed(kind, message), "fingerprint": made_by}
        for facts, wanted in item.due
        for reference, made_by in wanted.items()
    ]


def known_functions(dataset: Dataset) -> dict[str, str]:
    """The dataset's own scores: name to the function that wrote the newest of them."""
    rows = dataset.read("scores", ["name", "function", "run_id"]).group_by(["name", "function"])
    newest = rows.aggregate([("run_id", "max")]).sort_by([("run_id_max", "ascending"), ("name", "ascending")])
    return dict(zip(newest["name"].to_pylist(), newest["function"].to_pylist(), strict=True))


def _score(clip: ScoredClip, reference: str) -> dict[str, Any]:
    row = _row(clip.facts, reference)
    try:
        return {**row, "status": "ok", "value": _number(load(reference)(clip))}
    except VideoError as error:
        return {**row, **_failed(error.kind, str(error))}
    except Exception as error:  # a function of the user's may raise anything: it costs this score alone
        return {**row, **_failed("score", f"{type(error).__name__}: {error}")}


def _score_id(clip_id: str, reference: str) -> str:
    return f"{clip_id}:{split_reference(reference)[1]}"


def _columns(dataset: Dataset, table: str, names: list[str]) -> list[list[Any]]:
    found = dataset.read(table, names)
    return [found[name].to_pylist() for name in names]


def _row(clip: Mapping[str, Any], reference: str) -> dict[str, Any]:
    known = {"clip_id": clip["clip_id"], "video_id": clip["video_id"], "function": reference}
    return {"score_id": _score_id(clip["clip_id"], reference), "name": split_reference(reference)[1], **known}


def _failed(kind: ErrorKind, message: str) -> dict[str, Any]:
    return {"status": "failed", "error_kind": kind, "error": message}


def _number(value: Any) -> float | None:
    number = None if value is None else float(value)
    if number is not None and math.isinf(number):
        raise ValueError("the score is infinite")
    return None if number is None or math.isnan(number) else number
