from collections import Counter

import numpy as np
import pytest

from curate.counter_random import generator
from model.conditioning import KINDS, Given, PinConfig, draw_given


def only(kind):
    return PinConfig(shares={"none": 1e-12, kind: 1.0}, noisy_share=0.5)


def draws(config, shape, count=200):
    return [draw_given(generator(0, "pins", index), shape, config) for index in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_leaves_something_to_make(kind):
    for given in draws(only(kind), (4, 3, 3)):
        assert not given.pinned.all()
        if kind not in ("none", "pace"):
            assert given.pinned.any()


def test_kinds_give_what_they_say():
    def frames(kind):
        return [given.pinned.all(axis=(1, 2)).tolist() for given in draws(only(kind), (4, 2, 2))]

    assert all(pinned == [True, False, False, False] for pinned in frames("first"))
    assert all(pinned == sorted(pinned, reverse=True) for pinned in frames("head"))
    assert all(pinned == sorted(pinned) for pinned in frames("tail"))
    assert [True, False, False, True] in frames("ends")
    assert [False, True, False, True] in frames("frames")
    for given in draws(only("region"), (4, 3, 3)):
        assert (given.pinned == given.pinned[:1]).all()  # the same throughout
        assert given.pinned[0].any()


def test_a_single_picture_can_only_have_a_region():
    kinds = {given.pinned.any() for given in draws(PinConfig(), (1, 3, 3))}
    assert kinds == {True, False}
    assert not any(given.pinned.any() for given in draws(only("first"), (1, 3, 3)))
    assert not any(given.pinned.any() for given in draws(PinConfig(), (1, 1, 1)))


def test_shares_are_those_asked_for():
    given = draws(PinConfig(), (4, 3, 3), count=4000)
    pinned = Counter("pace" if g.pace is not None else bool(g.pinned.any()) for g in given)
    assert pinned[False] / 4000 == pytest.approx(0.54, abs=0.03)
    assert pinned["pace"] / 4000 == pytest.approx(0.03, abs=0.01)


def test_given_tokens_have_their_own_time_and_pace_differs_by_frame():
    pinned = np.array([True, False, False]).reshape(3, 1, 1)
    times, index = Given(pinned, level=0.05).times(0.7)
    assert times[index].tolist() == [0.05, 0.7, 0.7]
    assert Given(pinned, level=0.05).times(0.01)[0].tolist() == [0.01, 0.01]  # never noisier than what is made
    times, index = Given(np.zeros((3, 1, 2), dtype=bool), pace=np.array([0.0, 0.5, 1.0])).times(0.8)
    assert times[index].tolist() == pytest.approx([0.0, 0.0, 0.4, 0.4, 0.8, 0.8])


def test_given_tokens_are_noisy_half_of_the_time_and_never_much():
    levels = [given.level for given in draws(only("first"), (4, 2, 2), count=400)]
    assert np.mean(np.array(levels) > 0) == pytest.approx(0.5, abs=0.08)
    assert 0.02 < np.median([level for level in levels if level]) < 0.1
    assert max(levels) <= 0.5


def test_unknown_kinds_and_a_mix_without_free_clips_are_refused():
    with pytest.raises(ValueError, match="did you mean first"):
        PinConfig(shares={"none": 1.0, "frist": 1.0})
    with pytest.raises(ValueError, match=r"shares\.none must be positive"):
        PinConfig(shares={"first": 1.0})
