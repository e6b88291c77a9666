"""Films: takes joined by cuts and gradual transitions, with defects, and the exact truth about every frame.

    film = sample_film(generator(seed, "film"), width=320, height=180, fps=Fraction(24), seconds=30)
    for picture in render_film(film): ...
    truth = film_truth(film)         arithmetic on the plan: renders nothing

    take 0  |--------------|          n frames each; a gradual transition of m frames overlaps the last m of one take
    take 1              |--------|    and the first m of the next
            0           a  b          boundary: start a, end b = a + m; a cut has m = 0 and is at the first new frame

A boundary has the conventions of shot lists made by hand: a gradual one starts at the first frame that changes and ends
at the first that is wholly new.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import islice

import cv2
import numpy as np

from curate.config import nearest
from curate.counter_random import generator
from curate.drawn.defects import FILM_DEFECTS, Box, Defect, content_box, hidden_slots, spoil
from curate.drawn.describe import describe
from curate.drawn.render import draw_frames
from curate.drawn.shot import Shot
from curate.drawn.transitions import TRANSITIONS, blend
from curate.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """A shot as it is filmed: so many frames, and what is wrong with them."""

    shot: Shot
    num_frames: int
    defects: tuple[Defect, ...] = ()


@dataclass(frozen=True, slots=True)
class Join:
    """How one take leads to the next: a cut of 0 frames, or one of `TRANSITIONS` that takes so many."""

    kind: str = "cut"
    frames: int = 0

    def __post_init__(self) -> None:
        if self.kind not in TRANSITIONS:
            raise ConfigError(f"no transition {self.kind!r}; {nearest(self.kind, TRANSITIONS)}")
        if (self.kind == "cut") != (self.frames == 0):
            raise ConfigError(f"a {self.kind} of {self.frames} frames: a cut has none, everything else has some")


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A plan of a film. `joins` has one fewer than `takes`."""

    takes: tuple[Take, ...]
    joins: tuple[Join, ...] = ()
    width: int = 320
    height: int = 180
    fps: Fraction = Fraction(24)
    defects: tuple[Defect, ...] = ()  # of the whole film: `FILM_DEFECTS`
    fade_in: int = 0  # frames that brighten from black, at the start of the film
    fade_out: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.joins) != len(self.takes) - 1:
            raise ConfigError(f"{len(self.takes)} takes need {len(self.takes) - 1} joins, got {len(self.joins)}")
        for defect in self.defects:
            if defect.kind not in FILM_DEFECTS:
                raise ConfigError(f"{defect.kind} belongs to a take; defects of a film are {', '.join(FILM_DEFECTS)}")
        for index, take in enumerate(self.takes):
            if take.num_frames <= sum(self.overlap(index)):
                raise ConfigError(f"take {index} has {take.num_frames} frames and is all transition; make it longer")

    def overlap(self, index: int) -> tuple[int, int]:
        """Frames at the start and end of a take that belong to transitions."""
        before = self.joins[index - 1].frames if index else 0
        return before, self.joins[index].frames if index < len(self.joins) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A transition. For a cut, `start`, `frame` and `end` are the first frame of the new scene."""

    kind: str  # cut, dissolve, fade_black, fade_white, wipe, iris, push
    style: str  # the transition by its full name, for example wipe_left
    start: int  # first frame that changes
    frame: int  # the middle
    end: int  # first frame that is wholly new
    required: bool = (
        True  # False at the edges of the film and for a black stretch inside a take: found or not, both right
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneTruth:
    """A take between its transitions: frames [start, end) of the film show it alone."""

    start: int
    end: int
    shot: Shot
    defects: tuple[Defect, ...]  # frames counted from the start of the film
    hidden: tuple[str, ...]  # facts that cannot be seen because of them
    short: str
    descriptive: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """Frames [start, end) where a detector that is easily fooled sees a cut."""

    start: int
    end: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FilmTruth:
    """All that is so about a film, frame by frame."""

    width: int
    height: int
    fps_num: int
    fps_den: int
    num_frames: int
    boundaries: tuple[Boundary, ...]
    scenes: tuple[SceneTruth, ...]
    traps: tuple[Trap, ...]
    content_box: tuple[int, ...]  # x, y, width, height of the picture inside its bars


def film_truth(film: Film) -> FilmTruth:
    """What a film shows, frame by frame, without rendering it."""
    starts = _take_starts(film)
    num_frames = starts[-1] + film.takes[-1].num_frames
    boundaries = [
        Boundary(
            kind=TRANSITIONS[join.kind],
            style=join.kind,
            start=start,
            frame=start + join.frames // 2,
            end=start + join.frames,
        )
        for start, join in zip(starts[1:], film.joins, strict=True)
    ]
    scenes, traps = [], []
    for index, (start, take) in enumerate(zip(starts, film.takes, strict=True)):
        before, after = film.overlap(index)
        moved = tuple(_moved(defect, start, take.num_frames) for defect in take.defects)
        hidden = hidden_slots((*take.defects, *film.defects))
        scenes.append(
            SceneTruth(
                start=start + before,
                end=start + take.num_frames - after,
                shot=take.shot,
                defects=(*moved, *film.defects),
                hidden=hidden,
                short=describe(take.shot, "short", film.seed + index, hidden=hidden),
                descriptive=describe(take.shot, "descriptive", film.seed + index, hidden=hidden),
            )
        )
        for defect in moved:
            assert defect.end is not None
            if defect.kind in ("flash", "whip"):
                traps.append(Trap(start=defect.start, end=defect.end, why=defect.kind))
            elif defect.kind == "exposure":
                traps += [Trap(start=step, end=step + 1, why="exposure") for step in (defect.start, defect.end)]
            elif defect.kind == "black":
                boundaries.append(_optional(defect.start, defect.end))
    if film.fade_in:
        boundaries.append(_optional(0, film.fade_in))
    if film.fade_out:
        boundaries.append(_optional(num_frames - film.fade_out, num_frames))
    return FilmTruth(
        width=film.width,
        height=film.height,
        fps_num=film.fps.numerator,
        fps_den=film.fps.denominator,
        num_frames=num_frames,
        boundaries=tuple(sorted(boundaries, key=lambda boundary: boundary.start)),
        scenes=tuple(scenes),
        traps=tuple(traps),
        content_box=content_box(film.defects, film.width, film.height),
    )


def render_film(film: Film) -> Iterator[np.ndarray]:
    """All frames of a film, uint8 `[H, W, 3]` RGB, one at a time."""
    box = content_box(film.defects, film.width, film.height)
    marks = [defect for defect in film.defects if defect.kind == "watermark"]
    num_frames = _take_starts(film)[-1] + film.takes[-1].num_frames
    rng = generator(film.seed, "film")
    for index, picture in enumerate(_joined(film, box)):
        from_end = num_frames - 1 - index
        if index < film.fade_in:
            picture = blend("dissolve", np.zeros_like(picture), picture, index / film.fade_in)
        elif from_end < film.fade_out:
            picture = blend("dissolve", np.zeros_like(picture), picture, from_end / film.fade_out)
        if box[2:] != (film.width, film.height):
            bars = np.zeros((film.height, film.width, 3), np.uint8)
            bars[box[1] : box[1] + box[3], box[0] : box[0] + box[2]] = picture
            picture = bars
        for mark in marks:
            picture = spoil(picture, mark, rng)
        yield picture


def _take_starts(film: Film) -> list[int]:
    starts = [0]
    for take, join in zip(film.takes, film.joins, strict=False):
        starts.append(starts[-1] + take.num_frames - join.frames)
    return starts


def _moved(defect: Defect, start: int, num_frames: int) -> Defect:
    end = num_frames if defect.end is None else min(defect.end, num_frames)
    return replace(defect, start=start + defect.start, end=start + end)


def _optional(start: int, end: int) -> Boundary:
    return Boundary(
        kind="fade_black", style="fade_black", start=start, frame=(start + end) // 2, end=end, required=False
    )


def _joined(film: Film, box: Box) -> Iterator[np.ndarray]:
    """The takes and the transitions between them, without what lies over the whole film."""
    takes = [_take_frames(film, index, box) for index in range(len(film.takes))]
    before = 0
    for index, join in enumerate(film.joins):
        yield from islice(takes[index], film.takes[index].num_frames - before - join.frames)
        for step in range(join.frames):
            yield blend(join.kind, next(takes[index]), next(takes[index + 1]), (step + 1) / (join.frames + 1))
        before = join.frames
    yield from takes[-1]


def _take_frames(film: Film, index: int, box: Box) -> Iterator[np.ndarray]:
    take = film.takes[index]
    order = np.arange(take.num_frames)
    aside = np.zeros(take.num_frames)
    for defect in take.defects:
        end = take.num_frames if defect.end is None else defect.end
        if defect.kind in ("frozen", "still"):
            order[defect.start : end] = defect.start
        elif defect.kind == "whip":
            aside += (
                defect.value()
                * box[2]
                / min(box[2:])
                * _ease((end - np.arange(take.num_frames)) / (end - defect.start))
            )
    times = order / float(film.fps)
    spoilers = [defect for defect in take.defects if defect.kind not in ("still", "frozen", "whip")]
    pictures = draw_frames(take.shot, box[2], box[3], times, aside)
    streaks_px = np.abs(np.diff(aside, append=aside[-1])) * min(box[2:])
    for frame, picture in enumerate(pictures):
        if streaks_px[frame] >= 2:
            picture = cv2.blur(picture, (int(streaks_px[frame]), 1))
        for defect in spoilers:
            if defect.covers(frame):
                picture = spoil(picture, defect, generator(film.seed, "defect", index, frame))
        yield picture


def _ease(share: np.ndarray) -> np.ndarray:
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
