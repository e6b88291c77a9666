"""From an answer to a caption, or to the reasons why it is none, and what to ask differently next time.

checked = check_answer(result, clip, request)
if checked.reasons:
    request = ask_again(request, checked.reasons, attempt=2)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from captioner.base import CaptionRequest, CaptionResult, Clip
from captioner.hygiene import LIMITS, clean, inspect
from captioner.prompts import Prompt
from captioner.structured import compose, parse_facts, with_measured_camera


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A cleaned caption; with reasons it is none."""

    text: str
    raw_text: str | None = None
    """The answer, where cleaning or composing changed it."""
    facts: str | None = None
    """JSON, of structured captions."""
    reasons: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


def check_answer(result: CaptionResult, clip: Clip, request: CaptionRequest, *, language: str | None = "en") -> Checked:
    """Clean an answer and name what is wrong with it. The result must have a text."""
    answer = result.text or ""
    limits = LIMITS[request.kind]
    flags: list[str] = []
    if not limits.check_talk:  # written by people: kept as it is
        text = " ".join(answer.split())
    else:
        limits = replace(limits, language=language)
        text, flags = clean(answer)
    facts = parse_facts(answer) if request.kind == "structured" else None
    if facts is not None:
        facts = with_measured_camera(facts, clip.context.get("camera_motion"))
        text, flags = compose(facts, "descriptive"), []
    reasons = inspect(text, finish_reason=result.finish_reason, limits=limits, prompt=request.prompt.text)
    if request.kind == "structured" and facts is None:
        reasons.append("unparsable")
    return Checked(
        text=text,
        raw_text=answer if answer != text else None,
        facts=facts.to_json() if facts is not None else None,
        reasons=tuple(reasons),
        flags=tuple(flags),
    )


def ask_again(request: CaptionRequest, reasons: tuple[str, ...], *, attempt: int) -> CaptionRequest:
    """The request after a rejected answer: more varied, without repetition, longer if it was cut; then a calmer prompt.

    `attempt` counts from 1; the first one after a rejection is 2.
    """
    decode, prompt = request.decode, request.prompt
    decode = replace(
        decode,
        seed=decode.seed + 1,
        temperature=decode.temperature + 0.3,
        repetition_penalty=max(1.1, decode.repetition_penalty),
        no_repeat_ngram=decode.no_repeat_ngram or 6,
        max_new_tokens=decode.max_new_tokens * 3 // 2 if "truncated" in reasons else decode.max_new_tokens,
    )
    if attempt > 2 and prompt.retry:
        prompt = Prompt(f"{prompt.id}-retry", prompt.retry)
    return replace(request, decode=decode, prompt=prompt)
