"""Words and bytes as token ids: a vocabulary learned from captions in a second, in which no text is unknown.

Frequent words have ids of their own; any other word is spelled in UTF-8 bytes. Case and spacing are not kept.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_NUM_SPECIAL = 2
START_ID, SPELL_ID = range(_NUM_SPECIAL)
"""The start of every text, and the end of a spelled word."""
_NUM_BYTES = 256
_TOKEN = re.compile(r"\w+|[^\w\s]", re.UNICODE)


class Vocabulary:
    """Known words in a fixed order. Ids: specials, then 256 bytes, then words."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        self.words = tuple(words)
        self._ids = {word: _NUM_SPECIAL + _NUM_BYTES + index for index, word in enumerate(self.words)}
        if len(self._ids) != len(self.words):
            raise ValueError("a word occurs twice in the vocabulary")

    def __len__(self) -> int:
        return _NUM_SPECIAL + _NUM_BYTES + len(self.words)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, at least one: "A red xyl." -> start, a, red, x, y, l, end of spelling, full stop."""
        ids = [START_ID]
        for word in split_words(text):
            known = self._ids.get(word)
            if known is not None:
                ids.append(known)
            else:
                ids.extend(_NUM_SPECIAL + byte for byte in word.encode())
                ids.append(SPELL_ID)
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Readable text of token ids: words joined by single spaces."""
        parts: list[str] = []
        spelled = bytearray()
        for token in ids:
            if token >= _NUM_SPECIAL + _NUM_BYTES:
                parts.append(self.words[token - _NUM_SPECIAL - _NUM_BYTES])
            elif token >= _NUM_SPECIAL:
                spelled.append(token - _NUM_SPECIAL)
            elif token == SPELL_ID:
                parts.append(spelled.decode(errors="replace"))
                spelled.clear()
        return " ".join(parts)


def learn_vocabulary(texts: Iterable[str], *, max_words: int = 8192, min_count: int = 2) -> Vocabulary:
    """The most frequent words of the texts; equal counts in alphabetical order, so that the order of texts is free."""
    counts = Counter(word for text in texts for word in split_words(text))
    ranked = sorted((-count, word) for word, count in counts.items() if count >= min_count)
    return Vocabulary([word for _, word in ranked[:max_words]])


def split_words(text: str) -> list[str]:
    """Words and marks of a text, in lower case."""
    return _TOKEN.findall(text.lower())
