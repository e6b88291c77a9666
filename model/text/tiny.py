"""The built-in text encoder: a small transformer over words and bytes, trained together with the video model.

All texts of a call are packed into one row of tokens, the longest first; only attention looks at one text at a time. So
there is no padding, no mask, and no text that changes another's states.
Letters: M tokens of all texts, D width.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.attention import Ragged, attend
from model.tensor_hash import hash_tensors
from model.text.base import check_length
from model.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyTextConfig:
    """The built-in text encoder."""

    dim: int = 128
    """Width of its states."""
    layers: int = 2
    heads: int = 4
    max_tokens: int = 512
    """Longer captions are refused."""

    def __post_init__(self) -> None:
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim must be a multiple of twice the number of heads, got {self.dim} and {self.heads}")


class TinyTextEncoder(nn.Module):
    """Token ids to states; gradients flow when it trains."""

    def __init__(self, config: TinyTextConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        self.embedding = nn.Embedding(len(vocabulary), config.dim)
        self.blocks = nn.ModuleList([_Block(config.dim, config.heads) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.dim)

    @property
    def dim(self) -> int:
        return self.config.dim

    def takes(self, text: str) -> bool:
        return len(self.vocabulary.encode(text)) <= self.config.max_tokens

    def encode(self, texts: list[str]) -> list[Tensor]:
        """States `[M_i, D]` of each text."""
        if not texts:
            return []
        ids = [self.vocabulary.encode(text) for text in texts]
        for text, row in zip(texts, ids, strict=True):
            check_length(text, len(row), self.config.max_tokens)
        order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))  # equal lengths are attended to in one call
        lengths = [len(ids[index]) for index in order]
        tokens = torch.tensor([token for index in order for token in ids[index]], device=self.embedding.weight.device)
        states = dict(zip(order, self(tokens, lengths).split(lengths), strict=True))
        return [states[index] for index in range(len(ids))]

    def forward(self, tokens: Tensor, lengths: list[int]) -> Tensor:
        """States `[M, D]` of packed token ids `[M]`, of texts of the given lengths one after another."""
        places = torch.cat([torch.arange(length, device=tokens.device) for length in lengths])
        x = self.embedding(tokens) + _waves(places, self.dim)  # [M, D]
        texts = Ragged(tuple(lengths), tuple(lengths), "grouped", tokens.device)
        for block in self.blocks:
            x = block(x, texts)
        return self.norm(x)

    def fingerprint(self) -> str:
        return hash_tensors(self.state_dict(), "tiny-text", self.config_tree())

    def config_tree(self) -> dict[str, Any]:
        """The plain values from which `from_tree` makes the encoder again, without its weights."""
        return {**asdict(self.config), "words": list(self.vocabulary.words)}

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> TinyTextEncoder:
        """An encoder with fresh weights from what `config_tree` gave."""
        config = {key: value for key, value in tree.items() if key != "words"}
        return cls(TinyTextConfig(**config), Vocabulary(tree["words"]))


class _Block(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_in = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_mid = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor, texts: Ragged) -> Tensor:
        q, k, v = self.qkv(self.norm_in(x)).unflatten(-1, (3, self.heads, -1)).unbind(1)  # each [M, heads, D / heads]
        x = x + self.out(attend(q, k, v, texts).flatten(1))
        return x + self.down(F.gelu(self.up(self.norm_mid(x)), approximate="tanh"))


def _waves(places: Tensor, dim: int) -> Tensor:
    # Vaswani et al. 2017, section 3.5: any length has a position.
    rates = torch.exp(torch.arange(0, dim, 2, device=places.device) * (-9.21034 / dim))
    angles = places[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
