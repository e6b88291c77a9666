from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.pack import Item, PackConfig, PackStream, deal, fill


@pytest.mark.parametrize(
    ("lengths", "room", "chosen"),
    [
        ([5, 3, 4, 4], 8, [0, 1]),
        ([5, 3, 4, 4], 7, [1, 2]),
        ([5, 3], 2, []),
        ([], 10, []),
        ([2, 2, 2], 100, [0, 1, 2]),
    ],
)
def test_the_best_filling_choice_is_taken_and_older_clips_go_first(lengths, room, chosen):
    assert fill(lengths, room) == chosen


@given(st.lists(st.integers(1, 30), max_size=10), st.integers(0, 80))
def test_no_other_choice_fills_better(lengths, room):
    total = sum(lengths[place] for place in fill(lengths, room))
    sums = {0}
    for length in lengths:
        sums |= {value + length for value in sums}
    assert total == max(value for value in sums if value <= room)


LENGTHS = np.random.default_rng(0).choice([16, 20, 48, 60, 80, 100, 240], size=500)


def stream(num_clips=500, budget=512, state=None, seed=3):
    config = PackConfig(token_budget=budget, buffer=64)
    return PackStream(num_clips, lambda item: int(LENGTHS[item.index]), config, seed=seed, state=state)


def test_every_clip_comes_exactly_once_per_epoch():
    packs = stream()
    seen: Counter[Item] = Counter()
    while len([item for item in seen if item.epoch < 3]) < 3 * 500:
        seen.update(next(packs))
    assert set(seen.values()) == {1}
    assert {item for item in seen if item.epoch < 3} == {
        Item(epoch, index) for epoch in range(3) for index in range(500)
    }


def test_waste_stays_under_one_percent_and_no_pack_exceeds_the_budget():
    packs = stream()
    totals = [sum(int(LENGTHS[item.index]) for item in next(packs)) for _ in range(300)]
    assert max(totals) <= 512
    assert 1 - np.mean(totals) / 512 < 0.01


def test_no_clip_waits_for_more_packs_than_the_buffer_holds_clips():
    packs, entered, longest_wait = stream(), {}, 0
    for number in range(300):
        pack = next(packs)
        for pair in packs.state()["buffer"]:
            entered.setdefault(Item(*pair), number)
        longest_wait = max([longest_wait, *(number - entered.get(item, number) for item in pack)])
    assert 0 < longest_wait <= 64


def test_the_stream_goes_on_exactly_from_its_state():
    whole = stream()
    packs = [next(whole) for _ in range(60)]
    first = stream()
    for _ in range(25):
        next(first)
    resumed = stream(state=first.state())
    assert [next(resumed) for _ in range(35)] == packs[25:]


def test_a_handful_of_clips_still_fills_packs():
    packs = stream(num_clips=3)
    for _ in range(20):
        assert sum(int(LENGTHS[item.index]) for item in next(packs)) > 512 - 16


def test_another_seed_gives_another_order():
    assert next(stream(seed=1)) != next(stream(seed=2))


def test_no_clips_and_clips_beyond_the_budget_are_errors():
    with pytest.raises(ValueError, match="no clip"):
        stream(num_clips=0)
    packs = stream(budget=100)
    with pytest.raises(ValueError, match="has 240 tokens; a pack holds 100"):
        next(packs)


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=12), st.integers(1, 4))
def test_packs_are_dealt_completely_and_evenly(costs, num_ranks):
    hands = deal(costs, num_ranks)
    assert sorted(pack for hand in hands for pack in hand) == list(range(len(costs)))
    assert max(map(len, hands)) <= -(-len(costs) // num_ranks)
