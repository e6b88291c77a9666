from dataclasses import replace

import numpy as np
import pytest

from captioner.base import Decode
from captioner.expand import ExpandConfig, PromptExpander, open_expander, why_not
from captioner.expand_lm import ExpanderTraining, shortened, train_expander
from captioner.fact_parser import parse_facts
from captioner.frames import FrameConfig
from captioner.training_data import DrawnSource
from curate.drawn.shot import tiny_world
from curate.errors import UsageError


@pytest.mark.parametrize(
    ("prompt", "expansion", "reason"),
    [
        ("a red circle", "A large scarlet disc is moving up. The camera pans left.", None),  # other words, same facts
        ("a red circle", "A large blue disc is moving up.", "color was red, and became blue"),
        ("a red circle moving up", "A large red circle is shown.", "motion was up, and became nothing"),
        ("a red circle moves up", "In view is large red circle, moving up.", None),
        ("two stars", "A pair of small stars are spinning.", None),
        ("a dog runs on a beach", "A brown dog is running along a sandy beach.", None),  # "runs", "running"
        ("a dog on a beach", "A brown cat is on a beach.", "'dog' is missing"),
        ('a sign that says "Open 24 h"', 'A neon sign reads "Open 24 h".', None),
        ('a sign that says "Open 24 h"', 'A neon sign reads "Open".', "the quoted 'Open 24 h' is missing"),
        ("a red circle", "The sphere is not blue.", "'red' is missing"),  # what cannot be read must have the words
        ("a cat", "", "nothing was written"),
    ],
)
def test_an_expansion_keeps_what_the_user_said(prompt, expansion, reason):
    assert why_not(prompt, expansion) == reason


class Scripted:
    """A writer that says what it was told to, one answer per attempt."""

    name, min_words = "scripted", 12

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def write(self, prompts, decode):
        self.asked.append((list(prompts), decode.seed))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        return [answer] * len(prompts)


def test_the_user_s_words_stay_in_front():
    (expansion,) = PromptExpander(Scripted("A large red star is spinning.")).expand(["a red star"])
    assert expansion.prompt == "a red star. A large red star is spinning."
    assert (expansion.status, expansion.original) == ("expanded", "a red star")


def test_a_wrong_expansion_is_asked_for_again_with_another_seed():
    writer = Scripted("A blue star.", None, "A small red star is moving up.")
    (expansion,) = PromptExpander(writer).expand(["a red star"], seed=2)
    assert expansion.prompt.endswith("moving up.")
    assert [seed for _, seed in writer.asked] == [16, 17, 18]


def test_only_what_is_still_open_is_asked_for_again():
    writer = Scripted("A small red star.")
    PromptExpander(writer, ExpandConfig(attempts=2)).expand(["a red star", "a blue star"])
    assert [prompts for prompts, _ in writer.asked] == [["a red star", "a blue star"], ["a blue star"]]


def test_without_a_good_expansion_the_original_is_kept_and_the_reason_said():
    (expansion,) = PromptExpander(Scripted("A blue star.")).expand(["a red star"])
    assert (expansion.prompt, expansion.status) == ("a red star", "kept")
    assert expansion.reason == "color was red, and became blue"


def test_a_prompt_that_is_long_enough_is_left_alone():
    writer = Scripted("never asked")
    prompt = "a red star " * 4
    assert PromptExpander(writer).expand([prompt])[0].status == "long enough"
    assert writer.asked == []


def test_prompts_to_learn_from_are_parts_of_captions():
    short, descriptive = "a red circle moving up.", "A red disc is moving up. There is no text. The camera stays fixed."
    rng = np.random.default_rng(0)
    seen = {shortened(short, descriptive, rng) for _ in range(200)}
    assert short in seen
    assert "There is no text." in seen
    assert {"red circle", "circle"} & {text.rstrip(".") for text in seen}
    known = set(f"{short} {descriptive}".replace(".", "").split())
    assert all(text and set(text.replace(".", "").split()) <= known for text in seen)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    config = ExpanderTraining(width=64, layers=2, steps=120, batch_size=16, vocab_size=400, learning_rate=6e-3)
    world = replace(tiny_world(), shapes=("circle", "square"), colors=("red", "blue"), background_colors=("white",))
    source = DrawnSource(FrameConfig(), world=world)
    return train_expander(config, source, tmp_path_factory.mktemp("expander"), say=str)


def test_our_own_model_learns_the_manner_of_the_captions(trained):
    expander = open_expander(f"lm:{trained}", ExpandConfig(attempts=16))
    prompts = ["a red circle", "one blue square"]
    first = expander.expand(prompts, seed=3)
    assert first == expander.expand(prompts, seed=3)
    for prompt, expansion in zip(prompts, first, strict=True):
        if expansion.status == "expanded":
            facts, said = parse_facts(expansion.prompt), parse_facts(prompt)
            assert all(facts[slot] == value for slot, value in said.items())
            assert len(facts) > len(said)
    assert any(expansion.status == "expanded" for expansion in first)


def test_an_expansion_does_not_depend_on_its_neighbours(trained):
    writer = open_expander(f"lm:{trained}").writer
    decode = Decode(temperature=0.8, seed=5)
    together = writer.write(["a red circle", "two blue squares"], decode)
    assert together == [writer.write([prompt], decode)[0] for prompt in ("a red circle", "two blue squares")]
    assert writer.write(["a red circle"], replace(decode, seed=6)) != together[:1]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ln:x", "no expander 'ln:x'; did you mean lm"),
        ("lm:/nowhere", "no trained expander; make one with"),
        ("chat:nohost", "is no server"),
        ("hf:/nowhere/at/all", "hf:/nowhere/at/all"),
    ],
)
def test_unknown_expanders_are_refused_with_a_hint(spec, message):
    with pytest.raises(UsageError, match=message):
        open_expander(spec)
