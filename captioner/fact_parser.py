"""Text to facts: reads a caption of drawn footage back into slots and values.

The language is the phrase tables of `curate.drawn.describe`. Sentences may come in any order and be put differently, as
long as the phrases are known; what is said of the second object is told from what is said of the subject by how they
stand to the relation between them.

    parse_facts("The star is red. There is no text.")    {"shape": "star", "color": "red", "text": None}

A slot that is not mentioned is left out. Two claims about one slot are kept as "a and b", which is never true.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from curate.drawn.describe import PHRASES, plural

Role = Literal["main", "other"]

_OPPOSITE = {"left_of": "right_of", "right_of": "left_of", "above": "below", "below": "above"}
_ATTRIBUTES = ("size", "texture", "color", "count", "shape")
"""Slots that belong to whichever object is named next."""

_SENTENCE_END = re.compile(r"[.!?;\n]+")
_QUOTED = re.compile(r"[\"“”]([^\"“”]+)[\"“”]")
_ANOTHER = re.compile(r"\b(?:second|another|other)\b")
_NO_OTHER = re.compile(r"\b(?:no (?:other|second) \w+|nothing else)\b")
_NO_TEXT = re.compile(r"\b(?:no|without(?: any)?) (?:text|writing|words?|caption|letters)\b")
_NEGATION = re.compile(r"\b(?:no|not|never|none|neither|nor|without|nothing|nobody|cannot)\b|n['’]t\b")


@dataclass(frozen=True, slots=True)
class _Mention:
    slot: str
    value: str
    start: int


def parse_facts(text: str) -> dict[str, str | None] | None:
    """Facts that a caption claims, or None when it denies something in a way that is not understood."""
    claims = _Claims()
    for sentence in _SENTENCE_END.split(_keep_quotes(text, claims)):
        mentions, rest = _scan(sentence.lower())
        for pattern, slot in ((_NO_OTHER, "other_shape"), (_NO_TEXT, "text")):
            if pattern.search(rest):
                claims.add(slot, None)
                rest = pattern.sub(" ", rest)
        if _NEGATION.search(rest):
            return None
        claims.read(mentions, is_about_another=bool(_ANOTHER.search(rest)))
    return claims.facts()


def unknown_text(text: str) -> str:
    """What is left of a text, in lower case, without quotations and the phrases that are known."""
    return " ".join(_scan(sentence.lower())[1] for sentence in _SENTENCE_END.split(_QUOTED.sub(" ", text)))


class _Claims:
    """What was said so far."""

    def __init__(self) -> None:
        self._values: dict[str, list[str | None]] = {}

    def add(self, slot: str, value: str | None) -> None:
        said = self._values.setdefault(slot, [])
        if value not in said:
            said.append(value)

    def facts(self) -> dict[str, str | None]:
        return {
            slot: said[0] if len(said) == 1 else " and ".join(str(value) for value in said)
            for slot, said in self._values.items()
        }

    def read(self, mentions: list[_Mention], *, is_about_another: bool) -> None:
        """Take in the phrases of one sentence."""
        relation = next((mention for mention in mentions if mention.slot == "relation"), None)
        objects = _objects(mentions)
        roles = self._roles(objects, relation, is_about_another)
        for role, attributes in zip(roles, objects, strict=True):
            for mention in attributes:
                if role == "main":
                    self.add(mention.slot, mention.value)
                elif mention.slot in ("shape", "color"):
                    self.add(f"other_{mention.slot}", mention.value)
        for mention in mentions:
            if mention.slot not in (*_ATTRIBUTES, "relation"):
                self.add(mention.slot, mention.value)
        if relation:
            # "the subject is left of the other" says that the other is right of the subject
            turned = bool(roles) and roles[0] == "main" and objects[0][0].start < relation.start
            self.add("relation", _OPPOSITE[relation.value] if turned else relation.value)

    def _roles(self, objects: list[list[_Mention]], relation: _Mention | None, is_about_another: bool) -> list[Role]:
        """Which object of the picture each object of the sentence is."""
        if not objects:
            return []
        starts_with_relation = relation is not None and relation.start < objects[0][0].start
        if relation is None:
            first_is_main = not is_about_another
        elif len(objects) == 1:  # the other object of the relation is "it", or nowhere
            first_is_main = starts_with_relation and not is_about_another and "shape" not in self._values
        else:  # "to the left of the circle is a star"; "the circle is to the right of a star"
            first_is_main = starts_with_relation or not (is_about_another or self._is_unlike_subject(objects[0]))
        first: Role = "main" if first_is_main else "other"
        second: Role = "other" if first_is_main else "main"
        return [first, *[second] * (len(objects) - 1)]

    def _is_unlike_subject(self, attributes: list[_Mention]) -> bool:
        """Whether the subject was described before, and these words do not fit it."""
        if "shape" not in self._values:
            return False
        return any(mention.value not in self._values.get(mention.slot, [mention.value]) for mention in attributes)


def _objects(mentions: list[_Mention]) -> list[list[_Mention]]:
    """Attributes by the object they belong to: each up to the next shape; those after the last shape are of it.

    A count says something only before a shape: elsewhere, "a" is an article.
    """
    objects: list[list[_Mention]] = []
    waiting: list[_Mention] = []
    for mention in mentions:
        if mention.slot in _ATTRIBUTES:
            waiting.append(mention)
        if mention.slot == "shape":
            objects.append(waiting)
            waiting = []
    rest = [mention for mention in waiting if mention.slot != "count"]
    if objects:
        objects[-1] += rest
    elif rest:
        objects.append(rest)
    return objects


def _keep_quotes(text: str, claims: _Claims) -> str:
    """The text without what it quotes, which is the writing in the picture."""
    for word in _QUOTED.findall(text):
        claims.add("text", word.strip())
    return _QUOTED.sub(" ", text)


def _scan(sentence: str) -> tuple[list[_Mention], str]:
    """The known phrases of a sentence in order, the longest at each place; and the sentence without them."""
    pattern, meanings = _language()
    mentions = [_Mention(*meanings[match.group()], match.start()) for match in pattern.finditer(sentence)]
    return mentions, pattern.sub(" ", sentence)


@lru_cache(maxsize=1)
def _language() -> tuple[re.Pattern[str], dict[str, tuple[str, str]]]:
    meanings: dict[str, tuple[str, str]] = {}
    for slot, values in PHRASES.items():
        for value, phrases in values.items() if slot != "text" else ():
            for phrase in phrases:
                meanings[phrase] = (slot, value)
                if slot == "shape":
                    meanings[plural(phrase)] = (slot, value)
    if "a" in meanings:
        meanings["an"] = meanings["a"]
    longest_first = sorted(meanings, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"), meanings
