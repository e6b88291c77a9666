"""What captioning the rest will take, from a few clips that are captioned now, or from rates that somebody states."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from captioner.caption_job import CaptionJob
from captioner.clip_frames import ClipSource
from captioner.recaption import caption_batch, close_all, opened
from curate.errors import CaptionerError


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateConfig:
    """How time and cost are predicted, and what they are worth. Prices are in any currency."""

    pilot: int = 8
    """Clips that are captioned to measure the rate; nothing of it is stored. 0 measures nothing."""
    captions_per_s: float | None = None
    """A rate that is known already, of the whole job: then nothing is measured."""
    output_tokens: float | None = None
    """Tokens per caption, with a stated rate."""
    prompt_tokens: float | None = None
    price_per_hour: float | None = None
    price_per_million_prompt_tokens: float | None = None
    price_per_million_output_tokens: float | None = None

    def __post_init__(self) -> None:
        if self.pilot < 0:
            raise ValueError(f"pilot must not be negative, got {self.pilot}; 0 measures nothing")
        if self.captions_per_s is not None and self.captions_per_s <= 0:
            raise ValueError(f"captions_per_s must be positive, got {self.captions_per_s}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What one caption costs."""

    captions_per_s: float
    prompt_tokens: float | None
    output_tokens: float | None
    basis: str
    """Where the numbers come from, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What so many captions will take."""

    captions: int
    rates: Rates
    seconds: float
    prompt_tokens: float | None
    output_tokens: float | None
    price: float | None


def predict(num_captions: int, rates: Rates, config: EstimateConfig) -> Estimate:
    """Arithmetic: rates times captions, and the prices that are stated."""
    seconds = num_captions / rates.captions_per_s
    prompt = None if rates.prompt_tokens is None else rates.prompt_tokens * num_captions
    output = None if rates.output_tokens is None else rates.output_tokens * num_captions
    parts = (
        (config.price_per_hour, seconds / 3600),
        (config.price_per_million_prompt_tokens, None if prompt is None else prompt / 1e6),
        (config.price_per_million_output_tokens, None if output is None else output / 1e6),
    )
    priced = [price * amount for price, amount in parts if price is not None and amount is not None]
    return Estimate(
        captions=num_captions,
        rates=rates,
        seconds=seconds,
        prompt_tokens=prompt,
        output_tokens=output,
        price=sum(priced) if priced else None,
    )


def find_rates(clips: Sequence[ClipSource], job: CaptionJob, root: str, config: EstimateConfig) -> Rates | None:
    """Stated rates, or measured ones; None when nothing is stated, or measured, or there is no clip.

    The model is loaded before the clock starts. A server is assumed to answer `max_in_flight` requests as fast as few.
    Raises CaptionerError when no clip of the pilot gets an answer.
    """
    if config.captions_per_s is not None:
        return Rates(
            captions_per_s=config.captions_per_s,
            prompt_tokens=config.prompt_tokens,
            output_tokens=config.output_tokens,
            basis="as stated",
        )
    pilot = clips[:: max(1, len(clips) // config.pilot)][: config.pilot] if config.pilot else []
    if not pilot:
        return None
    try:
        opened(job.config.captioner, job.config.makers, job.identity)
        began = time.monotonic()
        rows = caption_batch(pilot, job=job, root=root).rows
        seconds = time.monotonic() - began
    finally:
        close_all()
    answered = [row for row in rows if row["status"] != "failed"]
    if not answered:
        raise CaptionerError(f"{job.identity.id} answered none of {len(rows)} clips: {rows[0]['error']}")
    rate, basis = len(rows) / seconds, f"measured on {len(rows)} clips, one worker"
    if job.config.captioner.startswith("openai:"):
        slots = job.config.makers.openai.max_in_flight
        latency_s = statistics.fmean(row["latency_s"] * row["attempts"] for row in answered)
        rate, basis = slots / latency_s, f"latency measured on {len(rows)} clips, {slots} requests at a time"
    return Rates(
        captions_per_s=rate,
        prompt_tokens=_mean(row["prompt_tokens"] for row in answered),
        output_tokens=_mean(row["output_tokens"] for row in answered),
        basis=basis,
    )


def _mean(values: object) -> float | None:
    known = [value for value in values if value is not None]  # type: ignore[attr-defined]
    return statistics.fmean(known) if known else None
