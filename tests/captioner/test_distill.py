"""Agreement is high for a student that sees, and no higher than chance for one that only speaks alike."""

import json
from collections import Counter

import pytest
from loopback_server import loopback
from tiny_dataset import make_dataset

from captioner.distill import agreement, choose_share
from curate.counter_random import generator
from curate.drawn.describe import describe
from curate.drawn.sample import sample_shot
from curate.drawn.shot import World
from pipelines.cli.app import main

SHOTS = [sample_shot(generator(0, "distill", index), World()) for index in range(40)]
TEACHER = {f"c{index}": describe(shot, "descriptive", seed=1) for index, shot in enumerate(SHOTS)}
STUDENT = {f"c{index}": describe(shot, "descriptive", seed=2) for index, shot in enumerate(SHOTS)}  # other words
BLIND = dict(zip(STUDENT, [*list(STUDENT.values())[7:], *list(STUDENT.values())[:7]], strict=True))


def test_a_student_that_sees_agrees_in_facts_though_not_in_words():
    seen = agreement(TEACHER, STUDENT)
    assert seen.clips == 40
    assert seen.reached.facts_f1 == pytest.approx(1.0)
    assert 0.3 < seen.reached.rouge_l < 0.9
    assert seen.reached.content_words > seen.by_chance.content_words + 0.2
    assert seen.reached.cider_d > 2 * seen.by_chance.cider_d


def test_a_blind_student_agrees_no_more_than_by_chance():
    blind = agreement(TEACHER, BLIND)
    assert blind.reached.facts_f1 == pytest.approx(blind.by_chance.facts_f1, abs=0.1)
    assert blind.reached.content_words == pytest.approx(blind.by_chance.content_words, abs=0.1)


def test_only_clips_that_both_captioned_are_compared():
    assert agreement(TEACHER, {"c0": "A dog.", "other": "A cat."}) is None
    assert agreement(TEACHER, {"c0": "A dog.", "c1": "A dog.", "other": "A cat."}).clips == 2


def test_free_text_is_compared_by_words_alone():
    texts = {"a": "A dog runs over a lawn.", "b": "Two people sit in a boat."}
    assert agreement(texts, texts).reached.facts_f1 is None
    assert agreement(texts, texts).reached.rouge_l == pytest.approx(1.0)


def test_the_recipe_runs_from_end_to_end_and_resumes(tmp_path, capsys):
    """Four steps of training teach nothing: what the student writes is refused, and the report says so."""
    dataset = make_dataset(tmp_path / "dataset", 40)
    out = tmp_path / "student"
    with loopback() as server:
        recipe = [
            "captioner",
            "distill",
            dataset.uri,
            "--teacher",
            f"openai:{server.url}",
            "--out",
            str(out),
            "--local",
        ]
        recipe += ["--share", "0.5", "--kind", "descriptive", "--preset", "smoke", "--audit", "10", "--json"]
        for _ in range(2):
            with pytest.raises(SystemExit) as ended:
                main(recipe)
            assert ended.value.code == 0
        report = json.loads(capsys.readouterr().out.rpartition("\n{")[2].join(["{", ""]))
        assert len(server.requests) == len({number for number, _, _ in server.requests})  # the teacher was asked once
    kind = report["kinds"]["descriptive"]
    asked = Counter((row["captioner"], row["status"]) for row in dataset.read("captions").to_pylist())
    assert asked["openai:tiny-vlm", "ok"] == kind["taught"] + 10
    assert asked["coca:student", "rejected"] == 40 - kind["taught"]  # all that the teacher did not teach
    assert kind["filled"] == 0
    assert kind["agreement"]["clips"] == 10
    assert kind["teacher_captions_per_s"] > kind["student_captions_per_s"] > 0


def test_a_larger_share_contains_a_smaller_one():
    clips = [f"c{index}" for index in range(2000)]
    small, large = choose_share(clips, 0.1), choose_share(clips, 0.3)
    assert set(small) < set(large)
    assert len(small) == pytest.approx(200, abs=45)
    assert choose_share(clips, 1.0) == clips
    with pytest.raises(ValueError, match="share must be above 0"):
        choose_share(clips, 0.0)
