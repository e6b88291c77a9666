"""The built-in text encoder: every text has ids, and no text changes the states of another."""

import pytest
import torch

from model.text.base import TextTooLongError
from model.text.tiny import TinyTextConfig, TinyTextEncoder
from model.text.vocabulary import Vocabulary, learn_vocabulary

TEXTS = [
    "A red circle moves left.",
    "A blue square.",
    "",
    "A red circle and a small blue square stand still, side by side.",
]


@pytest.fixture(scope="module")
def encoder() -> TinyTextEncoder:
    torch.manual_seed(0)
    return TinyTextEncoder(TinyTextConfig(dim=32, heads=2, max_tokens=40), learn_vocabulary(TEXTS, min_count=1)).eval()


def test_words_are_learned_by_frequency_whatever_the_order_of_the_texts():
    texts = ["red red red blue", "blue green", "once"]
    assert learn_vocabulary(texts).words == ("red", "blue")
    assert learn_vocabulary(reversed(texts)).words == ("red", "blue")
    assert learn_vocabulary(texts, max_words=1).words == ("red",)


@pytest.mark.parametrize("text", ["a red dot .", "naïve 红色 🙂 a", "xyz-99%", ""])
def test_no_text_is_unknown(text):
    vocabulary = Vocabulary(["a", "red", "dot", "."])
    assert vocabulary.decode(vocabulary.encode(text)).replace(" ", "") == text.replace(" ", "")
    assert all(0 <= token < len(vocabulary) for token in vocabulary.encode(text))


def test_spelled_words_do_not_run_together():
    vocabulary = Vocabulary([])
    assert vocabulary.encode("ab c") != vocabulary.encode("a bc")


def test_a_caption_is_independent_of_its_neighbours(encoder):
    together = encoder.encode(TEXTS)
    for text, row in zip(TEXTS, together, strict=True):
        alone = encoder.encode([text])[0]
        assert alone.shape == row.shape
        assert torch.allclose(alone, row, atol=1e-6)


def test_a_caption_is_independent_of_the_longest_length(encoder):
    longer = TinyTextEncoder(TinyTextConfig(dim=32, heads=2, max_tokens=400), encoder.vocabulary)
    longer.load_state_dict(encoder.state_dict())
    assert torch.equal(longer.encode(TEXTS[:1])[0], encoder.encode(TEXTS[:1])[0])


def test_rows_are_ragged_and_never_empty(encoder):
    assert [len(row) for row in encoder.encode(TEXTS)] == [7, 5, 1, 16]
    assert encoder.encode([]) == []


def test_word_order_and_words_change_the_states(encoder):
    first, second, third = encoder.encode(["red circle blue", "blue circle red", "red circle red"])
    assert not torch.allclose(first.sum(0), second.sum(0), atol=1e-3)
    assert not torch.allclose(first[2], third[2], atol=1e-3)  # the second token sees the last


def test_a_text_that_is_too_long_is_an_error(encoder):
    with pytest.raises(TextTooLongError, match=r"text of 51 tokens is too long .* takes 40"):
        encoder.encode(["red " * 50])


def test_gradients_reach_the_embedding_and_nothing_leaks_to_other_texts(encoder):
    rows = encoder.encode(["red circle", "blue square"])
    rows[0].square().sum().backward()
    gradient = encoder.embedding.weight.grad.abs().sum(1)
    known = dict(zip(encoder.vocabulary.words, gradient[-len(encoder.vocabulary.words) :].tolist(), strict=True))
    assert known["red"] > 0
    assert known["blue"] == 0


def test_an_encoder_is_made_again_from_its_tree(encoder):
    again = TinyTextEncoder.from_tree(encoder.config_tree())
    assert again.fingerprint() != encoder.fingerprint()
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint()
    assert torch.equal(again.encode(TEXTS)[0], encoder.encode(TEXTS)[0])


def test_states_in_half_precision_are_near_those_in_full(encoder):
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder.encode(TEXTS)
    for rough, exact in zip(half, encoder.encode(TEXTS), strict=True):
        torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)
