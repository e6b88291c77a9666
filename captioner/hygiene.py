"""Is this text a caption? Cleaning that may be repeated, and detectors that name what is wrong with an answer.

    text, flags = clean(answer)                                   # markdown, quotes, openers and filler removed
    reasons = inspect(text, finish_reason="stop", limits=LIMITS["descriptive"])   # [] when it may be stored as ok

Every detector follows a failure seen in published captions: loops, cut answers, refusals, "The video shows", leaked
prompts, empty answers, other languages, broken encodings. None needs a model. What a single text cannot show, one
caption for many clips or the caption of another clip, is the business of `duplicates.py` and `gate.py`.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from dataclasses import dataclass

from captioner import phrases
from curate.blend import split_sentences

HYGIENE_VERSION = 1
"""Part of every caption's fingerprint: a new version makes and judges captions again."""

_QUOTED = re.compile(r'"[^"]*"|“[^”]*”|(?<!\w)\'[^\']*\'(?!\w)')
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the text of one kind of caption may be."""

    min_words: int = 3
    max_words: int = 400
    language: str | None = "en"
    """en, or None to accept any language."""
    end_mark: bool = True
    """Whether a text that does not end a sentence counts as cut off."""
    check_talk: bool = True
    """Whether talk about frames, prompts and filler counts; not for texts that people wrote."""


LIMITS = {
    "short": Limits(max_words=60, end_mark=False),
    "medium": Limits(min_words=5, max_words=150),
    "descriptive": Limits(min_words=8),
    "structured": Limits(min_words=3),
    "alt": Limits(min_words=1, language=None, end_mark=False, check_talk=False),
    "human": Limits(min_words=1, language=None, end_mark=False, check_talk=False),
}


def clean(answer: str) -> tuple[str, list[str]]:
    """A paragraph without wrapping, and flags that name what was removed. Cleaning twice changes nothing more.

    'Sure! Here is a caption: **The video shows a dog.**' -> 'A dog.'. Case and final mark stay as they came: if all
    captions were alike in form, the video model would come to need that form in prompts (Betker et al. 2023, 3.1).
    """
    text = unicodedata.normalize("NFKC", answer)
    text = re.sub(r"<think>.*?</think>", "", text, flags=re.DOTALL)
    flags: list[str] = []
    before = ""
    while before != text:
        before = text
        text = _unwrapped(text)
        match = phrases.OPENERS.match(text)
        if match and len(text) - match.end() > 3:
            text = text[match.end() :]
            text = text[:1].upper() + text[1:]
            flags.append("opener_removed")
    sentences = split_sentences(text)
    told = [sentence for sentence in sentences if not phrases.FILLER.search(sentence)]
    if told and len(told) < len(sentences):
        text = " ".join(told)
        flags.append("filler_removed")
    return text, sorted(set(flags))


def inspect(text: str, *, finish_reason: str | None, limits: Limits, prompt: str = "") -> list[str]:
    """Names of everything that is wrong with a cleaned caption; an empty list for one that may be used."""
    words = _WORD.findall(text.lower())
    told = _QUOTED.sub('""', text.replace("’", "'"))  # what is written in the picture may say anything
    found = {
        "empty": not words or text.strip(" .").lower() in phrases.SENTINELS,
        "too_short": 0 < len(words) < limits.min_words,
        "too_long": len(words) > limits.max_words,
        "truncated": finish_reason == "length" or _breaks_off(text, words, limits),
        "loop": is_loop(text),
        "refusal": any(phrases.REFUSALS.match(sentence) for sentence in split_sentences(told)),
        "leaked_prompt": limits.check_talk and (bool(phrases.LEAKS.search(told)) or _echoes(words, prompt)),
        "frame_talk": limits.check_talk and bool(phrases.FRAME_TALK.search(told)),
        "wrong_language": limits.language == "en" and not _is_english(text, words),
        "garbled": _is_garbled(text),
    }
    return [name for name, is_found in found.items() if is_found]


def is_loop(text: str) -> bool:
    """Whether a text repeats itself: "a red car, a red car, a red car, a red car", "2 2 2 2 2 2"."""
    words = _WORD.findall(text.lower())
    if any(_repeats_in_a_row(words, size) >= 4 for size in (1, 2, 3)):
        return True
    long_sentences = [s.lower() for s in split_sentences(text) if count_words(s) >= 5]
    if len(set(long_sentences)) < len(long_sentences):
        return True
    if len(words) >= 12:
        grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
        if 1 - len(set(grams)) / len(grams) > 0.2:
            return True
    data = text.lower().encode()
    return len(data) >= 300 and len(zlib.compress(data, 9)) < 0.3 * len(data)


def count_words(text: str) -> int:
    """Words of a text, as all limits count them."""
    return len(_WORD.findall(text))


def _unwrapped(text: str) -> str:
    text = re.sub(r"^\s*```\w*\n?|\n?```\s*$", "", text)
    text = re.sub(r"(?m)^\s*(?:#{1,6}\s+|[-*•]\s+|\d+[.)]\s+)", "", text)
    text = re.sub(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", r"\2", text, flags=re.DOTALL)
    text = re.sub(r"(?<!\w)[*_](?=\S)([^*_\n]+)(?<=\S)[*_](?!\w)", r"\1", text)
    text = " ".join(text.split())
    for opening, closing in ('""', "''", "“”", "‘’", "``"):
        inner = text[1:-1]
        if len(text) > 2 and text[0] == opening and text[-1] == closing and opening not in inner:
            text = inner.strip()
    return text


def _breaks_off(text: str, words: list[str], limits: Limits) -> bool:
    if not words or not limits.check_talk:
        return False
    if text.rstrip("\"'”’)]").endswith((".", "!", "?", "…", "。")):
        return False
    return limits.end_mark or words[-1] in phrases.DANGLING


def _repeats_in_a_row(words: list[str], size: int) -> int:
    """How often the same `size` words stand in a row, at most: a b a b a b, 2 -> 3."""
    longest = run = 0
    for i in range(size, len(words) - size + 1):
        run = run + 1 if words[i : i + size] == words[i - size : i] else 0
        longest = max(longest, run)
    return 2 + (longest - 1) // size if longest else 1


def _echoes(words: list[str], prompt: str) -> bool:
    told = _WORD.findall(prompt.lower())
    shingles = {tuple(told[i : i + 7]) for i in range(len(told) - 6)}
    return any(tuple(words[i : i + 7]) in shingles for i in range(len(words) - 6))


def _is_english(text: str, words: list[str]) -> bool:
    letters = [character for character in text if character.isalpha()]
    if not letters or len(words) < 4:
        return True
    if sum("LATIN" in unicodedata.name(character, "") for character in letters) < 0.8 * len(letters):
        return False
    english = sum(word in phrases.ENGLISH for word in words)
    others = sum(word in phrases.NOT_ENGLISH for word in words)
    return others <= english + 1 if len(words) < 12 else english > others and english >= 0.05 * len(words)


def _is_garbled(text: str) -> bool:
    if phrases.MOJIBAKE.search(text):
        return True
    visible = [character for character in text if not character.isspace()]
    strange = sum(not (c.isalnum() or c in ".,;:!?'\"()-–—’‘“”/%&°$€£+#@…") for c in visible)
    return bool(visible) and strange > 0.25 * len(visible)
