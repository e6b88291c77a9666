"""The expander of our own: a small language model that learnt, from a dataset's captions, what short prompts leave out.

    <s> a red ball <sep> A large scarlet round ball is resting in place. The camera ... </s>

It is trained on pairs of a short and a descriptive caption of the same clip. What it adds is drawn from the captions
themselves, so that expanded prompts look like what the video model was trained on. A Llama of a million weights.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from captioner.base import Decode
from captioner.evaluate.ngram import words
from captioner.tokenizer import CaptionTokenizer, load_tokenizer, train_tokenizer
from curate.blend import split_sentences
from curate.counter_random import generator
from curate.errors import UsageError

SEPARATOR = "→"
"""Between prompt and expansion. No caption contains it."""
_NOTE_FILE = "expander.json"


class PairSource(Protocol):
    def pair(self, index: int) -> tuple[str, str]:
        """A short and a descriptive caption of the same clip; any index from 0 up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpanderTraining:
    """Size of the language model and how it is trained."""

    width: int = 128
    layers: int = 3
    heads: int = 4
    context: int = 192
    """Longest prompt and expansion together, in tokens."""
    vocab_size: int = 1024
    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 2e-3
    seed: int = 0


def train_expander(
    config: ExpanderTraining, source: PairSource, out: str | Path, *, say: Callable[[str], None] = print
) -> Path:
    """Train on pairs of captions; the folder `out` then serves `lm:OUT`. Same pairs and seed, same model."""
    from transformers.utils import logging

    examples = [source.pair(index) for index in range(1000)]
    tokenizer = train_tokenizer(
        (text for pair in examples for text in (*pair, SEPARATOR)), vocab_size=config.vocab_size
    )
    torch.manual_seed(config.seed)
    model = _new_model(config, tokenizer).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.05)
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * min(1, (step + 1) / 50) * _cosine(step / config.steps)
        loss = _loss(model, *_batch(source, tokenizer, config, step), tokenizer.pad_id)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 250 == 0 or step + 1 == config.steps:
            say(f"  step {step + 1} of {config.steps}  loss {float(loss.detach()):.3f}")
    folder = Path(out)
    logging.disable_progress_bar()
    model.eval().save_pretrained(folder)
    tokenizer.save(folder)
    lengths = [len(words(descriptive)) for _, descriptive in examples]
    note = {"min_words": int(np.percentile(lengths, 25)), "context": config.context}
    (folder / _NOTE_FILE).write_text(json.dumps(note), encoding="utf-8")
    return folder


def is_expander(folder: str | Path) -> bool:
    """Whether a folder holds an expander, whole: its note is written last."""
    return (Path(folder) / _NOTE_FILE).is_file()


class LmWriter:
    """Expansions by a model that `train_expander` made."""

    def __init__(self, folder: str | Path) -> None:
        from transformers import LlamaForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        folder = Path(folder)
        if not is_expander(folder):
            raise UsageError(f"{folder}: no trained expander; make one with `reelwright captioner train --expander`")
        note = json.loads((folder / _NOTE_FILE).read_text(encoding="utf-8"))
        self.name, self.min_words, self._context = f"lm:{folder.resolve().name}", note["min_words"], note["context"]
        self._tokenizer = load_tokenizer(folder)
        self._model: Any = LlamaForCausalLM.from_pretrained(folder).eval()

    def write(self, prompts: Sequence[str], decode: Decode) -> list[str | None]:
        """Draw each expansion by itself, so that a prompt's does not depend on its neighbours."""
        return [self._write(prompt, decode) for prompt in prompts]

    @torch.no_grad()
    def _write(self, prompt: str, decode: Decode) -> str | None:
        head = _prompt_ids(self._tokenizer, prompt)
        room = self._context - len(head)
        if room < 8:
            return None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(decode.seed)
            row = self._model.generate(
                torch.tensor([head]),
                attention_mask=torch.ones(1, len(head), dtype=torch.long),
                max_new_tokens=min(room, decode.max_new_tokens),
                do_sample=decode.temperature > 0,
                temperature=float(decode.temperature) or None,
                top_p=float(decode.top_p),
                top_k=0,
            )[0, len(head) :]
        if self._tokenizer.eos_id not in row:
            return None
        return self._tokenizer.decode(row.tolist())


def shortened(short: str, descriptive: str, rng: np.random.Generator) -> str:
    """A prompt as users type them: the short caption, some of its words, or some sentences of the descriptive one."""
    draw = rng.random()
    if draw < 0.4:
        return short
    if draw < 0.7:
        tokens = short.rstrip(".").split()
        keep = rng.random(len(tokens)) < rng.uniform(0.3, 1.0)
        return " ".join(word for word, kept in zip(tokens, keep, strict=True) if kept) or tokens[-1]
    sentences = split_sentences(descriptive)
    chosen = sorted(rng.permutation(len(sentences))[: int(rng.integers(1, 4))])
    return " ".join(sentences[index] for index in chosen)


def _new_model(config: ExpanderTraining, tokenizer: CaptionTokenizer) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.vocab_size,
            hidden_size=config.width,
            intermediate_size=4 * config.width,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=config.context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_id,
            eos_token_id=tokenizer.eos_id,
            pad_token_id=tokenizer.pad_id,
        )
    )


def _prompt_ids(tokenizer: CaptionTokenizer, prompt: str) -> list[int]:
    """Begin, prompt, separator. Case, but for quotations, and the final stop are dropped: users do as they like."""
    parts = re.split(r'("[^"]*")', prompt.strip().rstrip("."))
    text = "".join(part if part.startswith('"') else part.lower() for part in parts)
    return [*tokenizer.encode([f"{text} {SEPARATOR}"], max_tokens=10**6)[0][:-1].tolist()]


def _batch(
    source: PairSource, tokenizer: CaptionTokenizer, config: ExpanderTraining, step: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token rows `[B, L]`, and where they are to be learnt: in the expansion, not in the prompt."""
    rows = []
    for item in range(step * config.batch_size, (step + 1) * config.batch_size):
        short, descriptive = source.pair(item)
        head = _prompt_ids(tokenizer, shortened(short, descriptive, generator(config.seed, "prompt", item)))
        tail = tokenizer.encode([descriptive], max_tokens=10**6)[0][1:].tolist()
        rows.append((head, (head + tail)[: config.context]))
    width = max(len(row) for _, row in rows)
    ids = torch.full((len(rows), width), tokenizer.pad_id)
    learnt = torch.zeros(len(rows), width, dtype=torch.bool)
    for index, (head, row) in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
        learnt[index, len(head) : len(row)] = True
    return ids, learnt


def _loss(model: Any, ids: torch.Tensor, learnt: torch.Tensor, pad_id: int) -> torch.Tensor:
    logits = model(input_ids=ids[:, :-1]).logits
    targets = ids[:, 1:].masked_fill(~learnt[:, 1:], pad_id)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=pad_id)


def _cosine(progress: float) -> float:
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress))
