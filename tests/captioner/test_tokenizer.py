import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.tokenizer import clip_tokenizer, load_tokenizer, train_tokenizer
from curate.errors import UsageError

CAPTIONS = ["A red circle drifts left.", "A blue star grows; the word OPEN is above it."] * 4
TOKENIZER = train_tokenizer(CAPTIONS, vocab_size=340)


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40))
def test_any_text_survives_the_round_trip(text):
    row = TOKENIZER.encode([text], max_tokens=400)[0]
    assert TOKENIZER.decode(row) == text.strip()


def test_words_of_the_captions_are_single_tokens():
    begin, *words, end = TOKENIZER.encode(["A red circle"], max_tokens=10)[0]
    assert (begin, len(words), end) == (TOKENIZER.bos_id, 3, TOKENIZER.eos_id)


def test_digits_stand_alone():
    assert TOKENIZER.count(["4"])[0] + 1 == TOKENIZER.count(["42"])[0]


def test_rows_are_padded_to_the_longest():
    rows = TOKENIZER.encode(["A red circle", ""], max_tokens=10)
    assert rows.shape == (2, 5)
    assert rows[1].tolist() == [TOKENIZER.bos_id, TOKENIZER.eos_id, *[TOKENIZER.pad_id] * 3]


def test_a_text_that_is_cut_has_no_end_unless_it_is_only_read():
    assert TOKENIZER.encode(CAPTIONS[:1], max_tokens=4)[0, -1] != TOKENIZER.eos_id
    assert TOKENIZER.encode(CAPTIONS[:1], max_tokens=4, keep_end=True)[0, -1] == TOKENIZER.eos_id


def test_the_same_captions_give_the_same_vocabulary():
    again = train_tokenizer(CAPTIONS, vocab_size=340)
    assert again.tokenizer.to_str() == TOKENIZER.tokenizer.to_str()


def test_it_is_kept_in_a_folder(tmp_path):
    TOKENIZER.save(tmp_path)
    loaded = load_tokenizer(tmp_path)
    np.testing.assert_array_equal(loaded.encode(CAPTIONS, max_tokens=9), TOKENIZER.encode(CAPTIONS, max_tokens=9))


def test_a_folder_without_one_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"is .* the folder of a trained captioner"):
        load_tokenizer(tmp_path)


def test_clip_s_vocabulary_is_open_clip_s(tmp_path):
    from open_clip.tokenizer import SimpleTokenizer

    clip_tokenizer().save(tmp_path)
    ours, theirs = load_tokenizer(tmp_path), SimpleTokenizer(context_length=24)
    texts = ["A photo of a  cat's tail, 42 déjà vu!", "don't STOP", "日本語 😀", "word " * 40]
    rows = ours.encode(texts, max_tokens=24, keep_end=True)
    np.testing.assert_array_equal(rows, theirs(texts).numpy()[:, : rows.shape[1]])
    assert ours.decode(rows[0]) == "a photo of a cat's tail, 4 2 déjà vu!"
