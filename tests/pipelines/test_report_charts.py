"""Numbers, axes and drawings of the report."""

import re

import pytest

from pipelines.report.charts import Axis, Limit, histogram, lines, thinned
from pipelines.report.funnel import say_reason
from pipelines.report.page import cut, duration, file_name, number, score_title, share
from pipelines.report.scores import axis_for
from pipelines.report.sheets import clock


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"), (float("nan"), "–"), (0, "0"), (0.0, "0"), (12345, "12,345"), (12345.6, "12,346"), (999.6, "1000"),
        (0.002130, "0.00213"), (1.0, "1"), (-0.5, "−0.5"), (100.0, "100"), (3e-8, "3.0e-08"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits_and_thousands_set_apart(value, said):
    assert number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "–"), (0, "0 s"), (4.24, "4.2 s"), (59.9, "59.9 s"), (90, "1.5 min"), (7200, "2.0 h"), (4.4e6, "1,222 h")],
)
def test_lengths_of_time_are_in_the_unit_that_suits_them(seconds, said):
    assert duration(seconds).replace("\N{NO-BREAK SPACE}", " ") == said


@pytest.mark.parametrize(
    ("part", "said"),
    [(0, "0 %"), (1, "< 0.1 %"), (500, "5.0 %"), (5000, "50 %"), (9999, "> 99.9 %"), (10_000, "100 %")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part, said):
    assert share(part, 10_000).replace("\N{NO-BREAK SPACE}", " ") == said


@pytest.mark.parametrize(
    ("reason", "threshold", "said"),
    [
        ("motion.min", 0.002, "motion below 0.002"),
        ("short_side_px.min", 128.0, "short side below 128"),
        ("black_fraction.max", None, "black fraction too high"),
        ("motion.best_hours", 3.0, "motion not among the best 3 hours"),
        ("sharpness.missing", None, "sharpness missing"),
        ("too_short", None, "too short"),
        ("a_rule_of_tomorrow", None, "a rule of tomorrow"),
    ],
)
def test_reasons_are_said_in_words(reason, threshold, said):
    assert say_reason(reason, threshold) == said


def test_names_and_places_are_said_as_people_say_them():
    assert [score_title(name) for name in ("short_side_px", "duration_s", "fps")] == [
        "short side, px",
        "duration, s",
        "fps",
    ]
    assert file_name("https://example.org/a/b.mp4?token=1") == "b.mp4"
    assert [clock(seconds) for seconds in (3.14159, 187.5, 3723)] == ["3.14 s", "3:07.5", "1:02:03"]
    assert cut("a" * 50 + "b" * 50, 30) == "a" * 20 + " … " + "b" * 10


def test_an_axis_is_logarithmic_when_a_linear_one_would_squeeze_a_limit_to_its_edge():
    assert axis_for(0.0, 0.5, [0.002]).log
    assert not axis_for(0.0, 0.5, [0.1]).log
    assert not axis_for(-1.0, 0.5, [0.002]).log  # there is no logarithm of these
    wide = axis_for(0.0, 0.5, [0.002])
    assert wide.at(0.0) == wide.start
    assert wide.start < wide.at(0.002) < wide.end
    alike = axis_for(0.0, 0.0, [0.0])
    assert alike.low < alike.high


def test_ticks_are_round_and_few():
    assert Axis(0, 1).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Axis(3, 97).ticks() == [20, 40, 60, 80]
    assert Axis(0.001, 1, log=True).ticks() == pytest.approx([0.001, 0.01, 0.1, 1])
    assert len(Axis(1e-9, 1e9, log=True).ticks()) <= 6


def test_one_clip_among_a_million_can_be_seen_and_the_limit_stands_at_its_value():
    axis = Axis(0, 10)
    bins = {"kept": [1_000_000, 0], "filtered here": [0, 1]}
    svg = histogram(axis, bins, unit="clips", label="L", limits=[Limit(5, "min")])
    heights = [float(height) for height in re.findall(r'<rect[^>]* height="([\d.]+)"', svg)]
    assert min(heights) >= 1
    assert f'<line class="limit" x1="{axis.at(5):.1f}"' in svg
    assert "≥ 5" in svg
    assert "5 to 10: filtered here 1 clips" in svg


def test_a_long_training_makes_no_long_page_and_its_mean_stays():
    points = [(float(step), float(step % 7)) for step in range(100_000)]
    few = thinned(points)
    assert len(few) == 240
    assert sum(y for _, y in few) / 240 == pytest.approx(3, abs=0.01)
    assert few[0][0] < few[-1][0]
    assert len(lines({"loss": points}, label="Loss")) < 10_000


def test_values_that_are_no_numbers_leave_the_rest_of_a_line():
    svg = lines({"loss": [(0, 2.0), (1, float("nan")), (2, 1.0)], "empty": []}, label="<Loss>")
    assert svg.count("<polyline") == 1
    assert "nan" not in svg
    assert 'aria-label="&lt;Loss&gt;"' in svg
    assert lines({"empty": []}, label="none") == ""
