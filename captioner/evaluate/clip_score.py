"""Similarity of captions to their clips, whole and sentence by sentence.

Encoders cut long captions without a word, so that the score of a whole one is that of its beginning; the worst sentence
shows what the mean hides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from captioner.base import Clip, Scorer
from curate.blend import split_sentences


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipScore:
    """Means over clips, in units of the scorer; for a CLIP, a cosine."""

    scorer: str
    whole: float
    sentence_mean: float
    sentence_min: float
    shuffled: float
    """Of captions and the clips of their neighbours: what any caption of this set would get."""


def clip_score(scorer: Scorer, clips: Sequence[Clip], texts: Sequence[str], *, batch: int = 32) -> ClipScore | None:
    """Score captions against their own clips; None when the scorer cannot compare or there are fewer than two clips."""
    if len(clips) < 2:
        return None
    whole, shuffled, means, minima = [], [], [], []
    for start in range(0, len(clips), batch):
        part, captions = clips[start : start + batch], texts[start : start + batch]
        sentences = [split_sentences(text) or [text] for text in captions]
        scores = scorer.score(part, [*captions, *(sentence for each in sentences for sentence in each)])
        if scores is None:
            return None
        whole += list(np.diagonal(scores))
        shuffled += list(np.diagonal(np.roll(scores[:, : len(part)], 1, axis=1)))
        position = len(part)
        for row, each in zip(scores, sentences, strict=True):
            own = row[position : position + len(each)]
            means.append(own.mean())
            minima.append(own.min())
            position += len(each)
    return ClipScore(
        scorer=f"{scorer.identity.id}@{scorer.identity.revision}",
        whole=float(np.mean(whole)),
        sentence_mean=float(np.mean(means)),
        sentence_min=float(np.mean(minima)),
        shuffled=float(np.mean(shuffled)),
    )
