"""Rules decide in their order; scores stay; nothing about a decision depends on who asks when."""

import pytest
from fabricated import clip, fill, source

from curate.decide import decide, yield_curves
from curate.errors import ConfigError
from curate.rules import DecideConfig, Rule
from curate.tables import Dataset

MOTIONS = {"a": 0.0, "b": 0.1, "c": 0.2, "d": 0.3, "e": None}


@pytest.fixture
def dataset(tmp_path):
    """Five videos of one clip each, an hour long, with rising motion; that of e is unknown."""
    names = list(MOTIONS)
    return fill(
        Dataset(tmp_path),
        sources=[source(f"/{name}.mp4", name) for name in names],
        clips=[clip(name, 0, 0, 36_000, motion=MOTIONS[name], luma=100.0) for name in names],
    )


def decided(dataset, **rules):
    decide(dataset, DecideConfig(rules=rules, val_fraction=0), run_id="r")
    rows = dataset.read("decisions").to_pylist()
    return {row["video_id"]: (row["state"], row["reason"]) for row in rows}


def kept(dataset, **rules):
    return "".join(name for name, (state, _) in decided(dataset, **rules).items() if state == "kept")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({}, "abcde"),
        ({"motion": Rule(min=0.1)}, "bcd"),  # a limit itself passes; a missing score does not
        ({"motion": Rule(min=0.1, missing="keep")}, "bcde"),
        ({"motion": Rule(max=0.1)}, "ab"),
        ({"motion": Rule(min=0.1, max=0.2)}, "bc"),
        ({"motion": Rule(min_quantile=0.5)}, "cd"),
        ({"motion": Rule(max_quantile=0.5)}, "ab"),
        ({"motion": Rule(best_hours=2)}, "cd"),
        ({"motion": Rule(best_hours=1.5)}, "cd"),  # the hour that is begun is kept
        ({"motion": Rule(max=0.2, best_hours=1)}, "c"),
        ({"short_side_px": Rule(min=361)}, ""),
    ],
)
def test_rules_keep_what_passes_all_of_them(dataset, rules, expected):
    assert kept(dataset, **rules) == expected


def test_the_first_rule_that_fails_is_the_reason_with_score_and_threshold(dataset):
    decide(
        dataset, DecideConfig(rules={"luma": Rule(max=200), "motion": Rule(min=0.15), "fps": Rule(min=60)}), run_id="r"
    )
    rows = {row["video_id"]: row for row in dataset.read("decisions").to_pylist()}
    assert (rows["b"]["reason"], rows["b"]["threshold"]) == ("motion.min", 0.15)
    assert rows["b"]["score"] == pytest.approx(0.1)
    assert rows["d"]["reason"] == "fps.min"
    assert (rows["e"]["reason"], rows["e"]["score"]) == ("motion.missing", None)


def test_the_order_of_rules_is_the_order_of_reasons(dataset):
    first = decided(dataset, motion=Rule(min=1), fps=Rule(min=60))
    second = decided(dataset, fps=Rule(min=60), motion=Rule(min=1))
    assert first["a"] == ("filtered", "motion.min")
    assert second["a"] == ("filtered", "fps.min")


def test_clips_of_a_source_that_is_gone_have_failed(dataset):
    gone = source("/b.mp4", "b", status="failed", error_kind="missing", error="gone")
    dataset.replace_rows("sources", ["/b.mp4"], [gone])
    assert decided(dataset)["b"] == ("failed", "source_missing")


def test_deciding_the_same_again_commits_nothing_and_another_threshold_does(dataset):
    decided(dataset, motion=Rule(min=0.1))
    version = dataset.version("decisions")
    decided(dataset, motion=Rule(min=0.1))
    assert dataset.version("decisions") == version
    decided(dataset, motion=Rule(min=0.2))
    assert dataset.version("decisions") == version + 1


def test_a_dry_run_commits_nothing(dataset):
    funnel = decide(dataset, DecideConfig(rules={"motion": Rule(min=0.1)}), run_id="r", dry_run=True)
    assert funnel.to_pylist()[0] == {"state": "kept", "reason": None, "clips": 3, "hours": 3.0}
    assert dataset.version("decisions") is None


def test_the_share_for_validation_is_drawn_by_video_and_stable(tmp_path):
    names = [f"v{index}" for index in range(1000)]
    dataset = fill(
        Dataset(tmp_path),
        sources=[source(f"/{name}", name) for name in names],
        clips=[clip(name, index, 0, 10) for name in names for index in range(2)],
    )

    def validation(seed):
        decide(dataset, DecideConfig(rules={}, val_fraction=0.1, seed=seed), run_id="r")
        rows = dataset.read("decisions", ["video_id", "split"]).to_pylist()
        sides = {name: {row["split"] for row in rows if row["video_id"] == name} for name in names[:50]}
        assert all(len(side) == 1 for side in sides.values())
        return {row["video_id"] for row in rows if row["split"] == "val"}

    assert 70 < len(validation(0)) < 130
    assert validation(0) == validation(0) != validation(1)


def validation_of(folder, names, **config):
    dataset = fill(
        Dataset(folder),
        sources=[source(f"/{name}", name) for name in names],
        clips=[clip(name, 0, 0, 10, motion=float(name != "still")) for name in names],
    )
    decide(dataset, DecideConfig(rules={"motion": Rule(min=0.5)}, **config), run_id="r")
    return {row["video_id"] for row in dataset.read("decisions").to_pylist() if row["split"] == "val"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [1e-6, 0.5, 0.999])
def test_of_two_kept_videos_one_is_for_validation_whatever_the_share(tmp_path, seed, share):
    assert len(validation_of(tmp_path, ["a", "b", "still"], val_fraction=share, seed=seed) - {"still"}) == 1


@pytest.mark.parametrize("share", [0.05, 0.999])
def test_the_only_video_is_trained_on(tmp_path, share):
    assert validation_of(tmp_path, ["a", "still"], val_fraction=share) == set()


def test_no_share_is_no_validation(tmp_path):
    assert validation_of(tmp_path, list("abcdef"), val_fraction=0) == set()


def test_more_videos_move_those_of_a_share_that_is_reached_to_neither_side(tmp_path):
    names = [f"v{index}" for index in range(400)]
    few, many = (validation_of(tmp_path / str(count), names[:count], val_fraction=0.1) for count in (200, 400))
    assert few == many & set(names[:200])


def test_yield_curves_say_what_another_limit_would_keep(dataset):
    config = DecideConfig(rules={"motion": Rule(min=0.1), "luma": Rule(min=0)})
    rows = [row for row in yield_curves(dataset, config, points=4).to_pylist() if row["rule"] == "motion"]
    assert [(round(row["threshold"], 2), row["hours"]) for row in rows] == [
        (0.0, 4.0),  # e has no motion score, so no limit keeps it
        (0.1, 3.0),
        (0.2, 2.0),
        (0.3, 1.0),
    ]
    assert [row["current"] for row in rows].index(True) == 1


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"motoin": {"min": 1}}, "no score 'motoin' to decide on; did you mean motion"),
        ({"motion": {"minimum": 1}}, "unknown setting decide.motion.minimum; did you mean min"),
        ({"motion": {"min": 2, "max": 1}}, "min 2.0 is above max 1.0"),
        ({"motion": {"min_quantile": 2}}, "min_quantile must be from 0 to 1, got 2"),
        ({"val_fractoin": 0.1}, "unknown setting decide.val_fractoin; did you mean val_fraction"),
        ({"val_fraction": 1}, "val_fraction must be at least 0 and below 1"),
    ],
)
def test_mistakes_are_named_with_a_remedy(tree, message):
    with pytest.raises(ConfigError, match=message):
        DecideConfig.from_tree(tree)


def test_a_configuration_changes_adds_and_removes_default_rules():
    config = DecideConfig.from_tree({"luma": {"max": 200}, "pan": {"min": -1}, "contrast": False})
    assert config.rules["luma"] == Rule(min=10, max=200)
    assert list(config.rules)[-1] == "pan"
    assert "contrast" not in config.rules
    assert DecideConfig.from_tree(config.to_tree()) == config
