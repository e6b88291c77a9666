"""Structured captions: one JSON of facts per clip, read tolerantly, and prose of three lengths composed from it.

    facts = parse_facts(answer)                                   # None when there is no such JSON in it
    facts = with_measured_camera(facts, "pan_left")               # what was measured, rather than what was guessed
    compose(facts, "descriptive", dropout=0.1, permute=True, random=generator(seed, "compose", clip_id))

One sentence per field, so that fields can be left out and reordered: HunyuanVideo makes many captions out of one so.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

CAMERA_SENTENCES = {
    "static": "The camera is still.",
    "pan_left": "The camera pans left.",
    "pan_right": "The camera pans right.",
    "tilt_up": "The camera tilts up.",
    "tilt_down": "The camera tilts down.",
    "zoom_in": "The camera zooms in.",
    "zoom_out": "The camera zooms out.",
    "shaky": "The camera is held by hand and shakes.",
}
"""What is said of each measured `clips.camera_motion`; of the others, for example mixed, nothing is said."""

_SYNONYMS = {
    "subject": "subjects",
    "objects": "subjects",
    "action": "actions",
    "events": "actions",
    "environment": "background",
    "setting": "background",
    "scene": "background",
    "shot": "camera",
    "framing": "camera",
    "light": "lighting",
    "on_screen_text": "text",
    "visible_text": "text",
    "mood": "atmosphere",
}
_NOTHING = {"", "none", "null", "n/a", "na", "unknown", "not applicable", "no text", "not visible", "nothing"}
_CAMERA_MOVEMENT = re.compile(
    r"\b(pan|tilt|zoom|doll(y|ies)|track|truck|push|pull|mov|rotat|orbit|follow|static|still|steady|stationary|hand-?held|shak)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is shown in a clip, as phrases. What is unknown is absent, never guessed."""

    subjects: tuple[str, ...] = ()
    """Each with its number, looks and place: "two small white dogs on the left"."""
    actions: tuple[str, ...] = ()
    """What happens, in order."""
    background: str | None = None
    camera: str | None = None
    """Framing and angle."""
    camera_motion: str | None = None
    """The measured label of the clip; see `CAMERA_SENTENCES`."""
    style: str | None = None
    lighting: str | None = None
    text: tuple[str, ...] = ()
    """Words that can be read, as written."""
    atmosphere: str | None = None

    def to_json(self) -> str:
        """Compact JSON without the absent fields; `parse_facts` reads it back."""
        return json.dumps({key: value for key, value in asdict(self).items() if value}, ensure_ascii=False)


_STARTS_OF_NAMES = {"a", "an", "the", "it", "he", "she", "they", "one", "two", "three", "both", "another", "his", "her"}
_LISTS = {"subjects", "actions", "text"}
_FIELDS = tuple(Facts.__dataclass_fields__)


def parse_facts(answer: str) -> Facts | None:
    """Facts from a captioner's answer; None when it holds no JSON object with a subject, an action or a background.

    Fences, reasoning, chatter around the object, trailing commas, comments and Python's quotes are tolerated; so are
    single phrases for lists, lists for phrases, objects for phrases, and usual other names of fields.
    """
    tree = read_object(answer)
    if tree is None:
        return None
    if len(tree) == 1 and isinstance(inner := next(iter(tree.values())), dict):
        tree = inner
    values: dict[str, Any] = {}
    for key, value in tree.items():
        name = re.sub(r"[^a-z]+", "_", str(key).lower()).strip("_")
        name = _SYNONYMS.get(name, name)
        if name in _FIELDS and name not in values:
            phrases = list(_phrases(value))
            values[name] = tuple(phrases) if name in _LISTS else ", ".join(phrases) or None
    facts = Facts(**values)
    return facts if facts.subjects or facts.actions or facts.background else None


def read_object(answer: str) -> dict[str, Any] | None:
    """The last JSON object in an answer, read as tolerantly; None when there is none, or an empty one."""
    return next(filter(None, map(_load, _objects(answer))), None)


def with_measured_camera(facts: Facts, camera_motion: str | None) -> Facts:
    """The facts with the camera's movement as it was measured, and without what the captioner said about it."""
    parts = re.split(r"[,;]| and ", facts.camera or "")
    framing = ", ".join(part.strip() for part in parts if part.strip() and not _CAMERA_MOVEMENT.search(part))
    measured = camera_motion if camera_motion in CAMERA_SENTENCES else None
    return replace(facts, camera=framing or None, camera_motion=measured)


def compose(
    facts: Facts,
    kind: str,
    *,
    dropout: float = 0.0,
    permute: bool = False,
    random: np.random.Generator | None = None,
) -> str:
    """Prose of the kind short (main subject), medium (with surroundings) or descriptive (every field).

    What is shown and done always comes first. Of the other fields each is left out with the probability `dropout`,
    and their order is random with `permute`; both need `random`.
    """
    if kind == "short":
        return _main_sentence(facts)
    if kind == "medium":
        return " ".join([*_lead(facts), *_field_sentences(replace(facts, text=()), ("background", "camera_motion"))])
    others = list(_field_sentences(facts, _FIELDS[2:]))
    if random is not None:
        others = [sentence for sentence in others if random.random() >= dropout]
        if permute:
            others = [others[index] for index in random.permutation(len(others))]
    return " ".join([*_lead(facts), *others])


def _objects(answer: str) -> Iterator[str]:
    """Candidate JSON objects: each balanced pair of outermost braces, the last one first."""
    answer = re.sub(r"<think>.*?</think>", "", answer, flags=re.DOTALL)
    spans, depth, start, quote = [], 0, 0, ""
    previous = ""
    for index, character in enumerate(answer):
        if quote:
            quote = "" if character == quote and previous != "\\" else quote
        elif character == '"' and depth:
            quote = character
        elif character == "{":
            start, depth = (index, 1) if depth == 0 else (start, depth + 1)
        elif character == "}" and depth:
            depth -= 1
            if depth == 0:
                spans.append(answer[start : index + 1])
        previous = character
    return reversed(spans)


def _load(text: str) -> dict[str, Any] | None:
    bare = re.sub(r"(?m)(^|\s)//[^\n]*$", "", text)
    bare = re.sub(r",(\s*[}\]])", r"\1", bare)
    bare = bare.replace("“", '"').replace("”", '"')
    for candidate in (text, bare):
        try:
            tree = json.loads(candidate, strict=False)
        except ValueError:
            continue
        return tree if isinstance(tree, dict) else None
    try:
        tree = ast.literal_eval(bare)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    return tree if isinstance(tree, dict) else None


def _phrases(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        phrase = ", ".join(phrase for item in value.values() for phrase in _phrases(item))
        if phrase:
            yield phrase
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _phrases(item)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        phrase = " ".join(str(value).split()).strip(" .;,")
        if phrase.lower() not in _NOTHING:
            yield phrase


def _lead(facts: Facts) -> list[str]:
    actions = facts.actions
    if not facts.subjects:
        return [_sentence(action) for action in actions]
    if actions and not _names_somebody(actions[0], facts):
        return [_joined(_named(facts), actions[0]), *map(_sentence, actions[1:])]
    return [_sentence(_named(facts)), *map(_sentence, actions)]


def _main_sentence(facts: Facts) -> str:
    """The first thing done, with the subjects in front unless it names somebody; without one, the first subject."""
    if not facts.actions:
        return _sentence(facts.subjects[0] if facts.subjects else facts.background or "")
    action = facts.actions[0]
    return _sentence(action) if _names_somebody(action, facts) else _joined(_named(facts), action)


def _named(facts: Facts) -> str:
    *firsts, last = facts.subjects
    return f"{', '.join(firsts)} and {last}" if firsts else last


def _names_somebody(action: str, facts: Facts) -> bool:
    first, *_ = words = action.lower().split()
    named = {word for subject in facts.subjects for word in subject.lower().split() if len(word) > 2}
    return not facts.subjects or first in _STARTS_OF_NAMES or not named.isdisjoint(words[:4])


def _joined(subject: str, action: str) -> str:
    comma = "," if re.match(r"\w+ing\b", action) else ""
    return _sentence(f"{subject}{comma} {action}")


def _field_sentences(facts: Facts, fields: tuple[str, ...]) -> Iterator[str]:
    for name in fields:
        value = getattr(facts, name)
        if not value:
            continue
        if name == "camera_motion":
            yield CAMERA_SENTENCES[value]
        elif name == "text":
            words = ", ".join(f'"{word}"' for word in value)
            yield f"The {'words' if len(value) > 1 else 'text'} {words} can be read."
        elif name in ("background", "style"):
            yield _sentence(f"the {'setting' if name == 'background' else 'style'} is {value}")
        else:
            yield _sentence(value)


def _sentence(phrase: str) -> str:
    phrase = phrase.strip().rstrip(".;,")
    return phrase[:1].upper() + phrase[1:] + ("" if phrase.endswith(("!", "?")) else ".") if phrase else ""
