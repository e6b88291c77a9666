"""Caption a batch of clips: the stage function of the caption job.

done = caption_batch(clips, job=job, root=dataset.uri)        # on any worker, which keeps its model
done.rows                                                     # one per clip: ok, rejected or failed

frames ──▶ captioner ──▶ clean, inspect ──▶ rejected: ask again, at most max_attempts times
                                       └──▶ accepted: alignment gate over the batch ──▶ rows
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from typing import Any

from captioner.answers import Checked, ask_again, check_answer
from captioner.base import Captioner, CaptionRequest, CaptionResult, Clip, Identity, by_clip
from captioner.caption_job import CaptionConfig, CaptionJob, caption_id, row_fingerprint
from captioner.clip_frames import ClipSource, load_clip, without_frames
from captioner.gate import Alignment, measure
from captioner.hygiene import count_words
from captioner.makers.by_name import MakersConfig, open_captioner
from captioner.text_length import num_tokens
from curate.config import fingerprint, to_tree
from curate.errors import ErrorKind, VideoError

_READERS = 8
_captioners: dict[str, Captioner] = {}
_opening = threading.Lock()


@dataclass(frozen=True, slots=True)
class BatchDone:
    """What came of a batch: a row of `captions` for every clip, without run_id."""

    rows: list[dict[str, Any]]
    alignment_z: float | None
    """Of the accepted captions against shuffled ones; None when nothing compared them, or there were too few."""
    refused: bool
    """Whether the gate refused the batch: then no row of it is ok."""


def caption_batch(batch: Sequence[ClipSource], *, job: CaptionJob, root: str) -> BatchDone:
    """Caption clips. Each ends as one row: ok, rejected with reasons, or failed with an error."""
    clips, rows = _load(batch, root, job)
    asked = _ask_until_accepted(opened(job.config.captioner, job.config.makers, job.identity), clips, job)
    accepted = [entry for entry in asked if entry.checked is not None and not entry.checked.reasons]
    alignment = _align(accepted, job)
    videos = {source.clip_id: source for source in batch}
    for entry in asked:
        rows.append(_row(entry, videos[entry.clip.clip_id], job))
    return BatchDone(
        rows=rows,
        alignment_z=alignment.z if alignment else None,
        refused=alignment is not None and not alignment.passes,
    )


def failed_batch(batch: Sequence[ClipSource], kind: ErrorKind, message: str, *, job: CaptionJob) -> BatchDone:
    """A batch of which nothing came back."""
    return BatchDone([_new_row(source, job) | _failure(kind, message) for source in batch], None, False)


def opened(spec: str, makers: MakersConfig, identity: Identity | None = None) -> Captioner:
    """A captioner that stays loaded in this process until `close_all`."""
    key = fingerprint(spec, makers)
    with _opening:
        if key not in _captioners:
            _captioners[key] = open_captioner(spec, makers, identity)
        return _captioners[key]


def close_all() -> None:
    """Let go of the captioners of this process."""
    with _opening:
        while _captioners:
            _captioners.popitem()[1].close()


@dataclass(slots=True, kw_only=True)
class _Asked:
    """A clip and what its captioner said, after the last attempt so far."""

    clip: Clip
    request: CaptionRequest
    result: CaptionResult
    checked: Checked | None  # None: no answer
    attempts: int = 1
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    clip_score: float | None = None
    alignment_margin: float | None = None


def _load(batch: Sequence[ClipSource], root: str, job: CaptionJob) -> tuple[list[Clip], list[dict[str, Any]]]:
    """Clips with their frames, and failed rows of those that have none."""
    if not job.identity.looks and job.scorer is None:
        return [without_frames(source) for source in batch], []

    def load(source: ClipSource) -> Clip | VideoError:
        try:
            return load_clip(source, root, job.config.frames)
        except VideoError as error:
            return error

    clips, rows = [], []
    for source, loaded in zip(batch, _readers().map(load, batch), strict=True):
        if isinstance(loaded, Clip):
            clips.append(loaded)
        else:
            rows.append(_new_row(source, job) | _failure(loaded.kind, str(loaded)))
    return clips, rows


@cache
def _readers() -> ThreadPoolExecutor:
    """Shared by the batches of this process: the first that came has its frames first, and is asked about meanwhile."""
    return ThreadPoolExecutor(_READERS, thread_name_prefix="frames")


def _ask_until_accepted(captioner: Captioner, clips: Sequence[Clip], job: CaptionJob) -> list[_Asked]:
    asked: dict[str, _Asked] = {}
    rounds = job.config.max_attempts if job.identity.looks else 1  # what is given stays the same
    todo: dict[CaptionRequest, list[Clip]] = {job.request: list(clips)} if clips else {}
    for attempt in range(1, rounds + 1):
        again: dict[CaptionRequest, list[Clip]] = {}
        for request, group in todo.items():
            answers = by_clip(group, captioner.caption(group, request))
            for clip in group:
                entry = _enter(asked.get(clip.clip_id), clip, request, answers[clip.clip_id], attempt, job)
                asked[clip.clip_id] = entry
                if entry.checked is not None and entry.checked.reasons:
                    again.setdefault(ask_again(request, entry.checked.reasons, attempt=attempt + 1), []).append(clip)
        todo = again
    return list(asked.values())


def _enter(
    before: _Asked | None, clip: Clip, request: CaptionRequest, result: CaptionResult, attempt: int, job: CaptionJob
) -> _Asked:
    checked = None
    if result.text is not None:
        checked = check_answer(result, clip, request, language=job.config.language)
    return _Asked(
        clip=clip,
        request=request,
        result=result,
        checked=checked,
        attempts=attempt,
        prompt_tokens=_sum(before.prompt_tokens if before else None, result.prompt_tokens),
        output_tokens=_sum(before.output_tokens if before else None, result.output_tokens),
    )


def _align(accepted: Sequence[_Asked], job: CaptionJob) -> Alignment | None:
    """Compare captions with clips, and reject what does not belong: some of the batch, or all of it."""
    if job.scorer is None or not accepted:
        return None
    scorer = opened(job.scorer, job.config.makers)
    texts = [entry.checked.text for entry in accepted if entry.checked is not None]
    similarity = scorer.score([entry.clip for entry in accepted], texts)
    alignment = measure(similarity) if similarity is not None else None
    if alignment is None:
        return None
    for index, entry in enumerate(accepted):
        entry.clip_score = float(alignment.own[index])
        entry.alignment_margin = float(alignment.margins[index])
        if entry.checked is not None and (not alignment.passes or index in alignment.misplaced):
            entry.checked = replace(entry.checked, reasons=("misaligned",))
    return alignment


def _row(entry: _Asked, source: ClipSource, job: CaptionJob) -> dict[str, Any]:
    result, checked = entry.result, entry.checked
    row = _new_row(source, job) | {
        "attempts": entry.attempts,
        "prompt_tokens": entry.prompt_tokens,
        "output_tokens": entry.output_tokens,
        "finish_reason": result.finish_reason,
        "mean_logprob": result.mean_logprob,
        "latency_s": result.latency_s,
        "clip_score": entry.clip_score,
        "alignment_margin": entry.alignment_margin,
        "scorer": job.scorer_id if entry.clip_score is not None else None,
        "prompt_id": entry.request.prompt.id,
        "prompt": entry.request.prompt.text,
        "decode": json.dumps(to_tree(entry.request.decode)),
    }
    if checked is None:
        return row | _failure(result.error_kind or "captioner", result.error or "the captioner gave no answer")
    flags = [*checked.flags, *(["longer_than_encoder"] if _is_long(checked.text, job.config) else [])]
    return row | {
        "text": checked.text,
        "raw_text": checked.raw_text,
        "facts": checked.facts,
        "reasons": list(checked.reasons),
        "flags": flags,
        "num_words": count_words(checked.text),
        "status": "rejected" if checked.reasons else "ok",
    }


def _new_row(source: ClipSource, job: CaptionJob) -> dict[str, Any]:
    config, identity = job.config, job.identity
    return {
        "caption_id": caption_id(source.clip_id, config.kind, identity.id),
        "clip_id": source.clip_id,
        "video_id": source.video_id,
        "kind": config.kind,
        "captioner": identity.id,
        "revision": identity.revision,
        "frames": json.dumps(to_tree(config.frames)) if identity.looks else None,
        "created": datetime.now(timezone.utc),
        "fingerprint": row_fingerprint(job, source),
    }


def _failure(kind: ErrorKind, message: str) -> dict[str, Any]:
    return {"status": "failed", "error_kind": kind, "error": message}


def _is_long(text: str, config: CaptionConfig) -> bool:
    return config.text_encoder is not None and num_tokens(text, config.text_encoder) > config.text_encoder_tokens


def _sum(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else first + second
