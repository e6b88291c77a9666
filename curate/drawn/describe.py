"""Facts to words: what a shot shows, said in many ways, and never more than can be seen.

    describe(shot, "short")         a red circle drifting to the left
    describe(shot, "descriptive")   every fact, in several sentences whose words and order vary
    describe(shot, "alt")           what the web would say: often little, sometimes junk, now and then wrong

`PHRASES` and `SENTENCES` are the whole language, as data: a parser that reads the facts back can be built from them.
Every sentence, with its slots replaced by their phrases, can be read in one way only.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal

import numpy as np

from curate.counter_random import generator
from curate.drawn.shot import SLOTS, Shot, facts

Kind = Literal["alt", "short", "descriptive"]

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "shape": {  # singular; the plural is regular but for those in PLURALS
        "circle": ("circle", "disc"),
        "square": ("square", "box"),
        "triangle": ("triangle", "triangular shape"),
        "star": ("star", "five-pointed star"),
        "cross": ("cross", "plus sign"),
        "ring": ("ring", "hoop"),
        "heart": ("heart", "heart shape"),
        "crescent": ("crescent", "crescent moon"),
    },
    "color": {
        "red": ("red", "scarlet"),
        "orange": ("orange", "tangerine"),
        "yellow": ("yellow", "lemon-yellow"),
        "green": ("green", "emerald"),
        "cyan": ("cyan", "turquoise"),
        "blue": ("blue", "royal-blue"),
        "purple": ("purple", "violet"),
        "pink": ("pink", "rose-pink"),
    },
    "size": {"small": ("small", "little"), "large": ("large", "big")},
    "texture": {
        "plain": ("solid", "plain-coloured"),
        "striped": ("striped", "stripy"),
        "dotted": ("spotted", "speckled"),
        "checkered": ("checkered", "chequered"),
    },
    "count": {
        "1": ("a", "one", "a single"),
        "2": ("two", "a pair of"),
        "3": ("three", "a group of three"),
        "4": ("four", "a group of four"),
    },
    "motion": {  # each follows "is" or "are"
        "still": ("resting in place", "staying in the same place"),
        "left": ("moving to the left", "drifting leftwards"),
        "right": ("moving to the right", "drifting rightwards"),
        "up": ("moving up", "rising steadily"),
        "down": ("moving down", "sinking steadily"),
        "grows": ("growing larger", "getting bigger"),
        "shrinks": ("shrinking", "getting smaller"),
        "spins": ("spinning", "turning on the spot"),
        "circles": ("looping around", "going round and round"),
        "falls": ("falling to the floor", "dropping onto the floor"),
        "bounces": ("bouncing on the floor", "hopping up and down on the floor"),
        "hides": ("passing behind a pillar and reappearing", "vanishing behind a pillar and coming out again"),
    },
    "relation": {
        "left_of": ("to the left of", "on the left side of"),
        "right_of": ("to the right of", "on the right side of"),
        "above": ("above", "higher than"),
        "below": ("below", "lower than"),
    },
    "background_color": {
        "white": ("white",),
        "gray": ("gray", "grey"),
        "black": ("black",),
        "navy": ("navy", "dark navy"),
        "brown": ("brown", "chestnut-brown"),
        "beige": ("beige", "sand-coloured"),
    },
    "background_pattern": {  # each stands before "background"
        "plain": ("plain", "uniform"),
        "gradient": ("gradient", "smoothly shaded"),
        "striped": ("diagonally striped", "slanted-stripe"),
        "checkered": ("checkerboard", "chessboard"),
        "dotted": ("polka-dot", "dotted"),
        "grid": ("grid-lined", "gridded"),
        "cloudy": ("cloudy", "mottled"),
    },
    "lighting": {  # each follows "is"
        "bright": ("brightly lit", "evenly and brightly lit"),
        "dim": ("dimly lit", "dark and dimly lit"),
        "spotlight": ("lit by a spotlight in the middle", "bright in the middle and dark towards the edges"),
        "sidelight": ("lit from the left side", "bright on the left and dark on the right"),
    },
    "camera": {  # each follows "the camera"
        "static": ("stays fixed", "does not move"),
        "pan_left": ("pans left", "pans to the left"),
        "pan_right": ("pans right", "pans to the right"),
        "tilt_up": ("tilts up", "tilts upwards"),
        "tilt_down": ("tilts down", "tilts downwards"),
        "zoom_in": ("zooms in", "moves in closer"),
        "zoom_out": ("zooms out", "pulls back"),
        "shaky": ("shakes", "is shaky and hand-held"),
    },
    "text": {word: (word,) for word in SLOTS["text"]},
}
"""Slot, value, paraphrases. `other_shape` and `other_color` use the phrases of `shape` and `color`."""

PLURALS = {"box": "boxes", "cross": "crosses", "plus sign": "plus signs"}

SENTENCES: dict[str, tuple[str, ...]] = {
    "subject": (
        "{count} {size} {texture} {color} {shape} {is} {motion}",
        "in view {is} {count} {size} {texture} {color} {shape}, {motion}",
    ),
    "still_subject": (
        "{count} {size} {texture} {color} {shape} {is} shown",
        "in view {is} {count} {size} {texture} {color} {shape}",
    ),
    "other": (
        "a {other_color} {other_shape} is {relation} {it}",
        "a second object, a {other_color} {other_shape}, is {relation} {it}",
    ),
    "no_other": ("no other object is visible", "there is nothing else in view"),
    "background": (
        "the background is a {background_pattern} {background_color} surface",
        "behind is a {background_pattern} {background_color} background",
    ),
    "lighting": ("the scene is {lighting}", "the picture is {lighting}"),
    "camera": ("the camera {camera}",),
    "text": ('the word "{text}" is written on the screen', 'a caption on the screen reads "{text}"'),
    "no_text": ("there is no text", "no writing appears on the screen"),
    "short": ("{count} {color} {shape} {motion}", "{count} {color} {shape} {is} {motion}"),
    "still_short": ("{count} {color} {shape}",),
}
"""Sentences by what they are about; slots are filled in by phrases, {is} and {it} by number."""

SHORT_SLOTS = ("count", "color", "shape", "motion")
"""What a short caption tells."""

_JUNK = (
    *("IMG_2034", "DSC_0417.MOV", "video (3) final FINAL", "Untitled design", "clip_0093_export_v2"),
    *("stock footage 4k royalty free", "subscribe for more!!", "free download link in bio", "click here to watch"),
)


def describe(shot: Shot, kind: Kind, seed: int = 0, *, hidden: Collection[str] = ()) -> str:
    """A caption of a shot. Slots in `hidden` cannot be seen and are not told, such as `MOVING_SLOTS` of a still."""
    return say(facts(shot, hidden=hidden), kind, seed)


def say(seen: Mapping[str, str | None], kind: Kind, seed: int = 0) -> str:
    """A caption of facts as `facts` gives them. Absent slots are not told; None is told as there being none.

    The words depend on the facts and the seed: two shots do not get the same words because they share a seed.
    """
    rng = generator(seed, "describe", kind, *(f"{slot}={value}" for slot, value in seen.items()))
    if kind == "alt":
        return _say_alt(seen, rng)
    if kind == "short":
        return _sentence("short" if "motion" in seen else "still_short", seen, rng)
    if kind != "descriptive":
        raise ValueError(f"no kind of caption {kind!r}; known: alt, short, descriptive")
    sentences = [_sentence("subject" if "motion" in seen else "still_subject", seen, rng)]
    if "other_shape" in seen:  # next to the subject, which its "it" means
        sentences.append(_sentence("other" if seen["other_shape"] else "no_other", seen, rng))
    rest = [
        _sentence(name, seen, rng)
        for name, told in (
            ("background", "background_color" in seen),
            ("lighting", "lighting" in seen),
            ("camera", "camera" in seen),
            ("text" if seen.get("text") else "no_text", "text" in seen),
        )
        if told
    ]
    order = rng.permutation(len(rest)) if rng.random() < 0.5 else range(len(rest))
    sentences += [rest[index] for index in order]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in sentences)


def plural(noun: str) -> str:
    return PLURALS.get(noun, f"{noun}s")


def _sentence(name: str, seen: Mapping[str, str | None], rng: np.random.Generator) -> str:
    many = seen.get("count", "1") != "1"
    words = {"is": "are" if many else "is", "it": "them" if many else "it"}
    for slot, value in seen.items():
        if value is not None:
            words[slot] = _pick(rng, PHRASES[slot.removeprefix("other_")][value])
    words["shape"] = plural(words["shape"]) if many else words["shape"]
    text = _pick(rng, SENTENCES[name]).format_map(_Blank(words))
    text = re.sub(r" +(,?)", r"\1 ", text).strip() if "  " in text or " ," in text else text
    return re.sub(r"\b([Aa]) (?=[aeio])", r"\1n ", text)


class _Blank(dict[str, str]):
    """Words for a sentence; an absent one leaves a blank."""

    def __missing__(self, key: str) -> str:
        return ""


def _say_alt(seen: Mapping[str, str | None], rng: np.random.Generator) -> str:
    """Alt text: a fifth junk, a tenth wrong in one fact, a quarter the shape alone, the rest some of the facts."""
    draw = rng.random()
    if draw < 0.2:
        return _pick(rng, _JUNK)
    told = {slot: value for slot, value in seen.items() if slot in SHORT_SLOTS}
    if draw < 0.3:
        slot = _pick(rng, tuple(told))
        told[slot] = _pick(rng, tuple(value for value in SLOTS[slot] if value != told[slot]))
    elif draw < 0.55:
        return _pick(rng, PHRASES["shape"][str(seen["shape"])])
    elif draw < 0.8:
        told.pop("motion", None)
    return _sentence("short" if "motion" in told else "still_short", told, rng)


def _pick(rng: np.random.Generator, choices: tuple[str, ...]) -> str:
    return choices[int(rng.integers(len(choices)))]
