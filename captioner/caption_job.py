"""What is asked of a captioner, and who it is: everything that determines the rows of a caption job.

job = resolve(CaptionConfig(captioner="hf:Qwen/Qwen2.5-VL-7B-Instruct"))       # loads no model
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from captioner.base import CaptionRequest, Decode, FramePolicy, Identity
from captioner.clip_frames import ClipSource
from captioner.hygiene import HYGIENE_VERSION
from captioner.makers.by_name import MakersConfig, identify
from captioner.prompts import NO_PROMPT, PROMPTS, Prompt
from captioner.text_length import load_tokenizer
from curate.config import build, fingerprint, to_tree
from curate.errors import UsageError
from curate.schema import CAPTION_KINDS

CAPTION_VERSION = 2
"""Raised whenever the same settings would give other rows."""

_BATCHES = {"original": 4096, "compose": 4096, "template": 4096, "measured": 4096, "hf": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionConfig:
    """How clips are captioned."""

    captioner: str
    """coca:PATH, hf:NAME_OR_PATH, openai:URL#MODEL, template:TRUTH.json, original, compose or python:MODULE:NAME."""
    kind: str = "descriptive"
    """What is written: short, medium, descriptive, structured; alt or human for texts that came with the input."""
    prompt: str | None = None
    """An instruction instead of the built-in one, for captioners that follow one."""
    frames: FramePolicy = field(default_factory=FramePolicy)
    decode: Mapping[str, Any] = field(default_factory=dict)
    """Settings of `Decode` that differ from the captioner's own."""
    max_attempts: int = 3
    """How often a captioner is asked when its answers are rejected."""
    language: str | None = "en"
    """Captions in another language are rejected; none accepts all."""
    scorer: str | None = None
    """What compares captions with clips for the alignment gate: the captioner itself if it can, or another, by name."""
    gate: bool = True
    """Whether captions are compared with clips, where something can."""
    text_encoder: str | None = None
    """Tokenizer of the text encoder that will read the captions, a folder or a name on the hub, to flag long ones."""
    text_encoder_tokens: int = 77
    """What that encoder can read, its own marks included."""
    batch: int | None = None
    """The most clips that a crash may lose on a worker; by default 128 to 4096, by captioner. Commits are smaller."""
    makers: MakersConfig = field(default_factory=MakersConfig)

    def __post_init__(self) -> None:
        if self.kind not in CAPTION_KINDS:
            raise ValueError(f"kind is {self.kind!r}; kinds: {', '.join(CAPTION_KINDS)}")
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1, got {self.max_attempts}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch must be at least 1, got {self.batch}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionJob:
    """A configuration with everything that was found out about the captioner; travels to the workers."""

    config: CaptionConfig
    identity: Identity
    prompt: Prompt
    decode: Decode
    scorer: str | None
    """What compares captions with clips, or None when nothing can."""
    scorer_id: str | None
    """Its name and revision."""
    fingerprint: str
    """Of all that determines a caption but the clip itself."""

    @property
    def reads(self) -> frozenset[str]:
        """Keys of the clips' context that captions depend on."""
        return self.identity.reads | ({"camera_motion"} if self.config.kind == "structured" else set())

    @property
    def request(self) -> CaptionRequest:
        """What is asked first."""
        return CaptionRequest(kind=self.config.kind, prompt=self.prompt, decode=self.decode)

    @property
    def batch(self) -> int:
        """Clips per commit. What runs at the same time on a worker is together what a crash may lose."""
        lost = self.config.batch or _BATCHES.get(self.config.captioner.partition(":")[0], 256)
        return max(1, lost // self.identity.num_threads)


def resolve(config: CaptionConfig) -> CaptionJob:
    """Find out who the captioner is and what it will be asked. Raises UsageError, ConfigError or CaptionerError."""
    identity = identify(config.captioner, config.makers)
    if config.kind not in identity.kinds:
        kinds = ", ".join(sorted(identity.kinds))
        raise UsageError(f"{config.captioner} does not write {config.kind} captions; it writes: {kinds or 'none'}")
    if config.prompt is not None and not identity.follows_prompt:
        raise UsageError(f"{config.captioner} follows no prompt; leave caption.prompt out")
    decode = build(Decode, {**to_tree(identity.decode), **config.decode}, where="caption.decode")
    if not identity.follows_prompt:
        prompt = NO_PROMPT
    else:
        prompt = PROMPTS[config.kind] if config.prompt is None else Prompt("own", config.prompt)
    if config.text_encoder is not None:
        load_tokenizer(config.text_encoder)  # a wrong name is found now, not after the first batch
    scorer = config.scorer or (config.captioner if config.captioner.startswith("coca:") else None)
    compares = identify(scorer, config.makers) if scorer and config.gate else None
    made_by = (
        identity.id,
        identity.revision,
        identity.settings,
        config.kind,
        asdict(prompt),
        decode,
        config.max_attempts,
    )
    looked_at = config.frames if identity.looks else None
    key = fingerprint("caption", CAPTION_VERSION, HYGIENE_VERSION, *made_by, looked_at, config.language)
    return CaptionJob(
        config=config,
        identity=identity,
        prompt=prompt,
        decode=decode,
        scorer=scorer if compares else None,
        scorer_id=f"{compares.id} {compares.revision}" if compares else None,
        fingerprint=key,
    )


def caption_id(clip_id: str, kind: str, captioner: str) -> str:
    """The key of a caption's row: one per clip, kind and captioner."""
    return fingerprint("caption_id", clip_id, kind, captioner)


def row_fingerprint(job: CaptionJob, clip: ClipSource) -> str:
    """Of all that determines one caption."""
    return fingerprint(job.fingerprint, clip.clip_id, {key: clip.context.get(key) for key in sorted(job.reads)})
