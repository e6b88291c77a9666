"""Distillation: a strong captioner writes for some clips, ours learns from them, and writes for the rest.

    chosen = choose_share(clips, share=0.1, seed=0)      what the strong one captions to teach
    agreement(teacher_texts, student_texts)              on clips that were not learned from: how alike the two speak

Agreement is not truth: where the teacher is wrong, agreeing is wrong. It is set beside the agreement of captions with
those of other clips, which a student reaches that has learned the manner and sees nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captioner.evaluate.facts import score_facts
from captioner.evaluate.ngram import cider_d, rouge_l
from captioner.fact_parser import parse_facts
from captioner.phrases import ENGLISH
from curate.counter_random import uniform

_MIN_PARSED = 0.5
"""Share of the teacher's captions that the parser must read, for facts to be compared: drawn footage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """How alike two sets of captions are, pair by pair."""

    rouge_l: float
    cider_d: float
    content_words: float
    """F1 of the words that are no function words, mean over pairs."""
    facts_f1: float | None
    """F1 of the facts that the second states against those of the first; None where no parser reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Of a student with its teacher, on clips that the student has not learned from."""

    clips: int
    reached: Likeness
    by_chance: Likeness
    """The student's captions against the teacher's captions of other clips."""
    teacher_words: float
    student_words: float
    """Mean length in words."""


def choose_share(clip_ids: Sequence[str], share: float, *, seed: int = 0) -> list[str]:
    """About this share of clips, in their order. A larger share contains a smaller one."""
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}")
    return [clip_id for clip_id in clip_ids if uniform(seed, "distill", clip_id) < share]


def agreement(teacher: Mapping[str, str], student: Mapping[str, str]) -> Agreement | None:
    """Compare captions by clip id, of clips that both captioned; None for fewer than two."""
    both = sorted(teacher.keys() & student.keys())
    if len(both) < 2:
        return None
    taught, learned = [teacher[clip_id] for clip_id in both], [student[clip_id] for clip_id in both]
    moved = [*learned[1:], learned[0]]
    return Agreement(
        clips=len(both),
        reached=_likeness(taught, learned),
        by_chance=_likeness(taught, moved),
        teacher_words=sum(len(text.split()) for text in taught) / len(both),
        student_words=sum(len(text.split()) for text in learned) / len(both),
    )


def _likeness(first: Sequence[str], second: Sequence[str]) -> Likeness:
    truth = [parse_facts(text) for text in first]
    read = [index for index, facts in enumerate(truth) if facts]
    facts_f1 = None
    if len(read) >= _MIN_PARSED * len(first):
        claims = [parse_facts(second[index]) for index in read]
        facts_f1 = score_facts([truth[index] or {} for index in read], claims, resamples=1).f1
    references = [[text] for text in first]
    shared = [_word_f1(a, b) for a, b in zip(first, second, strict=True)]
    return Likeness(
        rouge_l=rouge_l(second, references),
        cider_d=cider_d(second, references),
        content_words=sum(shared) / len(shared),
        facts_f1=facts_f1,
    )


def _word_f1(first: str, second: str) -> float:
    a, b = (set(re.findall(r"[^\W_]+", text.lower())) - ENGLISH for text in (first, second))
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
