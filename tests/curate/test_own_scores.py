"""Functions of the user's own score every clip, from what is stored; rules and queries know the result by name."""

import importlib
import sys

import pytest
from fabricated import consistent, red_and_black

from curate.check import check
from curate.config import to_tree
from curate.decide import decide, yield_curves
from curate.errors import ConfigError, UsageError
from curate.own_scores import (
    ScoreConfig,
    VideoToScore,
    known_functions,
    plan_scores,
    score_video,
    videos_to_score,
)
from curate.query import query
from curate.references import load, source_hash
from curate.rules import DecideConfig, Rule
from curate.tables import Dataset

SCORES = """
def redness(clip):
    return clip.frames[..., 0].mean() / 255

def latest(clip):
    return clip.times_s[-1]

def motion_of_first_frame(clip):
    return clip.signals["motion"][0].as_py()

def seconds(clip):
    return clip.facts["duration_s"]

def nothing(clip):
    return None

def no_number(clip):
    return float("nan")

def broken(clip):
    raise LookupError("no such thing")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The file of the functions, in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    importlib.invalidate_caches()
    file = tmp_path / "own_functions.py"
    file.write_text(SCORES)
    yield file
    sys.modules.pop("own_functions", None)


@pytest.fixture
def dataset(tmp_path):
    return red_and_black(tmp_path / "dataset")


def scored(dataset, *names):
    """Score both clips as the stage does; values by clip and name."""
    references = [f"own_functions:{name}" for name in names]
    [row] = dataset.read("videos").to_pylist()
    due = [(row, dict.fromkeys(references, "f")) for row in dataset.read("clips").to_pylist()]
    rows = [{**row, "run_id": "r"} for row in score_video(VideoToScore(video=row, due=due), dataset.uri)]
    dataset.replace_rows("scores", [row["score_id"] for row in rows], rows)
    return {(row["clip_id"], row["name"]): row.get("value") for row in rows}


def test_a_function_sees_frames_signals_and_facts_of_its_clip_alone(module, dataset):
    assert scored(dataset, "redness", "latest", "motion_of_first_frame", "seconds") == {
        ("v-c0", "redness"): pytest.approx(1, abs=0.02),
        ("v-c1", "redness"): pytest.approx(0, abs=0.02),
        ("v-c0", "latest"): 4.0,  # previews at 0, 1, .. 4 s
        ("v-c1", "latest"): 4.0,
        ("v-c0", "motion_of_first_frame"): 0.0,
        ("v-c1", "motion_of_first_frame"): 0.5,
        ("v-c0", "seconds"): 5.0,
        ("v-c1", "seconds"): 5.0,
    }


def test_no_score_is_null_and_an_error_costs_that_score_alone(module, dataset):
    values = scored(dataset, "nothing", "no_number", "broken", "seconds")
    assert values["v-c0", "nothing"] is values["v-c0", "no_number"] is values["v-c0", "broken"] is None
    assert values["v-c0", "seconds"] == 5.0
    failed = query(dataset, "select distinct name, error_kind, error from scores where status = 'failed'").to_pylist()
    assert failed == [{"name": "broken", "error_kind": "score", "error": "LookupError: no such thing"}]
    assert query(dataset, "select count(*) as n from scores where status = 'ok'").to_pylist() == [{"n": 6}]


def test_rules_queries_and_curves_know_a_score_by_its_name(module, dataset):
    scored(dataset, "redness", "nothing")
    config = DecideConfig.from_tree({"redness": {"min": 0.5}}, own=known_functions(dataset))
    config = DecideConfig(rules={"redness": config.rules["redness"]})
    decide(dataset, config, run_id="r")
    rows = query(dataset, "select clip_id, state, reason, redness, nothing from all_clips order by clip_id").to_pylist()
    assert [(row["clip_id"], row["state"], row["reason"]) for row in rows] == [
        ("v-c0", "kept", None),
        ("v-c1", "filtered", "redness.min"),
    ]
    assert rows[0]["redness"] == pytest.approx(1, abs=0.02)
    assert rows[0]["nothing"] is None
    assert {row["rule"] for row in yield_curves(dataset, config).to_pylist()} == {"redness"}
    decide(dataset, DecideConfig(rules={"nothing": Rule(max=1)}), run_id="r")
    assert set(dataset.read("decisions")["reason"].to_pylist()) == {"nothing.missing"}
    decide(dataset, DecideConfig(rules={"redness": Rule(max_quantile=0.4)}), run_id="r")
    assert dataset.read("decisions")["state"].to_pylist() == ["filtered", "kept"]


def test_a_rule_on_a_score_that_there_is_not_is_refused(dataset):
    with pytest.raises(ConfigError, match="no score 'redness' to decide on"):
        decide(dataset, DecideConfig(rules={"redness": Rule(min=1)}), run_id="r")
    with pytest.raises(ConfigError, match="did you mean redness"):
        DecideConfig.from_tree({"rednes": {"min": 1}}, own=["redness"])
    dataset.replace_all("clips", [])
    decide(dataset, DecideConfig(rules={"redness": Rule(min=1)}), run_id="r")  # nothing to ask


def test_a_check_holds_with_scores(module, dataset):
    scored(dataset, "redness", "broken")
    assert not [row for row in check(dataset).violations if "scores" in row[1]]


def test_older_versions_have_no_scores_that_came_later(module, dataset):
    versions = dataset.versions()
    scored(dataset, "redness")
    assert query(dataset, "select * from scores", versions).num_rows == 0
    assert query(dataset, "select * from scores").num_rows == 2


def test_due_scores_reach_the_workers_a_part_of_the_videos_at_a_time(module, tmp_path, monkeypatch):
    dataset = consistent(Dataset(tmp_path / "two"))
    due, unchanged = plan_scores(dataset, ScoreConfig(functions=("own_functions:seconds", "own_functions:nothing")))
    assert (sum(len(wanted) for clips in due.values() for wanted in clips.values()), unchanged) == (8, 0)
    del due["b"]["b-c1"]
    monkeypatch.setattr("curate.own_scores._PART", 1)
    parts = [
        [(item.video["video_id"], [row["clip_id"] for row, _ in item.due]) for item in part]
        for part in videos_to_score(dataset, due)
    ]
    assert parts == [[("a", ["a-c0", "a-c1"])], [("b", ["b-c0"])]]


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        (["my:motion"], "motion is the name of a column already"),
        (["my:title"], "title is the name of a column already"),
        (["my:red", "other:red"], "two functions are called red"),
        (["my.red"], "expected module:name"),
        (["my:red()"], "expected module:name"),
    ],
)
def test_names_that_are_taken_or_no_names_are_refused(functions, message):
    with pytest.raises((ConfigError, UsageError), match=message):
        ScoreConfig(functions=tuple(functions))


def test_a_reference_that_leads_nowhere_is_named(module):
    with pytest.raises(UsageError, match="cannot import no_such_module: ModuleNotFoundError"):
        load("no_such_module:x")
    with pytest.raises(UsageError, match=r"own_functions.py has no reddness"):
        load("own_functions:reddness")
    with pytest.raises(UsageError, match="there is no module no_such_module"):
        source_hash("no_such_module:x")
    with pytest.raises(UsageError, match="there is no module no_such_module"):
        source_hash("no_such_module.part:x")
    (module.parent / "stumbles.py").write_text("1 / 0")
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        ScoreConfig(functions=("stumbles:x",)).revisions()


def test_the_revision_of_a_function_is_that_of_its_modules_text(module):
    config = ScoreConfig(functions=("own_functions:redness",))
    before = config.revisions()
    module.write_bytes(SCORES.replace("\n", "\r\n").encode())
    assert config.revisions() == before
    module.write_text(SCORES.replace("255", "256"))
    assert config.revisions() != before
    assert to_tree(config) == {"functions": ["own_functions:redness"]}
