"""What captions claim, as numbers to learn from: of each slot of the drawn world the value, when it is told.

    claimed_values(["A red star. There is no text."])      [[3, 0, -1, ...]]: a value each, -1 for what is not told
    FactHeads(num_tokens, width)(tokens)                   logits of the values, slot by slot

Each slot has a token of its own, so that the fact lies where the decoder's attention finds it: facts spread over all
tokens can be read by a layer that takes them all at once, and hardly by attention.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.fact_parser import parse_facts
from curate.drawn.shot import SLOTS

VALUES: dict[str, tuple[str | None, ...]] = {
    slot: (*SLOTS[slot.removeprefix("other_")], None) for slot in (*SLOTS, "other_shape", "other_color")
}
"""Of each slot; None says that there is none."""

_NOT_TOLD = -1


def claimed_values(texts: Sequence[str]) -> Tensor:
    """Positions in `VALUES`, `[texts, slots]`. A text in words that our parser does not know tells nothing."""
    rows = [[_value(parse_facts(text) or {}, slot) for slot in VALUES] for text in texts]
    return torch.tensor(rows).reshape(len(rows), len(VALUES))


def _value(told: dict[str, str | None], slot: str) -> int:
    values = VALUES[slot]
    return values.index(told[slot]) if slot in told and told[slot] in values else _NOT_TOLD


class FactHeads(nn.Module):
    """Guesses each slot twice: from all tokens, which is learnt soonest, and from a token of its own. For training."""

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.of_all = nn.ModuleList(nn.Linear(num_tokens * width, len(values)) for values in VALUES.values())
        self.of_own = nn.ModuleList(nn.Linear(width, len(values)) for values in VALUES.values())

    def forward(self, tokens: Tensor) -> list[Tensor]:
        """Tokens `[B, M, D]` to logits `[B, values]`, slot by slot, and all again. Slots share when tokens are few."""
        all_tokens, count = tokens.flatten(1), tokens.shape[1]
        own = [head(tokens[:, index % count]) for index, head in enumerate(self.of_own)]
        return [*(head(all_tokens) for head in self.of_all), *own]


def fact_loss(logits: Sequence[Tensor], claims: Tensor) -> Tensor:
    """Cross-entropy of each guess at what is told, mean over all."""
    wanted = claims.repeat(1, len(logits) // len(VALUES))
    losses = [
        F.cross_entropy(guess.float(), wanted[:, index], ignore_index=_NOT_TOLD, reduction="none")
        for index, guess in enumerate(logits)
    ]
    return torch.stack(losses).sum() / (wanted != _NOT_TOLD).sum().clamp(min=1)
