"""Finding the caption of a clip, and the clip of a caption, among all that are given.

Look at facts first: colours alone can solve this while shapes and motions are at chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    gallery: int
    """Number of clips; a recall means nothing without it."""
    clip_to_text_r1: float
    clip_to_text_r5: float
    clip_to_text_r10: float
    clip_to_text_median_rank: float
    text_to_clip_r1: float
    text_to_clip_r5: float
    text_to_clip_r10: float
    text_to_clip_median_rank: float


def retrieval(scores: np.ndarray, texts: Sequence[str]) -> Retrieval:
    """Recall and median rank from similarities `[clips, texts]`, where text i is the caption of clip i.

    Finding an identical caption of another clip counts as a hit. Ties count against: a model that gives all the same
    score finds nothing.
    """
    if scores.shape != (len(texts), len(texts)) or not len(texts):
        raise ValueError(f"similarities {list(scores.shape)} of {len(texts)} texts; need one text per clip")
    kinds = np.unique(np.asarray(texts), return_inverse=True)[1]
    same = kinds[:, None] == kinds[None, :]
    forward, backward = _ranks(scores, same), _ranks(scores.T, same)
    return Retrieval(
        gallery=len(texts),
        clip_to_text_r1=float(np.mean(forward < 1)),
        clip_to_text_r5=float(np.mean(forward < 5)),
        clip_to_text_r10=float(np.mean(forward < 10)),
        clip_to_text_median_rank=float(np.median(forward)) + 1,
        text_to_clip_r1=float(np.mean(backward < 1)),
        text_to_clip_r5=float(np.mean(backward < 5)),
        text_to_clip_r10=float(np.mean(backward < 10)),
        text_to_clip_median_rank=float(np.median(backward)) + 1,
    )


def _ranks(scores: np.ndarray, same: np.ndarray) -> np.ndarray:
    """How many wrong answers are at least as good as the best right one, per row."""
    best = np.where(same, scores, -np.inf).max(axis=1, keepdims=True)
    return ((scores >= best) & ~same).sum(axis=1)
