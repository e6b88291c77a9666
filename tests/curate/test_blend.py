"""Captions are mixed by weight, the same way for every worker, and a missing kind gives way to the next."""

from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from curate.blend import BlendConfig, best_captions, choose_caption, split_sentences

CAPTIONS = {"descriptive": "A red ball rolls. The floor is wet. It rains.", "alt": "img 2034", "short": "a red ball"}


def draw(captions=CAPTIONS, config=None, *, num=20_000, epoch=0):
    config = config or BlendConfig()
    return [choose_caption(captions, config, seed=1, epoch=epoch, sample_id=f"c{i}") for i in range(num)]


def test_the_default_mix_is_95_percent_descriptive_and_5_percent_original():
    counts = Counter(choice.kind for choice in draw())
    assert set(counts) == {"descriptive", "alt"}
    assert abs(counts["alt"] - 1000) < 3 * (20_000 * 0.05 * 0.95) ** 0.5


def test_weights_need_not_add_up_to_one():
    counts = Counter(choice.kind for choice in draw(config=BlendConfig(weights={"short": 1, "alt": 3})))
    assert abs(counts["short"] - 5000) < 3 * (20_000 * 0.25 * 0.75) ** 0.5


def test_a_draw_depends_on_seed_epoch_and_sample_alone():
    assert draw(num=200) == draw(num=200)
    assert draw(num=200) != draw(num=200, epoch=1)


def test_a_missing_kind_gives_way_to_the_next_and_is_reported():
    choices = draw({"short": "a red ball"}, num=50)
    assert {(choice.text, choice.kind) for choice in choices} == {("a red ball", "short")}  # weight 0: only now
    assert "descriptive" in {choice.wanted for choice in choices}


def test_removing_a_kind_changes_no_other_draw():
    three = BlendConfig(weights={"descriptive": 1, "alt": 1, "short": 1})
    without = {key: text for key, text in CAPTIONS.items() if key != "short"}
    for before, after in zip(draw(config=three, num=300), draw(without, three, num=300), strict=True):
        assert before == after or before.kind == "short"


def test_a_sample_without_captions_gets_no_text():
    assert draw({}, num=1)[0][:2] == ("", None)


def test_the_empty_share_is_kept():
    empty = sum(choice.kind is None for choice in draw(config=BlendConfig(empty=0.1)))
    assert abs(empty - 2000) < 3 * (20_000 * 0.1 * 0.9) ** 0.5


def test_lengths_vary_by_whole_sentences_and_keep_the_first():
    config = BlendConfig(weights={"descriptive": 1}, vary_length=1.0)
    texts = {choice.text for choice in draw(config=config, num=500)}
    assert all(text.startswith("A red ball rolls.") for text in texts)
    assert {len(split_sentences(text)) for text in texts} == {1, 2, 3}
    assert "A red ball rolls. It rains. The floor is wet." in texts


def test_case_and_final_stop_can_be_dropped():
    config = BlendConfig(weights={"descriptive": 1}, lowercase=1.0, drop_final_stop=1.0)
    assert draw(config=config, num=1)[0].text == "a red ball rolls. the floor is wet. it rains"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"dsc": 1.0}}, "weights.dsc: no such kind; kinds: alt, human, short"),
        ({"weights": {"alt": -1.0}}, "must be a number from 0 up"),
        ({"weights": {"alt": 0.0}}, "at least one kind"),
        ({"empty": 1.5}, "empty is a share"),
    ],
)
def test_impossible_mixes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        BlendConfig(**settings)


def caption(text, *, captioner="a", margin=None, hours=0, status="ok", kind="descriptive"):
    created = datetime(2025, 1, 1, tzinfo=timezone.utc) + timedelta(hours=hours)
    return {
        "clip_id": "c1",
        "kind": kind,
        "captioner": captioner,
        "status": status,
        "text": text,
        "alignment_margin": margin,
        "created": created,
    }


@pytest.mark.parametrize(
    ("rows", "prefer", "best"),
    [
        ([caption("old"), caption("new", hours=1)], (), "new"),
        ([caption("fits", margin=2.0), caption("newer", margin=1.0, hours=1)], (), "fits"),
        ([caption("fits", margin=2.0), caption("unmeasured", hours=1)], (), "fits"),
        ([caption("fits", margin=2.0), caption("wanted", captioner="b", margin=1.0)], ("b",), "wanted"),
        ([caption("good"), caption("bad", status="rejected", hours=1)], (), "good"),
    ],
)
def test_the_best_caption_of_a_kind_is_preferred_then_aligned_then_new(rows, prefer, best):
    assert best_captions(rows, prefer=prefer) == {"c1": {"descriptive": best}}
    assert best_captions(reversed(rows), prefer=prefer) == {"c1": {"descriptive": best}}


def test_kinds_live_side_by_side():
    rows = [caption("long text"), caption("short text", kind="short"), caption("", kind="alt")]
    assert best_captions(rows) == {"c1": {"descriptive": "long text", "short": "short text"}}
