"""Draws depend on seed and key alone."""

import numpy as np

from curate.counter_random import generator, uniform


def test_the_same_key_draws_the_same_number_everywhere():
    assert uniform(7, "caption", 0, "clip") == uniform(7, "caption", 0, "clip")
    assert uniform(7, "caption", 0, "clip") == 0.5283256489519974  # and on every machine


def test_any_difference_in_the_key_draws_another_number():
    draws = {uniform(*key) for key in [(7, "a", 1), (8, "a", 1), (7, "b", 1), (7, "a", "1"), (7, "a1"), (7, "a", 11)]}
    assert len(draws) == 6


def test_draws_fill_the_unit_interval_evenly():
    draws = np.array([uniform(0, index) for index in range(20_000)])
    counts, _ = np.histogram(draws, bins=10, range=(0, 1))
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(counts - 2000).max() < 5 * 2000**0.5


def test_generators_are_independent_of_each_other():
    first, second = (generator(0, "noise", index).standard_normal(1000) for index in range(2))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15
    assert np.array_equal(first, generator(0, "noise", 0).standard_normal(1000))
