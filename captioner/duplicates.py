"""One caption for many clips: counted over the whole job and what is stored, because batches alone would not show it.

A published set holds one caption four thousand times. Texts are compared by their words: case, digits and punctuation
do not tell captions apart.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable

_SHARES = {"short": 0.05, "medium": 0.02, "descriptive": 0.01, "structured": 0.01}
"""Largest share of clips that may have the same words, by kind. Texts by people may repeat: alt, human."""
_MIN_COPIES = 8


def allowed_copies(kind: str, num_captions: int) -> int | None:
    """How often the same words may occur among so many captions; None for any number."""
    share = _SHARES.get(kind)
    if share is None:
        return None
    expected = share * num_captions
    return max(_MIN_COPIES, int(expected + 3 * expected**0.5))


class DuplicateWatch:
    """Counts texts as they are made. `repeated` answers about all that was counted so far."""

    def __init__(self, allowed: int | None) -> None:
        self._allowed = allowed
        self._counts: Counter[int] = Counter()

    def add(self, texts: Iterable[str]) -> set[int]:
        """Count texts, and return the keys of those that now, for the first time, occur too often."""
        if self._allowed is None:
            return set()
        risen = Counter(map(text_key, texts))
        passed = set()
        for key, number in risen.items():
            before = self._counts[key]
            self._counts[key] = before + number
            if before <= self._allowed < before + number:
                passed.add(key)
        return passed

    def is_repeated(self, text: str) -> bool:
        """Whether this text occurs more often than is allowed."""
        return self._allowed is not None and self._counts[text_key(text)] > self._allowed


def text_key(text: str) -> int:
    """A number for the words of a text: equal for texts that differ in case, digits and punctuation only."""
    words = " ".join(re.findall(r"[^\W\d_]+", text.lower()))
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little")
