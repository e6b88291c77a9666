"""Scenes and transitions cover every frame; clips lie inside their scenes, trimmed, and long ones in equal parts."""

from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from curate.errors import ConfigError
from curate.shots import Boundary
from curate.split import Span, SplitConfig, clip_spans, scene_spans, span_id

PLAIN = SplitConfig(min_s=1, max_s=4, trim_s=0, trim_frames=0)


def cut(index: int) -> Boundary:
    return Boundary("cut", index, index, 1.0)


@pytest.mark.parametrize(
    ("boundaries", "expected"),
    [
        ([], [((0, 100), 0)]),
        ([cut(40)], [((0, 40), 0), ((40, 100), 0)]),
        ([Boundary("dissolve", 40, 50, 1.0)], [((0, 40), 10), ((50, 100), 0)]),
        ([cut(70), cut(40)], [((0, 40), 0), ((40, 70), 0), ((70, 100), 0)]),  # in any order
        ([Boundary("fade", 0, 10, 1.0)], [((0, 100), 0)]),  # a fade-in has no scene before it
        ([Boundary("fade", 90, 100, 1.0)], [((0, 100), 0)]),
        ([cut(100), cut(0)], [((0, 100), 0)]),
        ([Boundary("wipe", 40, 60, 1.0), cut(50)], [((0, 40), 20), ((60, 100), 0)]),  # inside another: part of it
    ],
)
def test_scenes_lie_between_transitions(boundaries, expected):
    found = scene_spans(boundaries, 100)
    assert [((span.start, span.end), after) for span, after in found] == expected
    assert sum(span.end - span.start + after for span, after in found) == 100


def test_scenes_know_how_they_begin_and_end():
    spans = [span for span, _ in scene_spans([cut(30), Boundary("fade", 60, 70, 1.0)], 100)]
    assert [(span.start_kind, span.end_kind) for span in spans] == [("start", "cut"), ("cut", "fade"), ("fade", "end")]


def spans_of(scene: Span, config: SplitConfig, pts: np.ndarray | None = None, tick_s: float = 0.1):
    times = np.arange(101) if pts is None else pts
    spans, reason = clip_spans(scene, times, tick_s, config)
    return [(span.start, span.end) for span in spans], reason


@pytest.mark.parametrize(
    ("scene", "config", "expected"),
    [
        ((0, 30), PLAIN, [(0, 30)]),
        ((0, 10), PLAIN, [(0, 10)]),  # exactly the minimum
        ((0, 9), PLAIN, []),
        ((0, 40), PLAIN, [(0, 40)]),  # exactly the maximum
        ((0, 41), PLAIN, [(0, 20), (20, 41)]),
        ((10, 100), PLAIN, [(10, 40), (40, 70), (70, 100)]),
        ((20, 60), SplitConfig(min_s=1, max_s=4, trim_s=0.2, trim_frames=4), [(24, 56)]),  # frames are longer
        ((20, 60), SplitConfig(min_s=1, max_s=4, trim_s=0.5, trim_frames=4), [(25, 55)]),  # seconds are longer
        ((20, 36), SplitConfig(min_s=1, max_s=4, trim_s=0.5, trim_frames=4), []),  # nothing is left
        ((20, 24), SplitConfig(min_s=1, max_s=4, trim_s=5, trim_frames=4), []),
    ],
)
def test_clips_are_trimmed_and_long_scenes_divided(scene, config, expected):
    spans, reason = spans_of(Span(*scene, "cut", "cut"), config)
    assert spans == expected
    assert reason == (None if expected else "too_short")


def test_the_edges_of_the_video_are_not_trimmed():
    config = SplitConfig(min_s=1, max_s=10, trim_s=1, trim_frames=0)
    assert spans_of(Span(0, 50, "start", "cut"), config)[0] == [(0, 40)]
    assert spans_of(Span(50, 100, "cut", "end"), config)[0] == [(60, 100)]


def test_parts_know_that_they_were_forced():
    spans, _ = clip_spans(Span(0, 100, "cut", "dissolve"), np.arange(101), 0.1, PLAIN)
    assert [(span.start_kind, span.end_kind) for span in spans] == [
        ("cut", "forced"),
        ("forced", "forced"),
        ("forced", "dissolve"),
    ]


def test_with_a_varying_rate_parts_are_equal_in_time_not_in_frames():
    # 50 frames in the first second, 10 in each of the next four: 5 s in all.
    pts = np.concatenate([np.arange(0, 100, 2), np.arange(100, 501, 10)])
    spans, _ = clip_spans(Span(0, len(pts) - 1, "start", "end"), pts, 0.01, SplitConfig(min_s=1, max_s=2.5))
    lengths = [float(pts[span.end] - pts[span.start]) / 100 for span in spans]
    assert lengths == [2.5, 2.5]
    assert spans[0].end - spans[0].start > spans[1].end - spans[1].start


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=300),
    st.floats(0.1, 3),
    st.floats(1, 5),
    st.floats(0, 1),
    st.integers(0, 6),
)
def test_clips_always_lie_inside_their_scene_and_within_the_limits(gaps, min_s, factor, trim_s, trim_frames):
    pts = np.concatenate([[0], np.cumsum(gaps)])
    config = SplitConfig(min_s=min_s, max_s=2 * min_s * factor, trim_s=trim_s, trim_frames=trim_frames)
    tick_s = 0.01
    spans, reason = clip_spans(Span(0, len(gaps), "cut", "cut"), pts, tick_s, config)
    assert (reason is None) == bool(spans)
    longest_gap_s = max(gaps) * tick_s
    for span in spans:
        length_s = (pts[span.end] - pts[span.start]) * tick_s
        assert 0 <= span.start < span.end <= len(gaps)
        assert length_s <= config.max_s + longest_gap_s
    assert all(first.end == second.start for first, second in pairwise(spans))


def test_ids_depend_on_content_and_span_alone():
    assert span_id("clip", "v", 0, 10) == span_id("clip", "v", np.int64(0), 10) == "e441d09b3ab23262819d6c9e"
    assert len({span_id(*key) for key in [("clip", "v", 0, 10), ("scene", "v", 0, 10), ("clip", "v", 0, 11)]}) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_s": 0}, "split.min_s must be above 0 and at most max_s"),
        ({"min_s": 20}, "split.min_s must be above 0 and at most max_s"),
        ({"min_s": 6}, "max_s must be at least twice min_s"),
        ({"trim_s": -1}, "must not be negative"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        SplitConfig(**settings)
