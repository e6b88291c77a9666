"""How found boundaries are scored against marked ones: the rule in the `doc` block of `shots.json`.

A prediction is a frame, for a gradual transition with the span that it claims. A cut is hit within its tolerance, a
gradual transition from two frames before its start to two after its end. One prediction per boundary and one boundary
per prediction; further predictions inside a matched transition do not count at all. Optional boundaries and ignored
ranges neither help nor harm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

GRADUAL_SLACK_FRAMES = 2


@dataclass(frozen=True, slots=True)
class Marked:
    """A true boundary. `start` is the first frame that changes, `end` the first that is fully of the new shot."""

    kind: str
    frame: int
    start: int
    end: int
    required: bool = True
    tolerance: int = 1

    @property
    def reach(self) -> tuple[int, int]:
        """First and last frame at which a prediction hits."""
        if self.start == self.end:
            return self.frame - self.tolerance, self.frame + self.tolerance
        return self.start - GRADUAL_SLACK_FRAMES, self.end + GRADUAL_SLACK_FRAMES


@dataclass(frozen=True, slots=True)
class Found:
    """A predicted boundary: frames `[start, end)` belong to neither shot, and a cut has start == end."""

    start: int
    end: int
    kind: str = "cut"

    @property
    def frame(self) -> int:
        return (self.start + self.end) // 2


@dataclass(frozen=True, slots=True)
class Marks:
    """All that is known about one video."""

    num_frames: int
    fps: float
    boundaries: tuple[Marked, ...] = ()
    ignore: tuple[tuple[int, int], ...] = ()
    """First and last frame of ranges in which nothing is scored."""
    decoys: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """Ranges by kind (flash, pan ...) where a careless detector fires. No boundary is there."""


@dataclass(slots=True)
class Score:
    """Counts that add up over videos."""

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    kind_hits: Counter[str] = field(default_factory=Counter)
    kind_total: Counter[str] = field(default_factory=Counter)
    decoy_alarms: Counter[str] = field(default_factory=Counter)
    decoy_total: Counter[str] = field(default_factory=Counter)
    clips: int = 0
    contaminated: int = 0
    retained_frames: int = 0
    frames: int = 0
    seconds: float = 0.0

    @property
    def precision(self) -> float:
        return self.hits / max(1, self.hits + self.false_alarms)

    @property
    def recall(self) -> float:
        return self.hits / max(1, self.hits + self.misses)

    @property
    def f1(self) -> float:
        return 2 * self.hits / max(1, 2 * self.hits + self.misses + self.false_alarms)

    def add(self, other: Score) -> None:
        for name in ("hits", "misses", "false_alarms", "clips", "contaminated", "retained_frames", "frames", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("kind_hits", "kind_total", "decoy_alarms", "decoy_total"):
            getattr(self, name).update(getattr(other, name))


@dataclass(frozen=True, slots=True)
class Errors:
    missed: tuple[Marked, ...]
    false_alarms: tuple[Found, ...]


def score(found: Sequence[Found], marks: Marks) -> tuple[Score, Errors]:
    """Score the predictions for one video, and name the errors."""
    found = [f for f in found if not any(a <= f.frame <= b for a, b in marks.ignore)]
    partner = match([f.frame for f in found], marks.boundaries)
    matched = {boundary for boundary in partner if boundary is not None}
    missed = tuple(b for i, b in enumerate(marks.boundaries) if b.required and i not in matched)
    inside = [marks.boundaries[i].reach for i in matched if marks.boundaries[i].start < marks.boundaries[i].end]
    alarms = tuple(
        f
        for f, hit in zip(found, partner, strict=True)
        if hit is None and not any(low <= f.frame <= high for low, high in inside)
    )
    result = Score(misses=len(missed), false_alarms=len(alarms), frames=marks.num_frames)
    result.seconds = marks.num_frames / marks.fps
    for index, boundary in enumerate(marks.boundaries):
        if boundary.required:
            result.kind_total[boundary.kind] += 1
            result.kind_hits[boundary.kind] += index in matched
    result.hits = sum(result.kind_hits.values())
    for kind, ranges in marks.decoys.items():
        result.decoy_total[kind] += len(ranges)
        result.decoy_alarms[kind] += sum(any(a <= f.frame <= b for f in alarms) for a, b in ranges)
    _score_clips(found, marks, result)
    return result, Errors(missed, alarms)


def match(frames: Sequence[int], boundaries: Sequence[Marked]) -> list[int | None]:
    """The boundary of each prediction, such that as many required ones as possible are hit, then optional ones."""
    partner: list[int | None] = [None] * len(frames)

    def find(boundary: int, tried: set[int]) -> bool:
        low, high = boundaries[boundary].reach
        near = [i for i, frame in enumerate(frames) if low <= frame <= high]
        for i in sorted(near, key=lambda i: abs(frames[i] - boundaries[boundary].frame)):
            if i in tried:
                continue
            tried.add(i)
            held = partner[i]
            if held is None or find(held, tried):
                partner[i] = boundary
                return True
        return False

    for boundary in sorted(range(len(boundaries)), key=lambda i: not boundaries[i].required):
        find(boundary, set())
    return partner


def _score_clips(found: Sequence[Found], marks: Marks, result: Score, min_clip_s: float = 1.0) -> None:
    """Clips as a user gets them: between predictions, trimmed, and long enough to train on."""
    trim = max(4, round(0.2 * marks.fps))
    edges = sorted((f.start, f.end) for f in found)
    starts = [0, *(end + trim for _, end in edges)]
    ends = [*(start - trim for start, _ in edges), marks.num_frames]
    for start, end in zip(starts, ends, strict=True):
        if end - start < max(2, min_clip_s * marks.fps):
            continue
        result.clips += 1
        result.retained_frames += end - start
        result.contaminated += any(b.required and _lies_in(b, start, end) for b in marks.boundaries)


def _lies_in(boundary: Marked, start: int, end: int) -> bool:
    if boundary.start == boundary.end:
        return start < boundary.frame < end
    return boundary.start < end and boundary.end > start
