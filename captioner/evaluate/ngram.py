"""BLEU-4, ROUGE-L and CIDEr-D: word overlap with reference captions, for continuity with the literature.

They punish a descriptive caption for everything that a short reference leaves out; facts (`facts.py`) are the measure
here. Every function takes one candidate and at least one reference per clip, and answers from 0 to 1 (CIDEr-D 0 to 10).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import TypeAlias

Ngrams: TypeAlias = "Counter[tuple[str, ...]]"

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


def words(text: str) -> list[str]:
    """Lower-case words without punctuation: "Don't STOP!" -> ["don't", "stop"]."""
    return _WORD.findall(text.lower())


def bleu_4(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Corpus BLEU with up to four words (Papineni et al. 2002): clipped precision, geometric mean, brevity penalty."""
    _check(candidates, references)
    matched, offered = [0] * 4, [0] * 4
    candidate_length = reference_length = 0
    for candidate, alternatives in zip(map(words, candidates), _reference_words(references), strict=True):
        candidate_length += len(candidate)
        # The reference nearest in length counts; of two equally near, the shorter.
        reference_length += min((abs(len(ref) - len(candidate)), len(ref)) for ref in alternatives)[1]
        for n in range(1, 5):
            ours = _ngrams(candidate, n)
            allowed: Ngrams = Counter()
            for reference in alternatives:
                allowed |= _ngrams(reference, n)
            matched[n - 1] += sum((ours & allowed).values())
            offered[n - 1] += max(len(candidate) - n + 1, 0)
    if not all(matched):
        return 0.0
    precision = math.exp(sum(math.log(m / o) for m, o in zip(matched, offered, strict=True)) / 4)
    return precision * min(1.0, math.exp(1 - reference_length / candidate_length))


def rouge_l(candidates: Sequence[str], references: Sequence[Sequence[str]], *, beta: float = 1.2) -> float:
    """Mean longest common subsequence F-score (Lin 2004), best precision and best recall over the references."""
    _check(candidates, references)
    scores = []
    for candidate, alternatives in zip(map(words, candidates), _reference_words(references), strict=True):
        common = [(_longest_common(candidate, ref), len(ref)) for ref in alternatives]
        precision = max((length / len(candidate) for length, _ in common), default=0.0) if candidate else 0.0
        recall = max(length / total if total else 0.0 for length, total in common)
        both = precision * recall
        scores.append((1 + beta**2) * both / (recall + beta**2 * precision) if both else 0.0)
    return sum(scores) / len(scores)


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]], *, sigma: float = 6.0) -> float:
    """Mean CIDEr-D (Vedantam et al. 2015): tf-idf similarity of one- to four-word runs, damped by difference in length.

    The rarity of words comes from the references given, so the score of one caption depends on the whole set.
    """
    _check(candidates, references)
    reference_words = list(_reference_words(references))
    scores = [0.0] * len(candidates)
    for n in range(1, 5):
        containing: Ngrams = Counter()
        for alternatives in reference_words:
            containing.update(set(chain.from_iterable(_ngrams(ref, n) for ref in alternatives)))
        for index, (candidate, alternatives) in enumerate(zip(map(words, candidates), reference_words, strict=True)):
            ours = _tf_idf(_ngrams(candidate, n), containing, len(candidates))
            for reference in alternatives:
                theirs = _tf_idf(_ngrams(reference, n), containing, len(candidates))
                damping = math.exp(-((len(candidate) - len(reference)) ** 2) / (2 * sigma**2))
                scores[index] += 10 / 4 * damping * _clipped_cosine(ours, theirs) / len(alternatives)
    return sum(scores) / len(scores)


def _check(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if not candidates or len(candidates) != len(references) or not all(references):
        raise ValueError(
            f"{len(candidates)} candidates, {len(references)} lists of references; need one each, none empty"
        )


def _reference_words(references: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    return [[words(text) for text in alternatives] for alternatives in references]


def _ngrams(tokens: Sequence[str], n: int) -> Ngrams:
    return Counter(tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1))


def _longest_common(a: Sequence[str], b: Sequence[str]) -> int:
    row = [0] * (len(b) + 1)
    for word in a:
        diagonal = 0
        for index, other in enumerate(b, start=1):
            diagonal, row[index] = row[index], diagonal + 1 if word == other else max(row[index], row[index - 1])
    return row[-1]


def _tf_idf(counts: Ngrams, containing: Ngrams, num_clips: int) -> dict[tuple[str, ...], float]:
    return {gram: count * math.log(num_clips / max(1, containing[gram])) for gram, count in counts.items()}


def _clipped_cosine(ours: dict[tuple[str, ...], float], theirs: dict[tuple[str, ...], float]) -> float:
    norms = math.hypot(*ours.values()) * math.hypot(*theirs.values())
    return (
        sum(min(weight, theirs.get(gram, 0.0)) * theirs.get(gram, 0.0) for gram, weight in ours.items()) / norms
        if norms
        else 0.0
    )
