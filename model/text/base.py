"""What a text encoder is: captions in, rows of states out, one ragged row per caption.

The row of a caption depends on nothing but the caption: not on its neighbours in the list, not on a padded length.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from curate.errors import UsageError


class TextEncoder(Protocol):
    """Turns captions into states for cross-attention."""

    @property
    def dim(self) -> int:
        """Width of a state."""
        ...

    def encode(self, texts: list[str]) -> list[Tensor]:
        """States `[M_i, dim]` of each text. Raises TextTooLongError for one that does not fit."""
        ...

    def takes(self, text: str) -> bool:
        """Whether `encode` can take a text."""
        ...

    def fingerprint(self) -> str:
        """Hash of weights, vocabulary and configuration: equal only if all states are equal."""
        ...


class TextTooLongError(UsageError):
    """A text with more tokens than its encoder takes. Nothing is cut off silently."""


def check_length(text: str, num_tokens: int, max_tokens: int) -> None:
    """Raise TextTooLongError, which says what to do, for a text that does not fit."""
    if num_tokens > max_tokens:
        raise TextTooLongError(
            f"a text of {num_tokens} tokens is too long for its encoder, which takes {max_tokens}: "
            f"{text[:60]!r}...; shorten it, or give the encoder more max_tokens"
        )
