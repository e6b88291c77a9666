"""Whether a text fits the encoder that will read it: what is too long is silently cut there."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from curate.errors import UsageError


def num_tokens(text: str, tokenizer: str) -> int:
    """Tokens of a text with the marks that its encoder adds. Raises UsageError when there is no such tokenizer."""
    return len(load_tokenizer(tokenizer)(text).input_ids)


@lru_cache(maxsize=1)
def load_tokenizer(name: str) -> Any:
    """A tokenizer of transformers, from a folder or the hub."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(f"caption.text_encoder is {name!r}: no tokenizer there: {reason}") from None
