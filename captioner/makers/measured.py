"""Captions of what the scan measured: camera, movement, light and colour. They say little, and guess nothing.

For footage that nobody has described: a start for the captioner that is trained here, and a floor for all others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from captioner.structured import CAMERA_SENTENCES

MEASURED = ("camera_motion", "luma", "contrast", "saturation", "motion", "duration_s", "width_px", "height_px")
"""Columns of `clips` that are read."""

_STEPS: dict[str, tuple[tuple[float, str], ...]] = {
    "luma": ((50, "dark"), (90, "dim"), (150, "evenly lit"), (200, "bright"), (256, "very bright")),
    "saturation": ((12, "almost colourless"), (40, "muted in colour"), (90, "colourful"), (256, "vividly coloured")),
    "contrast": ((25, "low"), (60, "moderate"), (256, "high")),
    "motion": ((0.01, "hardly anything moves"), (0.06, "there is slow movement"), (0.2, "there is lively movement"),
               (1e9, "there is fast movement")),
}  # fmt: skip
"""Values below a number, and how they are called; the first that holds."""


def say_measured(measured: str, kind: str) -> str:
    """A short or descriptive caption of measured values, given as JSON; of what is null, nothing is said."""
    clip: Mapping[str, Any] = json.loads(measured)
    words = {name: _word(name, clip[name]) for name in _STEPS if clip[name] is not None}
    length, shape = f"{clip['duration_s']:.1f} seconds", _shape(clip["width_px"] / clip["height_px"])
    camera = CAMERA_SENTENCES.get(clip["camera_motion"] or "")
    looks = " and ".join(words[name] for name in ("luma", "saturation") if name in words)
    if kind == "short":
        sentences = [f"A {shape} clip of {length}{', ' if looks else ''}{looks}.", camera]
    else:
        sentences = [
            f"A {shape} clip that lasts {length}.",
            f"The picture is {looks}." if looks else None,
            f"Its contrast is {words['contrast']}." if "contrast" in words else None,
            f"In it {words['motion']}." if "motion" in words else None,
            camera,
        ]
    return " ".join(sentence for sentence in sentences if sentence)


def _shape(aspect: float) -> str:
    return "square" if 0.9 < aspect < 1.1 else "landscape" if aspect > 1 else "portrait"


def _word(name: str, value: float) -> str:
    return next(word for limit, word in _STEPS[name] if value < limit)
