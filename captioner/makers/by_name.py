"""Captioners by name: `coca:PATH`, `hf:NAME_OR_PATH`, `openai:URL#MODEL`, `template:TRUTH.json`, `original`, `compose`,
`measured`; `python:MODULE:NAME` for one of the user's own; `clip:NAME#WEIGHTS`, which only compares clips with texts.

identity = identify("hf:Qwen/Qwen2.5-VL-7B-Instruct", config)      # who it is: no weights are loaded
captioner = open_captioner("hf:Qwen/Qwen2.5-VL-7B-Instruct", config, identity)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from captioner.base import Captioner, Identity
from captioner.makers import clip, coca, given, hf, openai, own
from curate.config import nearest
from curate.errors import UsageError

EXAMPLES = {
    "coca": "coca:runs/captioner",
    "hf": "hf:Qwen/Qwen2.5-VL-7B-Instruct",
    "openai": "openai:http://localhost:8000/v1#MODEL",
    "template": "template:footage/truth.json",
    "original": "original",
    "compose": "compose",
    "measured": "measured",
    "python": "python:my_captioner:Colours",
    "clip": "clip:ViT-B-32#laion2b_s34b_b79k",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MakersConfig:
    """Settings of each kind of captioner; only those of the one in use are read."""

    clip: clip.ClipConfig = field(default_factory=clip.ClipConfig)
    coca: coca.CocaConfig = field(default_factory=coca.CocaConfig)
    hf: hf.HfConfig = field(default_factory=hf.HfConfig)
    openai: openai.OpenAIConfig = field(default_factory=openai.OpenAIConfig)


def identify(spec: str, config: MakersConfig | None = None) -> Identity:
    """Who a captioner is. Raises UsageError for an unknown one, CaptionerError for a server that is down."""
    config = config or MakersConfig()
    maker, name = _split(spec)
    if maker == "coca":
        return coca.identify(name, config.coca)
    if maker == "hf":
        return hf.identify(name, config.hf)
    if maker == "openai":
        return openai.identify(name, config.openai)
    if maker == "clip":
        return clip.identify(name, config.clip)
    if maker == "python":
        return own.identify(name)
    return given.IDENTITIES[maker]


def open_captioner(spec: str, config: MakersConfig | None = None, identity: Identity | None = None) -> Captioner:
    """Load a captioner, or connect to it. With `identity`, who it is need not be found out again."""
    config = config or MakersConfig()
    maker, name = _split(spec)
    if maker == "coca":
        return coca.CocaCaptioner(name, config.coca, identity)
    if maker == "hf":
        return hf.HfCaptioner(name, config.hf, identity)
    if maker == "openai":
        return openai.OpenAICaptioner(name, config.openai, identity)
    if maker == "clip":
        return clip.ClipScorer(name, config.clip, identity)
    if maker == "python":
        return own.open_own(name)
    return given.GivenCaptioner(given.IDENTITIES[maker])


def _split(spec: str) -> tuple[str, str]:
    maker, _, name = spec.partition(":")
    if maker not in EXAMPLES:
        hint = nearest(maker, EXAMPLES) if maker else f"known: {', '.join(EXAMPLES)}"
        raise UsageError(f"no captioner {spec!r}; {hint}. Examples: {', '.join(EXAMPLES.values())}")
    if (not name) != (":" not in EXAMPLES[maker]):
        raise UsageError(f"captioner {spec!r}: expected the form {EXAMPLES[maker]}")
    return maker, name
