"""Captions that need no model.

`original`   the text that came with the input, as it is
`compose`    prose of any length from the facts of stored structured captions
`template`   what is true of drawn footage, from the facts that it was drawn from
`measured`   what the scan measured, see measured.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from captioner.base import CaptionRequest, CaptionResult, Clip, Identity
from captioner.makers.measured import say_measured
from captioner.structured import compose, parse_facts
from curate.counter_random import generator
from curate.drawn.describe import say

_DROPOUT = 0.1  # of a field, as HunyuanVideo and SkyReels-V2 do, so that no field is always there


class GivenCaptioner:
    """Copies or composes what is in `Clip.context`."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def caption(self, clips: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        """Results in order; a clip of which nothing is known fails."""
        return [self._caption(clip, request) for clip in clips]

    def score(self, clips: Sequence[Clip], texts: Sequence[str]) -> np.ndarray | None:
        """It looks at no picture."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""

    def _caption(self, clip: Clip, request: CaptionRequest) -> CaptionResult:
        (key,) = self.identity.reads
        given = clip.context.get(key)
        text = _write(key, given, clip.clip_id, request) if given else None
        if text is None:
            error = f"nothing to write from: this clip has no {key.replace('_', ' ')}"
            return CaptionResult(clip_id=clip.clip_id, error_kind="captioner", error=error)
        return CaptionResult(clip_id=clip.clip_id, text=text, finish_reason="stop")


IDENTITIES = {
    "original": Identity(
        id="original",
        revision="1",
        kinds=frozenset({"alt", "human"}),
        follows_prompt=False,
        reads=frozenset({"original_caption"}),
        looks=False,
        num_threads=1,
    ),
    "compose": Identity(
        id="compose",
        revision="1",
        kinds=frozenset({"short", "medium", "descriptive"}),
        follows_prompt=False,
        reads=frozenset({"facts"}),
        looks=False,
        num_threads=1,
    ),
    "template": Identity(
        id="template",
        revision="1",
        kinds=frozenset({"alt", "short", "descriptive"}),
        follows_prompt=False,
        reads=frozenset({"slots"}),
        looks=False,
        num_threads=1,
    ),
    "measured": Identity(
        id="measured",
        revision="1",
        kinds=frozenset({"short", "descriptive"}),
        follows_prompt=False,
        reads=frozenset({"measured"}),
        looks=False,
        num_threads=1,
    ),
}
"""By name. Each reads one key of the context."""


def _write(key: str, given: str, clip_id: str, request: CaptionRequest) -> str | None:
    if key == "original_caption":
        return given
    if key == "measured":
        return say_measured(given, request.kind)
    if key == "slots":
        seed = int(generator(request.decode.seed, "template", clip_id, request.kind).integers(1 << 31))
        return say(json.loads(given), request.kind, seed=seed)  # type: ignore[arg-type]
    facts = parse_facts(given)
    random = generator(request.decode.seed, "compose", clip_id, request.kind)
    return compose(facts, request.kind, dropout=_DROPOUT, permute=True, random=random) if facts else None
