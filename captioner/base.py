"""What a captioner is: clips and a request in, results out, each result named by its clip and never by position.

captioner = open_captioner("hf:Qwen/Qwen2.5-VL-7B-Instruct")            # captioner/makers/by_name.py
for result in captioner.caption(clips, CaptionRequest(kind="descriptive", prompt=PROMPTS["descriptive"])):
    texts[result.clip_id] = result.text
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from curate.errors import CaptionerError, ErrorKind
from curate.schema import CAPTION_KINDS

if TYPE_CHECKING:
    from captioner.prompts import Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class FramePolicy:
    """Which frames of a clip a captioner sees."""

    num_frames: int = 8
    """At most so many, spread evenly over the clip."""
    source: Literal["previews", "video"] = "previews"
    """The small frames that the scan stored, two per second, or frames decoded from the clip itself."""
    long_side_px: int = 448
    """Decoded frames are reduced to this; previews are used as they are."""

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"num_frames must be at least 1, got {self.num_frames}")
        if self.long_side_px < 16:
            raise ValueError(f"long_side_px must be at least 16, got {self.long_side_px}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decode:
    """How text is drawn from a captioner. What a captioner cannot do (beams of a chat server) it ignores."""

    max_new_tokens: int = 256
    """Answers that reach this length count as cut off."""
    temperature: float = 0.2
    """0 takes the most likely token each time."""
    top_p: float = 0.9
    """Only the likeliest tokens that together reach this probability are drawn from."""
    num_beams: int = 1
    """Beams of a search; with more than one, nothing is drawn at random."""
    repetition_penalty: float = 1.05
    """Above 1, tokens that were used already become less likely."""
    no_repeat_ngram: int = 0
    """No run of so many tokens occurs twice; 0 allows all."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.temperature < 0:
            raise ValueError(f"temperature must not be negative, got {self.temperature}; 0 is the most careful")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if self.num_beams < 1:
            raise ValueError(f"num_beams must be at least 1, got {self.num_beams}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """What a captioner sees of a clip."""

    clip_id: str
    frames: np.ndarray
    """uint8 `[T, H, W, 3]`, RGB, upright; T is at least 1."""
    times_s: tuple[float, ...]
    """Time of each frame, from the start of the clip."""
    duration_s: float
    context: Mapping[str, str] = field(default_factory=dict)
    """What is known without looking, for captioners that read it: see `Captioner.reads`."""

    @property
    def fps(self) -> float:
        """Frames per second of `frames`, not of the video."""
        if len(self.times_s) < 2:
            return 1 / max(self.duration_s, 1e-3)
        return (len(self.times_s) - 1) / max(self.times_s[-1] - self.times_s[0], 1e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionRequest:
    """What is asked of a captioner, the same for all clips of a call."""

    kind: str
    prompt: Prompt
    decode: Decode = Decode()

    def __post_init__(self) -> None:
        if self.kind not in CAPTION_KINDS:
            raise ValueError(f"kind is {self.kind!r}; kinds: {', '.join(CAPTION_KINDS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionResult:
    """An answer about one clip. Without `text` it failed, and `error` says why."""

    clip_id: str
    text: str | None = None
    finish_reason: Literal["stop", "length"] | None = None
    """`length` when the answer was cut off at the limit; None when the captioner cannot tell."""
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    mean_logprob: float | None = None
    latency_s: float | None = None
    error_kind: ErrorKind | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who writes captions. Known without loading the model, so that what is up to date need not load it."""

    id: str
    """The same on every machine: no paths, no addresses."""
    revision: str
    """Changes whenever its answers may: hash of weights, commit, or what a server reports."""
    kinds: frozenset[str]
    """The kinds of captions that it can write."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of its own that its answers depend on."""
    decode: Decode = Decode()
    """How it is asked unless it is told otherwise."""
    follows_prompt: bool = True
    """Whether it reads the prompt; if not, another prompt makes no other caption."""
    reads: frozenset[str] = frozenset()
    """Keys of `Clip.context` that its answers depend on."""
    looks: bool = True
    """Whether it needs frames at all."""
    wants_gpu: bool = False
    """Whether each worker takes a GPU for it, where the cluster has any."""
    num_threads: int = 2
    """How many calls of `caption` at a time keep it busy: while one batch is written, the next is read."""


class Scorer(Protocol):
    """Something that compares clips with texts."""

    identity: Identity

    def score(self, clips: Sequence[Clip], texts: Sequence[str]) -> np.ndarray | None:
        """Similarity of every clip to every text, float32 `[clips, texts]`; None when it cannot compare."""
        return None


class Captioner(Scorer, Protocol):
    """Something that writes captions. Implementations are in `captioner/makers/`.

    One that derives from this needs `identity` and `caption` alone: it compares nothing, and holds nothing.
    """

    def caption(self, clips: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        """One result per clip, in any order. May be called from several threads at once.

        What goes wrong with a clip, or with all of them, is a result with an error: answers that are there are kept.
        """

    def close(self) -> None:
        """Let go of models and connections."""
        return


def by_clip(clips: Sequence[Clip], results: Iterable[CaptionResult]) -> dict[str, CaptionResult]:
    """Results by clip id, one for every clip; a clip without an answer gets a failed one.

    Raises CaptionerError when an answer names a clip that was not asked about, or names one twice: then no
    answer of that captioner can be trusted.
    """
    asked = {clip.clip_id for clip in clips}
    answers: dict[str, CaptionResult] = {}
    for result in results:
        if result.clip_id not in asked:
            raise CaptionerError(f"the captioner answered about clip {result.clip_id}, which was not asked about")
        if result.clip_id in answers:
            raise CaptionerError(f"the captioner answered twice about clip {result.clip_id}")
        answers[result.clip_id] = result
    for clip_id in asked - answers.keys():
        answers[clip_id] = CaptionResult(
            clip_id=clip_id, error_kind="captioner", error="the captioner gave no answer; run the command again"
        )
    return answers
