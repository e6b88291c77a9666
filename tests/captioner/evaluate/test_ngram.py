"""Values worked out by hand, on captions short enough to do so."""

import math

import pytest

from captioner.evaluate.ngram import bleu_4, cider_d, rouge_l, words


def test_words_are_lower_case_and_bare():
    assert words("Don't STOP, 3-D!") == ["don't", "stop", "3", "d"]


def test_bleu():
    # precisions 5/5, 3/4, 2/3, 1/2; five words against seven
    expected = (3 / 4 * 2 / 3 * 1 / 2) ** 0.25 * math.exp(1 - 7 / 5)
    assert bleu_4(["a red circle moves left"], [["A red circle moves to the left."]]) == pytest.approx(expected)


def test_bleu_clips_repetition_and_takes_the_nearest_length():
    # "the" counts twice at most, so 2/7; no pair matches
    assert bleu_4(["the the the the the the the"], [["the cat is on the mat"]]) == 0
    # with both references every run of the candidate is somewhere, and one reference has its length
    assert bleu_4(["a red circle moves left"], [["a red circle", "a red circle moves left"]]) == pytest.approx(1)


def test_rouge_l():
    # "a red circle moves left" in common: precision 5/5, recall 5/7
    recall = 5 / 7
    expected = (1 + 1.44) * recall / (recall + 1.44)
    assert rouge_l(["a red circle moves left"], [["a red circle moves to the left"]]) == pytest.approx(expected)
    assert rouge_l(["left circle"], [["circle left"]]) == pytest.approx(0.5)  # one word in order: 1/2 and 1/2


def test_cider_d():
    # First clip: one-word and two-word runs agree fully, longer ones do not exist: 10 (1 + 1 + 0 + 0) / 4.
    # Second: of two equally rare words one agrees, so cosine 1/2; the pair does not.
    references = [["red circle"], ["blue star"]]
    assert cider_d(["red circle", "blue circle"], references) == pytest.approx((5 + 10 * 0.5 / 4) / 2)


def test_cider_d_damps_difference_in_length_and_clips_repetition():
    # "red red": clipped to one red, so the dot product is 1 * 1 and the norms 2 and 1: cosine 1/2; one word too many.
    references = [["red"], ["blue"]]
    expected = 10 / 4 * math.exp(-1 / 72) * 0.5
    assert cider_d(["red red", "nothing"], references) == pytest.approx(expected / 2)


def test_a_word_of_every_clip_weighs_nothing():
    assert cider_d(["a", "a"], [["a"], ["a"]]) == 0


@pytest.mark.parametrize("score", [bleu_4, rouge_l, cider_d])
def test_an_empty_caption_scores_nothing(score):
    assert score(["", ""], [["red"], ["blue"]]) == 0


@pytest.mark.parametrize("score", [bleu_4, rouge_l, cider_d])
def test_every_clip_needs_a_reference(score):
    with pytest.raises(ValueError, match="need one each, none empty"):
        score(["a", "b"], [["a"], []])
