"""Captions of shots: everything said is true, everything told can be read back, and in one way only."""

import re
from functools import lru_cache

import pytest

from curate.counter_random import generator
from curate.drawn.describe import PHRASES, SENTENCES, SHORT_SLOTS, describe, plural
from curate.drawn.sample import sample_shot
from curate.drawn.shot import MOVING_SLOTS, Shot, facts

EXTRA = {"is": ("is", "are"), "it": ("it", "them")}


@lru_cache
def shots() -> list[Shot]:
    return [sample_shot(generator(11, "describe", index)) for index in range(150)]


def phrases(slot: str) -> dict[str, str]:
    """Every phrase of a slot and its value."""
    table = PHRASES[slot.removeprefix("other_")]
    found = {phrase: value for value, choices in table.items() for phrase in choices}
    return found | {plural(phrase): value for phrase, value in found.items()} if slot == "shape" else found


@lru_cache
def pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", template)
    for index in range(1, len(parts), 2):
        choices = EXTRA.get(parts[index]) or tuple(phrases(parts[index]))
        parts[index] = f"(?P<{parts[index]}>{'|'.join(map(re.escape, choices))})"
    return re.compile("".join(parts), re.IGNORECASE)


def readings(sentence: str) -> list[dict[str, str]]:
    """All ways in which a sentence can be read, over all templates; optional slots are always given here."""
    found = []
    for name, templates in SENTENCES.items():
        for template in templates:
            match = pattern(template).fullmatch(re.sub(r"\b([Aa])n ", r"\1 ", sentence))
            if match:
                lowered = {
                    slot: text if slot == "text" else text[0].lower() + text[1:]
                    for slot, text in match.groupdict().items()
                }
                values = {slot: phrases(slot)[text] for slot, text in lowered.items() if slot not in EXTRA}
                values |= {slot: None for slot in ("other_shape", "other_color", "relation") if name == "no_other"}
                found.append(values | ({"text": None} if name == "no_text" else {}))
    return found


def read(description: str) -> dict[str, str | None]:
    told: dict[str, str | None] = {}
    for sentence in description.removesuffix(".").split(". "):
        distinct = {tuple(sorted(reading.items())) for reading in readings(sentence)}
        assert len(distinct) == 1, sentence
        told |= dict(distinct.pop())
    return told


def test_a_description_tells_every_fact_and_nothing_else():
    for seed, shot in enumerate(shots()):
        assert read(describe(shot, "descriptive", seed)) == facts(shot)


def test_a_short_caption_tells_the_main_subject():
    for seed, shot in enumerate(shots()):
        seen = facts(shot)
        assert read(describe(shot, "short", seed)) == {slot: seen[slot] for slot in SHORT_SLOTS}


def test_a_description_of_a_still_says_nothing_of_motion():
    for seed, shot in enumerate(shots()):
        text = describe(shot, "descriptive", seed, hidden=MOVING_SLOTS)
        assert read(text) == facts(shot, hidden=MOVING_SLOTS)
        assert "camera" not in text


def test_what_is_hidden_is_not_told():
    shot = next(shot for shot in shots() if shot.text and shot.count == 1)
    for seed in range(30):
        text = describe(shot, "descriptive", seed, hidden=("text", "size", "lighting"))
        assert shot.text not in text
        assert "  " not in text
        assert not re.search(r"\b(small|little|large|big|lit|dim)\b", text)


def test_words_and_order_vary_and_depend_on_the_seed_alone():
    shot = shots()[0]
    texts = [describe(shot, "descriptive", seed) for seed in range(100)]
    assert len(set(texts)) > 90
    assert texts == [describe(shot, "descriptive", seed) for seed in range(100)]


def test_every_phrase_is_used():
    text = " ".join(describe(shot, "descriptive", seed) for seed in range(15) for shot in shots()).lower()
    for slot, table in PHRASES.items():
        for choices in table.values():
            for phrase in choices:
                assert phrase.lower() in text or plural(phrase) in text, (slot, phrase)


def test_articles_fit_the_word_after_them():
    texts = " ".join(
        describe(shot, kind, seed) for seed, shot in enumerate(shots()) for kind in ("short", "descriptive")
    )
    assert not re.search(r"\b[Aa] (orange|emerald)\b|\b[Aa]n (uniform|red)\b", texts)
    assert re.search(r"\b[Aa]n (orange|emerald)\b", texts)


def test_alt_text_is_noisy_and_never_long():
    texts = [describe(shot, "alt", seed) for seed in range(20) for shot in shots()]
    words = PHRASES["shape"]
    shapeless = [text for text in texts if not any(phrase in text for choices in words.values() for phrase in choices)]
    assert 0.15 < len(shapeless) / len(texts) < 0.25  # junk
    assert max(len(text.split()) for text in texts) < 20
    wrong = 0
    for seed, shot in enumerate(shots()):
        told = {slot: value for reading in readings(describe(shot, "alt", seed)) for slot, value in reading.items()}
        wrong += any(facts(shot)[slot] != value for slot, value in told.items())
    assert 0.04 < wrong / len(shots()) < 0.18


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="known: alt, short, descriptive"):
        describe(shots()[0], "haiku")  # type: ignore[arg-type]
