"""Whether a captioner knows when it is wrong: its token probabilities against the truth of what it said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    rank_correlation: float | None
    """Spearman's, between mean log-probability and score; None when either never varies."""
    kept_score: tuple[tuple[float, float], ...]
    """(share kept, mean score of the kept), when the least probable captions are dropped first."""


def calibration(mean_logprobs: Sequence[float], scores: Sequence[float]) -> Calibration:
    """Compare confidence and correctness of captions, one pair per caption."""
    confidence, correct = np.asarray(mean_logprobs, float), np.asarray(scores, float)
    if confidence.shape != correct.shape or not confidence.size:
        raise ValueError(f"{confidence.size} probabilities and {correct.size} scores; need one pair per caption")
    ordered = correct[np.argsort(-confidence, kind="stable")]
    kept = [(share, float(ordered[: max(1, round(share * len(ordered)))].mean())) for share in (1.0, 0.9, 0.75, 0.5)]
    return Calibration(rank_correlation=_spearman(confidence, correct), kept_score=tuple(kept))


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    a, b = _mean_ranks(a), _mean_ranks(b)
    if not a.std() or not b.std():
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]
