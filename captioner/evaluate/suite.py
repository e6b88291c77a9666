"""A captioner on a set of clips: everything that can be measured there, in one record.

With known clips, facts and controls come first. With reference captions only, word overlap; without either, what a set
of captions shows by itself: how alike they are, how long, and whether they fit their own clips better than others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from captioner.base import Captioner, CaptionRequest, CaptionResult, Clip, Scorer, by_clip
from captioner.evaluate.calibration import Calibration, calibration
from captioner.evaluate.clip_score import ClipScore, clip_score
from captioner.evaluate.controls import Controls, blank_clips, compare_controls, reversed_clips, shuffled_clips
from captioner.evaluate.diversity import Diversity, diversity
from captioner.evaluate.facts import Facts, FactScore, score_facts
from captioner.evaluate.judge import Judge, Judged
from captioner.evaluate.ngram import bleu_4, cider_d, rouge_l
from captioner.evaluate.retrieval import Retrieval, retrieval
from captioner.fact_parser import parse_facts
from curate.errors import CaptionerError

_MOST_COMPARED = 512
"""Clips that are compared with each other; the work grows with the square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    bleu_4: float
    rouge_l: float
    cider_d: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """One clip of the examination."""

    clip_id: str
    text: str
    reference: str | None
    f1: float | None
    mean_logprob: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    captioner: str
    revision: str
    kind: str
    clips: int
    failed: int
    """Clips without a caption; they claim nothing, and count against recall."""
    truncated: int
    seconds: float
    output_tokens: int | None
    facts: FactScore | None
    controls: Controls | None
    overlap: Overlap | None
    judged: Judged | None
    retrieval: Retrieval | None
    clip_score: ClipScore | None
    diversity: Diversity
    calibration: Calibration | None
    written: tuple[Written, ...]


def evaluate(
    captioner: Captioner,
    clips: Sequence[Clip],
    request: CaptionRequest,
    *,
    truth: Sequence[Facts] | None = None,
    references: Sequence[str] | None = None,
    scorer: Scorer | None = None,
    judge: Judge | None = None,
    with_controls: bool = True,
) -> Evaluation:
    """Caption the clips and measure the captions.

    `scorer` compares clips with texts, by default the captioner itself where it can; `judge` compares captions with
    references. Raises CaptionerError when not one clip was captioned.
    """
    started = time.perf_counter()
    answers = by_clip(clips, captioner.caption(clips, request))
    seconds = time.perf_counter() - started
    results = [answers[clip.clip_id] for clip in clips]
    done = [index for index, result in enumerate(results) if result.text]
    if not done:
        error = next((result.error for result in results if result.error), "all answers were empty")
        raise CaptionerError(f"{captioner.identity.id} captioned none of {len(clips)} clips: {error}")
    texts = [str(results[index].text) for index in done]
    seen = [clips[index] for index in done]
    wanted = [references[index] for index in done] if references is not None else None
    fact_score = score_facts(truth, _claims(results)) if truth is not None else None
    scorer = scorer or captioner
    return Evaluation(
        captioner=captioner.identity.id,
        revision=captioner.identity.revision,
        kind=request.kind,
        clips=len(clips),
        failed=len(clips) - len(done),
        truncated=sum(result.finish_reason == "length" for result in results),
        seconds=seconds,
        output_tokens=_total([result.output_tokens for result in results]),
        facts=fact_score,
        controls=_controls(captioner, clips, request, truth, results) if truth is not None and with_controls else None,
        overlap=_overlap(texts, wanted) if wanted is not None else None,
        judged=judge.judge(texts, wanted) if judge is not None and wanted is not None else None,
        retrieval=_retrieval(scorer, seen[:_MOST_COMPARED], texts[:_MOST_COMPARED]),
        clip_score=clip_score(scorer, seen, texts),
        diversity=diversity(texts),
        calibration=_calibration(results, fact_score),
        written=tuple(
            Written(
                clip_id=clip.clip_id,
                text=result.text or "",
                reference=references[index] if references is not None else None,
                f1=fact_score.per_caption[index] if fact_score is not None else None,
                mean_logprob=result.mean_logprob,
            )
            for index, (clip, result) in enumerate(zip(clips, results, strict=True))
        ),
    )


def compare_f1(first: Evaluation, second: Evaluation, *, resamples: int = 1000) -> tuple[float, float, float]:
    """By how much the second captioner's mean F1 is higher on the same clips, and the bounds of 95 % of resamplings."""
    if [w.clip_id for w in first.written] != [w.clip_id for w in second.written] or not (first.facts and second.facts):
        raise ValueError("only evaluations of the same known clips can be compared")
    gains = np.asarray(second.facts.per_caption) - np.asarray(first.facts.per_caption)
    drawn = np.random.default_rng(0).integers(0, len(gains), (resamples, len(gains)))
    low, high = np.percentile(gains[drawn].mean(1), [2.5, 97.5])
    return float(gains.mean()), float(low), float(high)


def _claims(results: Sequence[CaptionResult]) -> list[Facts | None]:
    return [parse_facts(result.text) if result.text else None for result in results]


def _controls(
    captioner: Captioner,
    clips: Sequence[Clip],
    request: CaptionRequest,
    truth: Sequence[Facts],
    results: Sequence[CaptionResult],
) -> Controls:
    def claims_about(doctored: Sequence[Clip]) -> list[Facts | None]:
        answers = by_clip(doctored, captioner.caption(doctored, request))
        return _claims([answers[clip.clip_id] for clip in doctored])

    return compare_controls(
        truth,
        _claims(results),
        reversed_claims=claims_about(reversed_clips(clips)),
        shuffled_claims=claims_about(shuffled_clips(clips)),
        blank_claims=claims_about(blank_clips(clips)),
    )


def _overlap(texts: Sequence[str], references: Sequence[str]) -> Overlap:
    each = [[reference] for reference in references]
    return Overlap(bleu_4=bleu_4(texts, each), rouge_l=rouge_l(texts, each), cider_d=cider_d(texts, each))


def _retrieval(scorer: Scorer, clips: Sequence[Clip], texts: Sequence[str]) -> Retrieval | None:
    scores = scorer.score(clips, texts)
    return retrieval(scores, texts) if scores is not None else None


def _calibration(results: Sequence[CaptionResult], facts: FactScore | None) -> Calibration | None:
    if facts is None:
        return None
    pairs = [
        (result.mean_logprob, f1)
        for result, f1 in zip(results, facts.per_caption, strict=True)
        if result.mean_logprob is not None
    ]
    return calibration([logprob for logprob, _ in pairs], [f1 for _, f1 in pairs]) if pairs else None


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
