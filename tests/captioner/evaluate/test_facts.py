import pytest

from captioner.evaluate.facts import score_facts

TRUTH = [
    {"shape": "circle", "count": "1", "other_shape": None, "text": "OPEN"},
    {"shape": "star", "count": "1", "other_shape": "ring", "text": None},
    {"shape": "star", "count": "2", "other_shape": None, "text": None},
]


def test_the_truth_scores_one():
    score = score_facts(TRUTH, TRUTH)
    assert (score.precision, score.recall, score.f1, score.hallucination) == (1, 1, 1, 0)
    assert score.f1_interval == (1, 1)
    assert set(score.slots) == {"shape", "count", "other_shape", "text", "no_other", "no_text"}


def test_what_is_not_said_costs_recall_only():
    score = score_facts(TRUTH, [{"shape": "circle"}, {"shape": "star"}, {"shape": "star"}])
    assert (score.precision, score.recall) == (1, 3 / 12)


def test_what_is_made_up_costs_precision():
    score = score_facts(TRUTH[:1], [{"shape": "circle", "other_shape": "star"}])
    assert (score.precision, score.hallucination) == (0.5, 0.5)
    assert score.confusions["other_shape"] == (("(none)", "star", 1),)


def test_a_true_absence_is_a_fact():
    score = score_facts(TRUTH[1:2], [{"text": None}])
    assert score.slots["no_text"].correct == 1
    assert score.precision == 1


def test_saying_the_same_for_every_clip_is_chance():
    score = score_facts(TRUTH, [{"count": "1"}] * 3)
    slot = score.slots["count"]
    assert (slot.recall, slot.chance, slot.balanced) == (2 / 3, 2 / 3, 0.5)


def test_an_unreadable_caption_claims_nothing():
    score = score_facts(TRUTH[:1], [None])
    assert (score.unreadable, score.precision, score.recall, score.f1) == (1, None, 0, 0)


def test_captions_and_clips_must_pair_up():
    with pytest.raises(ValueError, match="3 clips and 1 captions"):
        score_facts(TRUTH, [{}])
