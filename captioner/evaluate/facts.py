"""The headline: which facts captions state, and whether they are true.

Truth and claim are dictionaries, slot to value. A slot that a claim leaves out was not mentioned. None says that there
is none: "there is no text" claims `text: None`, which is a fact of its own, counted under `no_text`.

    precision   true claims of all claims; one minus it is the rate of hallucination
    recall      true claims of all facts
    balanced    recall, mean over the values of the slot: a captioner that always says "one" does not count well
    chance      share of the slot's commonest value: what saying the same for every clip would reach
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Facts: TypeAlias = Mapping[str, str | None]

STATED_ABSENCES = {"other_shape": "no_other", "text": "no_text"}
"""Slots whose absence is a fact, with the name that it is counted under. Other absences are facts about nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotScore:
    facts: int
    claims: int
    correct: int
    balanced: float | None
    chance: float | None

    @property
    def precision(self) -> float | None:
        return self.correct / self.claims if self.claims else None

    @property
    def recall(self) -> float | None:
        return self.correct / self.facts if self.facts else None

    @property
    def f1(self) -> float | None:
        return 2 * self.correct / (self.facts + self.claims) if self.facts + self.claims else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactScore:
    """All slots together, and each."""

    captions: int
    unreadable: int
    """Captions of which the parser made nothing; they claim nothing."""
    precision: float | None
    recall: float | None
    f1: float | None
    hallucination: float | None
    f1_interval: tuple[float, float] | None
    """95 % of resamplings of the clips lie between."""
    slots: dict[str, SlotScore]
    confusions: dict[str, tuple[tuple[str, str, int], ...]]
    """By slot, the commonest mistakes: (true value, claimed value, times)."""
    per_caption: tuple[float, ...]
    """F1 of each caption."""


def score_facts(truth: Sequence[Facts], claims: Sequence[Facts | None], *, resamples: int = 1000) -> FactScore:
    """Compare what was true of each clip with what its caption claimed; None for a caption that cannot be read."""
    if len(truth) != len(claims) or not truth:
        raise ValueError(f"{len(truth)} clips and {len(claims)} captions; need one caption per clip")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    values: dict[str, Counter[tuple[str, bool]]] = defaultdict(Counter)
    mistakes: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    rows = []
    for facts, claim in zip(truth, claims, strict=True):
        true, claimed = dict(_named(facts)), dict(_named(claim or {}))
        for slot, value in true.items():
            counts[slot]["facts"] += 1
            values[slot][value, claimed.get(slot) == value] += 1
        for slot, value in claimed.items():
            counts[slot]["claims"] += 1
            counts[slot]["correct"] += true.get(slot) == value
            if true.get(slot) != value:
                mistakes[slot][true.get(slot, "(none)"), value] += 1
        rows.append((sum(true.get(slot) == value for slot, value in claimed.items()), len(claimed), len(true)))
    table = np.asarray(rows, float)
    correct, claimed_total, true_total = map(float, table.sum(0))
    return FactScore(
        captions=len(truth),
        unreadable=sum(not claim for claim in claims),
        precision=correct / claimed_total if claimed_total else None,
        recall=correct / true_total if true_total else None,
        f1=_f1(table.sum(0)),
        hallucination=1 - correct / claimed_total if claimed_total else None,
        f1_interval=_interval(table, resamples),
        slots={slot: _slot_score(counts[slot], values[slot]) for slot in _ordered(truth, counts)},
        confusions={
            slot: tuple((*pair, times) for pair, times in mistakes[slot].most_common(3)) for slot in sorted(mistakes)
        },
        per_caption=tuple(_f1(row) or 0.0 for row in table),
    )


def _named(facts: Facts) -> Iterable[tuple[str, str]]:
    """Facts with a value, and the absences that count."""
    for slot, value in facts.items():
        if value is not None:
            yield slot, value
        elif slot in STATED_ABSENCES:
            yield STATED_ABSENCES[slot], "yes"


def _slot_score(counts: Counter[str], values: Counter[tuple[str, bool]]) -> SlotScore:
    totals: Counter[str] = Counter()
    for (value, _), times in values.items():
        totals[value] += times
    recalls = [values[value, True] / total for value, total in totals.items()]
    return SlotScore(
        facts=counts["facts"],
        claims=counts["claims"],
        correct=counts["correct"],
        balanced=float(np.mean(recalls)) if recalls else None,
        chance=max(totals.values()) / sum(totals.values()) if totals else None,
    )


def _ordered(truth: Sequence[Facts], counts: Mapping[str, object]) -> list[str]:
    """Slots in the order of the truth, then the absences, then what was claimed without being a slot of it."""
    known = list(dict.fromkeys(slot for facts in truth for slot in facts))
    order = [*known, *STATED_ABSENCES.values()]
    return [slot for slot in dict.fromkeys([*order, *sorted(counts)]) if slot in counts]


def _f1(row: np.ndarray) -> float | None:
    correct, claimed, true = row
    return float(2 * correct / (claimed + true)) if claimed + true else None


def _interval(table: np.ndarray, resamples: int) -> tuple[float, float] | None:
    if not resamples or not table[:, 1:].any():
        return None
    rng = np.random.default_rng(0)
    sums = table[rng.integers(0, len(table), (resamples, len(table)))].sum(1)  # [resamples 3]
    low, high = np.percentile(2 * sums[:, 0] / np.maximum(sums[:, 1] + sums[:, 2], 1), [2.5, 97.5])
    return float(low), float(high)
