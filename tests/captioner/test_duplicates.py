"""A caption that repeats too often is noticed once, over batches, whatever its case and digits."""

import pytest

from captioner.duplicates import DuplicateWatch, allowed_copies, text_key


def test_repetition_is_noticed_across_batches_and_once():
    watch = DuplicateWatch(20)
    noticed = [watch.add([f"A dog runs over lawn {i}.", f"Clip number {'x' * i} is different."]) for i in range(100)]
    assert [index for index, keys in enumerate(noticed) if keys] == [20]
    assert noticed[20] == {text_key("a DOG runs, over lawn!")}
    assert watch.is_repeated("A dog runs over lawn 777.")
    assert not watch.is_repeated("Clip number xx is different.")


@pytest.mark.parametrize(
    ("kind", "num", "allowed"),
    [("descriptive", 12, 8), ("descriptive", 1000, 19), ("descriptive", 1_000_000, 10_300), ("short", 1000, 71)],
)
def test_the_allowed_number_grows_with_the_job(kind, num, allowed):
    assert allowed_copies(kind, num) == allowed


def test_texts_by_people_may_repeat():
    watch = DuplicateWatch(allowed_copies("alt", 10))
    assert watch.add(["a dog"] * 1000) == set()
    assert not watch.is_repeated("a dog")
