"""Whether captions differ: one text for every clip can look good on every other measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from captioner.evaluate.ngram import bleu_4, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    captions: int
    unique_share: float
    """Distinct captions over captions."""
    most_common: int
    """How often the commonest caption occurs."""
    unique_openings: float
    """Distinct first three words over captions."""
    distinct_1: float
    """Distinct words over words."""
    distinct_2: float
    """Distinct pairs of neighbouring words over pairs."""
    vocabulary: int
    self_bleu: float | None
    """BLEU-4 of a sample of captions against the rest of it: 1 when all are alike; None for fewer than two."""
    words_mean: float
    words_p5: float
    words_p50: float
    words_p95: float
    without_stop: float
    """Share of captions that end without a full stop, question or exclamation mark."""


def diversity(captions: Sequence[str], *, sample: int = 100) -> Diversity:
    """Measure a set of captions. Raises ValueError when there are none."""
    if not captions:
        raise ValueError("no captions to measure")
    tokens = [words(text) for text in captions]
    flat = [word for text in tokens for word in text]
    pairs = [pair for text in tokens for pair in pairwise(text)]
    lengths = [len(text) for text in tokens]
    p5, p50, p95 = np.percentile(lengths, [5, 50, 95])
    step = max(1, len(captions) // sample)
    return Diversity(
        captions=len(captions),
        unique_share=len(set(captions)) / len(captions),
        most_common=Counter(captions).most_common(1)[0][1],
        unique_openings=len({tuple(text[:3]) for text in tokens}) / len(captions),
        distinct_1=len(set(flat)) / max(1, len(flat)),
        distinct_2=len(set(pairs)) / max(1, len(pairs)),
        vocabulary=len(set(flat)),
        self_bleu=_self_bleu(captions[::step][:sample]),
        words_mean=float(np.mean(lengths)),
        words_p5=float(p5),
        words_p50=float(p50),
        words_p95=float(p95),
        without_stop=sum(not text.rstrip("\"'”’) ").endswith((".", "!", "?")) for text in captions) / len(captions),
    )


def _self_bleu(sample: Sequence[str]) -> float | None:
    if len(sample) < 2:
        return None
    others = [[other for index, other in enumerate(sample) if index != position] for position in range(len(sample))]
    return bleu_4(sample, others)
