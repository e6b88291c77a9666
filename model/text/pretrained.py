"""Pretrained text encoders of the transformers library: T5, UMT5, CLIP, and the hidden states of any causal LM.

    load_text_encoder(PretrainedTextConfig(name="google/umt5-xxl"))

Texts of equal length are encoded together and none is padded: there is no mask to forget, and a caption's states do not
depend on its neighbours. Only safetensors are read.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from curate.errors import WeightsError
from model.tensor_hash import hash_tensors
from model.text.base import check_length

_ENCODERS = {
    "t5": "T5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "clip": "CLIPTextModel",
    "clip_text_model": "CLIPTextModel",
}
"""Classes by model type where the whole model has more than the text encoder. All others are causal language models."""

_ORIGIN = {"_name_or_path", "_commit_hash", "architectures", "dtype", "transformers_version"}
"""Settings that say where a model came from, and not what it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedTextConfig:
    """A text encoder of transformers."""

    name: str
    """A folder, or the name of a repository."""
    subfolder: str = ""
    """Where it is inside, for example text_encoder in a repository of diffusers."""
    tokenizer_subfolder: str = ""
    """Where its tokenizer is, for example tokenizer."""
    max_tokens: int = 512
    """Longer texts are refused; a model that takes fewer counts."""
    layer: int = -1
    """Which hidden states are taken, counted from the end: -1 is the output, -3 two layers before it."""
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.layer > -1:
            raise ValueError(f"layer is counted from the end, -1 is the output, got {self.layer}")
        if self.max_tokens < 1 or not isinstance(getattr(torch, self.dtype, None), torch.dtype):
            raise ValueError(f"max_tokens must be positive and dtype a torch type, got {self.max_tokens}, {self.dtype}")


class PretrainedTextEncoder(nn.Module):
    """A frozen language model that gives the states of a text's tokens."""

    def __init__(self, model: Any, tokenizer: Any, *, max_tokens: int = 512, layer: int = -1) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.layer = layer
        most = getattr(model.config, "max_position_embeddings", None) or max_tokens
        self.max_tokens = min(max_tokens, most)
        self._fingerprint: str | None = None

    @property
    def dim(self) -> int:
        config = self.model.config
        return getattr(config, "d_model", None) or config.get_text_config().hidden_size

    def num_tokens(self, text: str) -> int:
        """Tokens of a text, with the special ones."""
        return len(self.tokenizer(text)["input_ids"])

    def takes(self, text: str) -> bool:
        return self.num_tokens(text) <= self.max_tokens

    @torch.no_grad()
    def encode(self, texts: list[str]) -> list[Tensor]:
        """States `[M_i, dim]` in fp32 of each text, with the special tokens that the tokenizer adds."""
        ids = [self.tokenizer(text)["input_ids"] for text in texts]
        by_length: dict[int, list[int]] = defaultdict(list)
        for index, (text, row) in enumerate(zip(texts, ids, strict=True)):
            check_length(text, len(row), self.max_tokens)
            by_length[len(row)].append(index)
        states: dict[int, Tensor] = {}
        for length, members in sorted(by_length.items()):
            if not length:  # a tokenizer without special tokens has nothing to say about an empty text
                states |= {index: torch.zeros(0, self.dim) for index in members}
                continue
            rows = torch.tensor([ids[index] for index in members], device=self.model.device)
            states |= dict(zip(members, self._states(rows), strict=True))
        return [states[index] for index in range(len(texts))]

    def fingerprint(self) -> str:
        if self._fingerprint is None:  # the weights are frozen, and may be many
            words = sorted(self.tokenizer.get_vocab().items())
            config = self.model.config.to_dict()
            kept = sorted((key, repr(value)) for key, value in config.items() if key not in _ORIGIN)
            parts = (type(self.model).__name__, kept, words, self.layer, self.max_tokens)
            self._fingerprint = hash_tensors(self.model.state_dict(), *parts)
        return self._fingerprint

    def _states(self, ids: Tensor) -> Tensor:
        if self.layer == -1:
            return self.model(input_ids=ids).last_hidden_state.float()
        return self.model(input_ids=ids, output_hidden_states=True).hidden_states[self.layer].float()


def load_text_encoder(config: PretrainedTextConfig) -> PretrainedTextEncoder:
    """Load an encoder and its tokenizer. Raises WeightsError, with the reason, when it cannot."""
    import transformers

    where = {"subfolder": config.subfolder} if config.subfolder else {}
    words = {"subfolder": config.tokenizer_subfolder} if config.tokenizer_subfolder else {}
    try:
        kind = transformers.AutoConfig.from_pretrained(config.name, **where).model_type
        loader = getattr(transformers, _ENCODERS.get(kind, "AutoModel"))
        dtype = getattr(torch, config.dtype)
        model = loader.from_pretrained(config.name, use_safetensors=True, dtype=dtype, **where)
        tokenizer = transformers.AutoTokenizer.from_pretrained(config.name, **words)
    except (OSError, ValueError) as error:
        raise WeightsError(f"{config.name}: cannot load this text encoder: {error}") from None
    return PretrainedTextEncoder(model, tokenizer, max_tokens=config.max_tokens, layer=config.layer)
