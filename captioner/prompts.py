"""What captioners are told, each text with a name and a version. A changed text needs a new version.

The version and the text are part of a caption's fingerprint: a new prompt captions again, and only what it concerns.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Prompt:
    """An instruction, and a calmer one for a second try after an answer that was no caption."""

    id: str
    text: str
    retry: str | None = None


_RULES = (
    "Only state what can be seen. Do not mention what is absent, do not guess names, sounds, intentions or moods, "
    "and do not say that this is a video, a clip, a frame or an image. Begin with the subject itself. "
    "Answer in English, with the description and nothing else."
)

SHORT = Prompt(
    "short-1",
    f"Say in one sentence of at most 20 words who or what the main subject is and what it does. {_RULES}",
    "In one plain sentence: what is the main subject and what does it do?",
)
MEDIUM = Prompt(
    "medium-1",
    "Describe in two or three sentences, at most 60 words, the main subject, what it does, and where it is. " + _RULES,
    "In two plain sentences: what is shown, and where is it?",
)
DESCRIPTIVE = Prompt(
    "descriptive-1",
    "Describe what is shown so exactly that somebody could film it again. Cover, in one paragraph of 60 to 150 words: "
    "every subject with its number, colour, size, clothing or material; where each is in relation to the others; what "
    "happens, in order; the background and surroundings; the lighting and colours; the style and framing; and any "
    f"written words, quoted exactly. {_RULES}",
    "Describe everything that is shown, in one paragraph of plain sentences.",
)
STRUCTURED = Prompt(
    "structured-1",
    "Describe what is shown as one JSON object with these keys, leaving out each key that does not apply:\n"
    '"subjects": a list of phrases, each one subject with its number, colour, size, clothing or material and place;\n'
    '"actions": a list of short sentences, what happens, in order;\n'
    '"background": a phrase, the surroundings;\n'
    '"camera": a phrase, framing and angle only, not how the camera moves;\n'
    '"style": a phrase, for example documentary footage or hand-drawn animation;\n'
    '"lighting": a phrase, light and colours;\n'
    '"text": a list of the words that can be read, exactly as written;\n'
    '"atmosphere": a phrase, weather and time of day.\n'
    f"{_RULES} The answer is the JSON object alone.",
    'Answer with one JSON object with the keys "subjects" (a list), "actions" (a list) and "background" (a phrase), '
    "which say what is shown. No other words.",
)

JUDGE_EVENTS = Prompt(
    "judge-events-1",
    "Below is a description of a short video. List the events that it tells, at most ten, in order: each a sentence of "
    "at most ten words with one subject and what it does or what happens to it. Leave out looks, surroundings, camera "
    "movements and whatever stays as it is. Answer with one JSON object, whose list is empty where nothing happens:\n"
    '{{"events": ["...", "..."]}}\n\nDescription:\n{text}',
)
"""With `{text}`: what a judge is asked first."""
JUDGE_RELATIONS = Prompt(
    "judge-relations-1",
    "Below are a description of a short video and a numbered list of events. Of each event say how it follows from the "
    'description alone: "entailment" if the description tells it, in whatever words, "contradiction" if it tells '
    'otherwise, "neutral" if it does not say. Answer with one JSON object that has the number of each event, for '
    'example\n{{"1": "entailment", "2": "neutral"}}\n\nDescription:\n{text}\n\nEvents:\n{events}',
)
"""With `{text}` and `{events}`: what a judge is asked next."""

PROMPTS = {"short": SHORT, "medium": MEDIUM, "descriptive": DESCRIPTIVE, "structured": STRUCTURED}
"""The prompt of each kind that captioners write."""
NO_PROMPT = Prompt("none", "")
"""For captioners that are told the kind alone, or nothing."""
