"""Which caption a training sample sees, chosen when it is read, so that the mix can change without encoding again.

    captions = best_captions(rows of the table `captions`)            # clip_id -> kind -> text, once
    choice = choose_caption(captions[clip_id], config, seed=0, epoch=3, sample_id=clip_id)

The default is the mix of DALL-E 3: 95 % descriptive captions, 5 % the original text (Betker et al. 2023, section 3).
Every draw depends on the seed, the epoch and the sample alone: workers, ranks and resumed runs agree.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from curate.counter_random import generator, uniform
from curate.schema import CAPTION_KINDS

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendConfig:
    """The mix of captions, and how their form is varied."""

    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "descriptive": 0.95,
            "alt": 0.05,
            "human": 0.0,
            "structured": 0.0,
            "medium": 0.0,
            "short": 0.0,
        }
    )
    """Share of each kind. Kinds of weight 0 are used, in this order, for samples that have none of the others."""
    empty: float = 0.0
    """Share of samples without any text, for guidance; 0 where the trainer itself drops conditions."""
    vary_length: float = 0.0
    """Share of samples that keep only some sentences: the first, and a random number of the others in random order."""
    lowercase: float = 0.0
    """Share of samples in lower case."""
    drop_final_stop: float = 0.0
    """Share of samples whose final full stop is left out."""

    def __post_init__(self) -> None:
        for kind, weight in self.weights.items():
            if kind not in CAPTION_KINDS:
                raise ValueError(f"weights.{kind}: no such kind; kinds: {', '.join(CAPTION_KINDS)}")
            if not 0 <= weight < math.inf:
                raise ValueError(f"weights.{kind} must be a number from 0 up, got {weight}")
        if not any(self.weights.values()):
            raise ValueError("weights: at least one kind needs a weight above 0")
        for name in ("empty", "vary_length", "lowercase", "drop_final_stop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share, from 0 to 1, got {getattr(self, name)}")


class Choice(NamedTuple):
    """A caption for one sample. Count `wanted` against `kind`: a missing kind silently changes the mix."""

    text: str
    kind: str | None  # None: no text
    wanted: str | None  # the kind that was drawn, whether or not the sample has it


def choose_caption(
    captions: Mapping[str, str], config: BlendConfig, *, seed: int, epoch: int, sample_id: str
) -> Choice:
    """Draw a kind by weight and return that caption, or the next in the drawn order when the sample lacks it.

    Removing a kind from `captions`, or giving a weight to another one, changes no draw between the rest.
    """
    key = ("blend", epoch, sample_id)
    if config.empty and uniform(seed, *key, "empty") < config.empty:
        return Choice("", None, None)
    order = _kinds_in_drawn_order(config.weights, seed, key)
    kind = next((kind for kind in order if captions.get(kind)), None)
    if kind is None:
        return Choice("", None, order[0])
    return Choice(_varied(captions[kind], config, seed, key), kind, order[0])


def possible_captions(captions: Mapping[str, str], config: BlendConfig) -> list[str]:
    """The captions of a sample that `choose_caption` may draw, before their form is varied."""
    there = [kind for kind in config.weights if captions.get(kind)]
    return [captions[kind] for kind in there if config.weights[kind]] or [captions[kind] for kind in there]


def best_captions(rows: Iterable[Mapping[str, Any]], *, prefer: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """The best accepted caption of each kind for each clip: clip_id -> kind -> text.

    Of several captioners the first in `prefer` wins, then the better `alignment_margin`, then the newest. Rows need
    clip_id, kind, captioner, status, text, alignment_margin and created.
    """
    rank = {captioner: -index for index, captioner in enumerate(prefer)}
    best: dict[tuple[str, str], tuple[Any, str]] = {}
    for row in rows:
        if row["status"] != "ok" or not row["text"]:
            continue
        margin = row["alignment_margin"]
        merit = (
            rank.get(row["captioner"], -len(prefer)),
            -math.inf if margin is None else margin,
            row["created"],
            row["captioner"],
        )
        place = (row["clip_id"], row["kind"])
        if place not in best or merit > best[place][0]:
            best[place] = (merit, row["text"])
    chosen: dict[str, dict[str, str]] = {}
    for (clip_id, kind), (_, text) in best.items():
        chosen.setdefault(clip_id, {})[kind] = text
    return chosen


def split_sentences(text: str) -> list[str]:
    """Sentences of a paragraph, each with its final mark."""
    return [sentence for sentence in _SENTENCE_END.split(text.strip()) if sentence]


def _kinds_in_drawn_order(weights: Mapping[str, float], seed: int, key: tuple[str | int, ...]) -> list[str]:
    # Efraimidis and Spirakis 2006: sorting by an exponential variate over the weight draws without replacement.
    drawn = {kind: -math.log1p(-uniform(seed, *key, kind)) / weight for kind, weight in weights.items() if weight}
    return [*sorted(drawn, key=drawn.__getitem__), *(kind for kind, weight in weights.items() if not weight)]


def _varied(text: str, config: BlendConfig, seed: int, key: tuple[str | int, ...]) -> str:
    if config.vary_length and uniform(seed, *key, "vary_length") < config.vary_length:
        first, *others = split_sentences(text) or [text]
        random = generator(seed, *key, "sentences")
        kept = random.permutation(len(others))[: random.integers(0, len(others) + 1)]
        text = " ".join([first, *(others[index] for index in kept)])
    if config.drop_final_stop and uniform(seed, *key, "stop") < config.drop_final_stop:
        text = text.rstrip().removesuffix(".")
    if config.lowercase and uniform(seed, *key, "case") < config.lowercase:
        text = text.lower()
    return text
