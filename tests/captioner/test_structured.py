"""Facts are read from whatever a model wraps them in, composed into true prose, and never guessed."""

import json
from dataclasses import replace

import pytest

from captioner.structured import CAMERA_SENTENCES, Facts, compose, parse_facts, with_measured_camera
from curate.blend import split_sentences
from curate.counter_random import generator
from curate.schema import CLIPS

FACTS = Facts(
    subjects=("a woman in a red coat", "two small dogs on the left"),
    actions=("The woman throws a ball", "The dogs run after it"),
    background="a snowy park with bare trees",
    camera="low-angle wide shot",
    camera_motion="pan_left",
    style="documentary footage",
    lighting="soft morning light",
    text=("PARK", "No bikes"),
    atmosphere="a cold, clear morning",
)
OBJECT = '{"subjects": ["a dog"], "actions": ["the dog runs"], "background": "a park"}'
DOG = Facts(subjects=("a dog",), actions=("the dog runs",), background="a park")


def test_json_round_trip():
    assert parse_facts(FACTS.to_json()) == FACTS
    assert "camera" not in json.loads(DOG.to_json())


@pytest.mark.parametrize(
    "answer",
    [
        OBJECT,
        f"```json\n{OBJECT}\n```",
        f"Here is the JSON you asked for:\n{OBJECT}\nLet me know if you need more!",
        f"<think>Maybe {{'subjects': ['a cat']}}?</think>{OBJECT}",
        OBJECT.replace('park"}', 'park",}').replace('dog"]', 'dog",]'),
        OBJECT.replace('"', "'"),
        OBJECT.replace("{", "{ // the facts\n", 1),
        OBJECT.replace('"', "”"),
        '{"description": ' + OBJECT + "}",
        '{"Subject": "a dog", "Actions": "the dog runs.", "environment": ["a park"], "text": "none", "style": null}',
        '{"subjects": [{"name": "a dog"}], "actions": [{"what": "the dog runs"}], "background": {"place": "a park"}}',
        OBJECT.replace('"a park"', '"a park", "atmosphere": "N/A", "confidence": 0.9'),
    ],
)
def test_answers_are_read_tolerantly(answer):
    assert parse_facts(answer) == DOG


@pytest.mark.parametrize(
    "answer",
    ["", "A dog runs in a park.", OBJECT[:-1], "{}", '{"subjects": []}', "[1, 2]", '{"style": "film"}', "{{{}", "}{"],
)
def test_an_answer_without_facts_is_none(answer):
    assert parse_facts(answer) is None


def test_braces_and_quotes_inside_text_are_kept():
    facts = parse_facts('{"subjects": ["a sign"], "text": ["{OPEN}", "say \\"hi\\""]}')
    assert facts is not None
    assert facts.text == ("{OPEN}", 'say "hi"')


def test_the_three_lengths():
    assert compose(FACTS, "short") == "The woman throws a ball."
    assert compose(FACTS, "medium") == (
        "A woman in a red coat and two small dogs on the left. The woman throws a ball. The dogs run after it. "
        "The setting is a snowy park with bare trees. The camera pans left."
    )
    assert compose(FACTS, "descriptive") == (
        "A woman in a red coat and two small dogs on the left. The woman throws a ball. The dogs run after it. "
        "The setting is a snowy park with bare trees. Low-angle wide shot. The camera pans left. "
        'The style is documentary footage. Soft morning light. The words "PARK", "No bikes" can be read. '
        "A cold, clear morning."
    )


@pytest.mark.parametrize(
    ("subjects", "actions", "prose"),
    [
        (("a woman holding a dog",), ("the dog barks",), "A woman holding a dog. The dog barks."),  # not: a woman barks
        (("a red ball",), ("rolls to the right", "it stops"), "A red ball rolls to the right. It stops."),
        (("a man", "a dog"), ("walking on a beach",), "A man and a dog, walking on a beach."),
        ((), ("It rains",), "It rains."),
        (("a red ball",), (), "A red ball."),
    ],
)
def test_actions_are_joined_to_subjects_only_where_that_is_sure(subjects, actions, prose):
    assert compose(Facts(subjects=subjects, actions=actions), "descriptive") == prose


def test_fields_are_dropped_and_permuted_but_the_subject_stays_in_front():
    lead = split_sentences(compose(replace(DOG, background=None), "descriptive"))
    full = set(split_sentences(compose(FACTS, "descriptive")))
    texts = [
        split_sentences(compose(FACTS, "descriptive", dropout=0.3, permute=True, random=generator(0, "t", i)))
        for i in range(300)
    ]
    assert all(text[:3] == split_sentences(compose(FACTS, "descriptive"))[:3] for text in texts)
    assert all(set(text) <= full and len(text) == len(set(text)) for text in texts)
    shares = [sum(sentence in text for text in texts) / 300 for sentence in full]
    assert min(shares) > 0.6
    assert len({tuple(text) for text in texts}) > 200
    assert lead == ["A dog.", "The dog runs."]


def test_the_camera_is_measured_not_guessed():
    guessed = replace(DOG, camera="close-up, camera slowly zooming in and eye level")
    measured = with_measured_camera(guessed, "pan_right")
    assert (measured.camera, measured.camera_motion) == ("close-up, eye level", "pan_right")
    assert compose(measured, "descriptive").endswith("Close-up, eye level. The camera pans right.")
    assert with_measured_camera(guessed, "mixed").camera_motion is None  # nothing is better than wrong
    assert with_measured_camera(replace(DOG, camera_motion="zoom_in"), None).camera_motion is None


def test_every_sentence_about_the_camera_belongs_to_a_label_of_the_clips_table():
    labels = next(column for column in CLIPS.columns if column.name == "camera_motion").doc
    assert [label for label in CAMERA_SENTENCES if label not in labels] == []
