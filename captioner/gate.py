"""The alignment gate: captions must fit their own clips better than other clips of their batch, or none is accepted.

    similarity = captioner.score(clips, texts)          # [N, N], clip by text
    alignment = measure(similarity)
    alignment.passes, alignment.margins, alignment.misplaced

Captions of the wrong clips are the costliest failure on record: they read well, and no text detector can see them.
Two tests, neither of which has a threshold that depends on how good the scorer is; a poor one needs more captions.

Better than shuffled: the trace of the similarity matrix. Were the captions dealt out at random, it would be nearly
normal with mean and variance known in closed form (Hoeffding 1951, "A combinatorial central limit theorem").

Nobody else's: captions that moved to a neighbour, whose clip looks alike, pass the first test. But whoever can tell
clips apart puts a caption's own clip first more often than second or third; then it would be second or third.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

MIN_CAPTIONS = 5
"""Below this, chance alone cannot be told from a perfect fit."""
_MIN_FOR_STRANGERS = 16
"""Fewer captions do not show how much right ones differ."""
_MIN_Z = 3.0
"""Shuffled captions pass once in about 700 batches."""
_MAX_CHANCE = 1e-3
"""Right captions fail the second test at most once in so many batches."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """How well the captions of a batch fit their own clips."""

    z: float
    """Standard deviations by which the batch fits better than shuffled captions would."""
    own_is_rarely_first: bool
    """Whether the captions' own clips come second or third so much more often than first that it cannot be chance."""
    own: np.ndarray
    """Similarity of each caption to its own clip, as the scorer gave it."""
    margins: np.ndarray
    """Of each caption: by how many standard deviations its own clip stands out from the others."""
    misplaced: tuple[int, ...]
    """Captions that surely belong to another clip, of the batch or not, in ascending order."""

    @property
    def passes(self) -> bool:
        return self.z >= _MIN_Z and not self.own_is_rarely_first


def measure(similarity: np.ndarray) -> Alignment | None:
    """Alignment of captions with their clips, from the similarity of clip i to text j; None for too few to tell."""
    matrix = np.asarray(similarity, np.float64)
    num = len(matrix)
    if matrix.shape != (num, num):
        raise ValueError(f"similarity must be square, clips by texts, got {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("similarity holds numbers that are not finite; the scorer is broken")
    if num < MIN_CAPTIONS:
        return None
    # Some texts fit everything, some clips like every text: neither says anything about who belongs to whom.
    centred = matrix - matrix.mean(0, keepdims=True) - matrix.mean(1, keepdims=True) + matrix.mean()
    deviation = float(np.sqrt((centred**2).sum() / (num - 1) ** 2))
    if deviation < 1e-9 * (1e-9 + np.abs(matrix).max()):  # every clip likes every text equally: nothing is known
        return Alignment(
            z=0.0, own_is_rarely_first=False, own=np.diag(matrix).copy(), margins=np.zeros(num), misplaced=()
        )
    scaled = centred / deviation
    margins = np.diag(scaled).copy()
    z = float(margins.sum() / np.sqrt(num - 1))  # Hoeffding 1951: the variance of the sum is num - 1 in these units
    misplaced = _misplaced(scaled, float(np.median(margins))) if z >= _MIN_Z else ()
    return Alignment(
        z=z,
        own_is_rarely_first=_own_is_rarely_first(scaled),
        own=np.diag(matrix).copy(),
        margins=margins,
        misplaced=misplaced,
    )


def _own_is_rarely_first(scaled: np.ndarray) -> bool:
    """Of captions whose own clip is among their best k, at least every k-th should have it first, whatever the scorer.

    Clips that fit equally well share their place.
    """
    places = (scaled > np.diag(scaled) + 1e-9).sum(axis=0)
    first = int((places == 0).sum())
    depths = (2, 3, 5, 8)
    return any(
        _binomial_tail(first, int((places < depth).sum()), 1 / depth) < _MAX_CHANCE / len(depths) for depth in depths
    )


def _binomial_tail(most: int, num: int, share: float) -> float:
    """Probability of at most so many successes."""
    return sum(comb(num, hits) * share**hits * (1 - share) ** (num - hits) for hits in range(most + 1))


def _misplaced(scaled: np.ndarray, typical_margin: float) -> tuple[int, ...]:
    """Captions that were swapped in pairs, that another clip of the batch fits far better, or that fit none of it.

    The thresholds lie beyond what chance does to right captions anywhere in a batch of this size, given how well the
    scorer tells its clips apart: a poor scorer accuses nobody.
    """
    num = len(scaled)
    own = np.diag(scaled)
    beyond_chance = np.sqrt(4 * np.log(num)) + 1  # the largest of num * num normal variates, and a margin
    swap_gain = scaled + scaled.T - own[:, None] - own[None, :]
    swapped = swap_gain > max(1.0, 2 * beyond_chance - 2 * typical_margin)  # the sum of four
    gain = scaled.max(axis=0) - own
    moved = gain > max(1.0, np.sqrt(2) * beyond_chance - typical_margin)  # the sum of two
    return tuple(int(index) for index in np.flatnonzero(swapped.any(axis=1) | moved | _strangers(own, typical_margin)))


def _strangers(own: np.ndarray, typical_margin: float) -> np.ndarray:
    """Captions that stand out from the others' margins, and lie nearer to 0, which is where other clips' captions lie.

    Such are those that belong to a clip of another batch.
    """
    if len(own) < _MIN_FOR_STRANGERS:
        return np.zeros(len(own), bool)
    spread = 1.4826 * float(np.median(np.abs(own - typical_margin)))  # the deviation, if they are normal
    spread *= 1 + 2 / np.sqrt(len(own))  # which so many captions tell no better than that
    beyond_chance = np.sqrt(2 * np.log(len(own))) + 1  # the least of so many, and a margin
    return own < min(typical_margin / 2, typical_margin - beyond_chance * spread)
