import pytest

from captioner.fact_parser import parse_facts
from curate.counter_random import generator
from curate.drawn.describe import PHRASES, SHORT_SLOTS, describe
from curate.drawn.sample import sample_shot
from curate.drawn.shot import facts

NOT_TOLD = ("other_color", "relation")
"""Slots that are silent when there is no second object."""


def told(shot):
    return {slot: value for slot, value in facts(shot).items() if value is not None or slot not in NOT_TOLD}


@pytest.mark.parametrize("held_out", [False, True])
def test_every_description_is_read_back_whole(held_out):
    for index in range(400):
        shot = sample_shot(generator(5, "parser", index), held_out=held_out)
        text = describe(shot, "descriptive", index)
        assert parse_facts(text) == told(shot), text


def test_every_short_caption_is_read_back_whole():
    for index in range(300):
        shot = sample_shot(generator(6, "parser", index))
        text = describe(shot, "short", index)
        assert parse_facts(text) == {slot: facts(shot)[slot] for slot in SHORT_SLOTS}, text


def test_every_phrase_is_known():
    for slot, values in PHRASES.items():
        for value, phrases in values.items() if slot not in ("text", "count") else ():
            for phrase in phrases:
                assert (parse_facts(f"... {phrase} ...") or {})[slot] == value


RED_CIRCLE_LEFT_OF_STAR = {"color": "red", "shape": "circle", "other_shape": "star", "relation": "right_of"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # other orders than those of the templates
        ("The camera pans left. The star is blue.", {"camera": "pan_left", "shape": "star", "color": "blue"}),
        ("To the right of the red circle is a star.", RED_CIRCLE_LEFT_OF_STAR),
        ("The red circle is to the left of the star.", RED_CIRCLE_LEFT_OF_STAR),
        ("The circle is red; to the right of it is a star", RED_CIRCLE_LEFT_OF_STAR),
        # whoever is named first is the subject
        (
            "THE STAR IS TO THE RIGHT OF THE RED CIRCLE",
            {"shape": "star", "other_color": "red", "other_shape": "circle", "relation": "left_of"},
        ),
        ("It is spinning, a blue one.", {"motion": "spins", "color": "blue"}),
        ("The screen says “OPEN”.", {"text": "OPEN"}),
        ("No text, nothing else.", {"text": None, "other_shape": None}),
        # words within words and nothing known
        ("A starry, reddish circlet.", {}),
        ("", {}),
        # contradictions are kept, and never true
        ("A red star. The star is blue.", {"count": "1", "shape": "star", "color": "red and blue"}),
    ],
)
def test_what_is_put_differently_is_understood(text, expected):
    assert parse_facts(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "The star is not red.",
        "A circle without any texture.",
        "It doesn't spin.",
        "There is no red circle.",
        "Never mind.",
    ],
)
def test_a_denial_is_not_guessed_at(text):
    assert parse_facts(text) is None


def test_the_word_not_inside_a_known_phrase_is_no_denial():
    assert parse_facts("The camera does not move.") == {"camera": "static"}
