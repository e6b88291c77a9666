"""Captions that need no model.

`original`   the text that came with the input, as it is
`compose`    prose of any length from the facts of stored structured captions
`template`   what is true of drawn footage, from the facts that it was drawn from
`measured`   what the scan measured, see measured.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from captioner.base import Captioner, CaptionRequest, CaptionResult, Clip, Identity
from captioner.makers.measured import say_measured
from captioner.structured import compose, parse_facts
from curate.counter_random import generator
from curate.drawn.describe import say

_DROPOUT = 0.1  # of a field, as HunyuanVideo and SkyReels-V2 do, so that no field is always there


class GivenCaptioner(Captioner):
    """Copies or composes what is in `Clip.context`."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity

    def caption(self, clips: Sequence[Clip], request: CaptionRequest) -> list[CaptionResult]:
        """Results in order; a clip of which nothing is known fails."""
        return [self._caption(clip, request) for clip in clips]

    def _caption(self, clip: Clip, request: CaptionRequest) -> CaptionResult:
        (key,) = self.identity.reads
        given = clip.context.get(key)
        text = _write(key, given, clip.clip_id, request) if given else None
        if text is None:
            error = f"nothing to write from: this clip has no {key.replace('_', ' ')}"
            return CaptionResult(clip_id=clip.clip_id, error_kind="captioner", error=error)
        return CaptionResult(clip_id=clip.clip_id, text=text, finish_reason="stop")


IDENTITIES = {
    name: Identity(
        id=name,
        revision="1",
        kinds=frozenset(kinds),
        follows_prompt=False,
        reads=frozenset({reads}),
        looks=False,
        num_threads=1,
    )
    for name, reads, *kinds in (
        ("original", "original_caption", "alt", "human"),
        ("compose", "facts", "short", "medium", "descriptive"),
        ("template", "slots", "alt", "short", "descriptive"),
        ("measured", "measured", "short", "descriptive"),
    )
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
