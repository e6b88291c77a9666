"""The gate passes captions that fit, refuses shuffled ones whatever the scorer, and finds two that were swapped."""

import numpy as np
import pytest

from captioner.gate import measure


def similarity(num=64, *, strength=3.0, seed=0, bias=0.0):
    """A scorer whose own pairs stand out by `strength` standard deviations."""
    random = np.random.default_rng(seed)
    noise = random.normal(size=(num, num)) + strength * np.eye(num)
    return 0.2 + 0.05 * (noise + bias * random.normal(size=(1, num)) + bias * random.normal(size=(num, 1)))


def swap(matrix, i, j):
    order = np.arange(len(matrix))
    order[[i, j]] = order[[j, i]]
    return matrix[:, order]


@pytest.mark.parametrize(("num", "strength"), [(8, 3.0), (32, 1.5), (64, 1.0), (256, 0.5)])
def test_captions_of_their_own_clips_pass_for_good_and_poor_scorers(num, strength):
    passed = [measure(similarity(num, strength=strength, seed=seed)).passes for seed in range(40)]
    assert sum(passed) >= 38


@pytest.mark.parametrize("strength", [0.5, 3.0, 10.0])
def test_shuffled_captions_are_refused(strength):
    passed = 0
    for seed in range(200):
        matrix = similarity(64, strength=strength, seed=seed)
        passed += measure(matrix[:, np.random.default_rng(seed + 1).permutation(64)]).passes
    assert passed <= 2


def test_captions_shifted_by_one_are_refused():
    assert not measure(np.roll(similarity(32, strength=10), 1, axis=1)).passes


def test_captions_moved_to_a_clip_that_looks_alike_are_refused_although_they_beat_shuffled_ones():
    def moved(by, seed):  # each clip looks like the two on either side of it
        matrix = similarity(128, strength=10, seed=seed)
        alike = sum(np.roll(np.eye(128), step, axis=1) for step in (-2, -1, 1, 2))
        return np.roll(matrix + 0.05 * 6 * alike, by, axis=1)

    for seed in range(20):
        assert measure(moved(0, seed)).passes
        alignment = measure(moved(1, seed))
        assert alignment.z > 10
        assert alignment.own_is_rarely_first
        assert not alignment.passes


def test_a_poor_scorer_is_no_reason_to_suspect_right_captions():
    for strength in (0.3, 0.6, 1.0, 2.0):
        suspected = [measure(similarity(64, strength=strength, seed=seed)).own_is_rarely_first for seed in range(100)]
        assert sum(suspected) <= 1


def test_texts_that_fit_everything_and_clips_that_like_every_text_change_nothing():
    fair, unfair = measure(similarity(64)), measure(similarity(64, bias=20.0))
    assert unfair.passes
    assert unfair.margins == pytest.approx(fair.margins, abs=0.5)


def test_two_swapped_captions_are_named_and_no_other():
    for seed in range(20):
        matrix = swap(similarity(128, strength=5, seed=seed), 3, 77)
        alignment = measure(matrix)
        assert alignment.passes
        assert set(alignment.misplaced) >= {3, 77}
        assert len(alignment.misplaced) <= 3
    assert measure(similarity(128, strength=5)).misplaced == ()


def test_captions_of_clips_elsewhere_are_named_and_no_other():
    found = 0
    for seed in range(20):
        matrix = similarity(132, strength=8, seed=seed)
        texts = np.arange(128)
        texts[:4] = range(128, 132)  # of clips that are not in the batch
        misplaced = measure(matrix[np.ix_(np.arange(128), texts)]).misplaced
        assert max(misplaced, default=0) < 4
        found += len(misplaced)
    assert found > 0.9 * 80


def test_a_poor_scorer_accuses_nobody():
    accused = sum(len(measure(similarity(128, strength=1, seed=seed)).misplaced) for seed in range(20))
    assert accused == 0


def test_equal_captions_and_equal_clips_are_no_swap():
    matrix = similarity(32, strength=5)
    matrix[:, 5] = matrix[:, 4]
    matrix[5] = matrix[4]
    assert measure(matrix).misplaced == ()


def test_a_scorer_that_says_the_same_of_all_passes_nothing():
    assert not measure(np.full((16, 16), 0.3)).passes


def test_too_few_captions_cannot_be_judged():
    assert measure(np.eye(4)) is None
    assert measure(np.eye(5)).passes


def test_a_broken_scorer_is_an_error():
    with pytest.raises(ValueError, match="not finite"):
        measure(np.full((8, 8), np.nan))
    with pytest.raises(ValueError, match="square"):
        measure(np.zeros((8, 7)))
