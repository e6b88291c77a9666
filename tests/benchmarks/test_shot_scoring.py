"""The rule by which shot detectors are compared."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))
from benchmarks.shot_scoring import Found, Marked, Marks, match, score


def cut(frame: int, **settings) -> Marked:
    return Marked("cut", frame, frame, frame, **settings)


def dissolve(start: int, end: int, **settings) -> Marked:
    return Marked("dissolve", (start + end) // 2, start, end, **settings)


def at(*frames: int) -> list[Found]:
    return [Found(frame, frame) for frame in frames]


@pytest.mark.parametrize(
    ("found", "boundaries", "hits_misses_alarms"),
    [
        (at(50), [cut(50)], (1, 0, 0)),
        (at(51), [cut(50)], (1, 0, 0)),
        (at(52), [cut(50)], (0, 1, 1)),
        (at(49, 51), [cut(50)], (1, 0, 1)),  # one prediction per boundary
        (at(50), [cut(50), cut(51)], (1, 1, 0)),  # one boundary per prediction
        (at(50, 51), [cut(51), cut(50)], (2, 0, 0)),
        (at(38), [dissolve(40, 60)], (1, 0, 0)),
        (at(37), [dissolve(40, 60)], (0, 1, 1)),
        (at(40, 50, 60), [dissolve(40, 60)], (1, 0, 0)),  # more within a matched transition do not count
        ([Found(40, 60)], [dissolve(40, 60)], (1, 0, 0)),
        (at(50), [cut(50, required=False)], (0, 0, 0)),
        (at(), [cut(50, required=False)], (0, 0, 0)),
        (at(50), [cut(50, required=False), cut(51)], (1, 0, 0)),  # the required one first
    ],
)
def test_predictions_are_matched_as_the_marks_say(found, boundaries, hits_misses_alarms):
    result, errors = score(found, Marks(100, 25, tuple(boundaries)))
    assert (result.hits, result.misses, result.false_alarms) == hits_misses_alarms
    assert (len(errors.missed), len(errors.false_alarms)) == hits_misses_alarms[1:]


def test_matching_gives_way_so_that_as_many_as_possible_are_hit():
    assert match([50, 51], [cut(51), cut(50)]) == [1, 0]


def test_ignored_ranges_are_not_scored():
    assert score(at(10), Marks(100, 25, ignore=((0, 20),)))[0].false_alarms == 0


@pytest.mark.parametrize(
    ("found", "boundary", "contaminated"),
    [
        (at(), cut(50), 1),
        (at(50), cut(50), 0),
        (at(46), cut(50), 0),  # inside what is trimmed: a fifth of a second
        (at(44), cut(50), 1),
        (at(50), dissolve(42, 58), 2),  # reaches beyond what is trimmed on both sides
        ([Found(42, 58)], dissolve(42, 58), 0),
    ],
)
def test_a_clip_is_contaminated_when_it_holds_a_boundary_after_trimming(found, boundary, contaminated):
    assert score(found, Marks(100, 25, (boundary,)))[0].contaminated == contaminated


def test_what_is_trimmed_and_what_is_too_short_is_not_retained():
    result, _ = score(at(50, 60), Marks(100, 25))
    assert (result.clips, result.retained_frames) == (2, 45 + 35)
