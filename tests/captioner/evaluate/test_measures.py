import numpy as np
import pytest

from captioner.evaluate.calibration import calibration
from captioner.evaluate.diversity import diversity
from captioner.evaluate.retrieval import retrieval

ONE_EACH = np.eye(4)


def test_the_right_order_retrieves_everything():
    found = retrieval(ONE_EACH, ["a", "b", "c", "d"])
    assert (found.gallery, found.clip_to_text_r1, found.text_to_clip_r1) == (4, 1, 1)
    assert found.clip_to_text_median_rank == 1


def test_the_wrong_order_retrieves_nothing_at_first():
    found = retrieval(ONE_EACH[[1, 0, 3, 2]], ["a", "b", "c", "d"])
    assert (found.clip_to_text_r1, found.clip_to_text_r5) == (0, 1)


def test_equal_scores_find_nothing():
    assert retrieval(np.ones((4, 4)), ["a", "b", "c", "d"]).clip_to_text_r1 == 0


def test_the_same_words_about_another_clip_are_a_hit():
    found = retrieval(ONE_EACH[[1, 0, 2, 3]], ["same", "same", "c", "d"])
    assert found.clip_to_text_r1 == 1


def test_one_caption_for_everything_shows():
    few = diversity(["A big red ball."] * 9 + ["A big blue ball"])
    assert (few.unique_share, few.most_common, few.vocabulary) == (0.2, 9, 5)
    assert few.without_stop == pytest.approx(0.1)
    many = diversity([f"A ball of kind {index}." for index in range(10)])
    assert many.unique_share == 1
    assert many.self_bleu is not None
    assert few.self_bleu is not None
    assert many.self_bleu < few.self_bleu


def test_confidence_that_follows_the_truth_correlates():
    scores = [0.1, 0.5, 0.9, 1.0]
    assert calibration([-4, -3, -2, -1], scores).rank_correlation == pytest.approx(1)
    assert calibration([-1, -2, -3, -4], scores).rank_correlation == pytest.approx(-1)
    assert calibration([-1, -1, -1, -1], scores).rank_correlation is None


def test_dropping_the_doubtful_helps_a_calibrated_captioner():
    kept = dict(calibration([-4, -3, -2, -1], [0.0, 0.0, 1.0, 1.0]).kept_score)
    assert (kept[1.0], kept[0.5]) == (0.5, 1.0)
