"""A chat model as the judge of captions, for words that no parser knows: AutoDQ (Wang et al. 2024, Tarsier).

    reference ──▶ its events ──▶ which of them does the caption entail?     recall
    caption ────▶ its events ──▶ which of them does the reference entail?   precision

Both are means over clips. Of the relations only entailment counts: neutral and contradiction are the same mistake here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from captioner.chat import ChatClient, ChatConfig, ChatServer, Unanswered, choose_model
from captioner.prompts import JUDGE_EVENTS, JUDGE_RELATIONS
from captioner.structured import read_object
from curate.errors import CaptionerError, UsageError

RELATIONS = ("entailment", "neutral", "contradiction")

_Key: TypeAlias = tuple[int, str]  # number of the clip, and one of two sides:
_OTHER = {"reference": "caption", "caption": "reference"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What the judge found. A clip for which any answer was missing or malformed is left out, never guessed."""

    judge: str
    """Model, revision and prompts: figures of another judge do not compare."""
    clips: int
    """Judged to the end, in which something happens."""
    recall: float | None
    precision: float | None
    """Of those clips whose captions tell an event."""
    f1: float | None
    events: int
    """Of their references."""
    malformed: int
    """Answers that were not what was asked for."""
    unanswered: int


class Judge:
    """Asks a chat server about captions: `openai:URL#MODEL`. It sees texts alone."""

    def __init__(self, spec: str, config: ChatConfig | None = None) -> None:
        maker, _, address = spec.partition(":")
        if maker != "openai":
            raise UsageError(f"no judge {spec!r}; a judge is a chat server, openai:URL#MODEL")
        server, config = ChatServer.parse(address), config or ChatConfig()
        model, revision = choose_model(server, config)
        self.name = f"openai:{model}@{revision}/{JUDGE_EVENTS.id}/{JUDGE_RELATIONS.id}"
        self._client = ChatClient(ChatServer(server.url, model), config)

    def judge(self, captions: Sequence[str], references: Sequence[str]) -> Judged:
        """Compare captions with the references of the same clips. Raises CaptionerError for a useless server."""
        failures: Counter[str] = Counter()
        texts = {(index, "reference"): text for index, text in enumerate(references)}
        texts |= {(index, "caption"): text for index, text in enumerate(captions)}
        questions = {key: JUDGE_EVENTS.text.format(text=text) for key, text in texts.items()}
        events = self._ask(questions, lambda _, answer: read_events(answer), failures)
        questions = {
            (index, side): JUDGE_RELATIONS.text.format(text=texts[index, _OTHER[side]], events=_list(told))
            for (index, side), told in events.items()
            if told and (index, _OTHER[side]) in events
        }
        relations = self._ask(questions, lambda key, answer: read_relations(answer, len(events[key])), failures)
        clips = [
            index
            for index in range(len(references))
            if events.get((index, "reference"))
            and all((index, side) in relations or events.get((index, side)) == [] for side in _OTHER)
        ]
        recall = _mean([_share(relations[index, "reference"]) for index in clips])
        precision = _mean([_share(relations[index, "caption"]) for index in clips if events[index, "caption"]])
        both = (precision or 0.0) + (recall or 0.0)
        return Judged(
            judge=self.name,
            clips=len(clips),
            recall=recall,
            precision=precision,
            f1=2 * (precision or 0.0) * (recall or 0.0) / (both or 1.0) if clips else None,
            events=sum(len(events[index, "reference"]) for index in clips),
            malformed=failures["malformed"],
            unanswered=failures["unanswered"],
        )

    def close(self) -> None:
        """End the connections."""
        self._client.close()

    def _ask(
        self, questions: Mapping[_Key, str], read: Callable[[_Key, str], list[str] | None], failures: Counter[str]
    ) -> dict[_Key, list[str]]:
        """What was read of the answers; the others are counted."""
        keys = {f"{side}-{index}": (index, side) for index, side in questions}
        answers = self._client.ask_all({name: partial(_fields, questions[key]) for name, key in keys.items()})
        found = {}
        for name, answer in answers.items():
            if isinstance(answer, Unanswered):
                if answer.is_hopeless:
                    raise CaptionerError(f"captions cannot be judged: {answer}")
                failures["unanswered"] += 1
            elif (value := read(keys[name], answer.text)) is None:
                failures["malformed"] += 1
            else:
                found[keys[name]] = value
        return found


def read_events(answer: str) -> list[str] | None:
    """The events in an answer; None when it is not an object with a list of texts."""
    tree = read_object(answer) or {}
    events = tree.get("events")
    return events if isinstance(events, list) and all(isinstance(e, str) and e.strip() for e in events) else None


def read_relations(answer: str, count: int) -> list[str] | None:
    """The relations of the events 1 to `count` in an answer; None when one is missing, too many or unknown."""
    tree = {str(key).strip(): str(value).strip().lower() for key, value in (read_object(answer) or {}).items()}
    if tree.keys() != {str(number + 1) for number in range(count)} or not set(tree.values()) <= set(RELATIONS):
        return None
    return [tree[str(number + 1)] for number in range(count)]


def _fields(question: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}], "max_tokens": 1024, "temperature": 0.0, "seed": 0}


def _list(events: Sequence[str]) -> str:
    return "\n".join(f"{number}. {event}" for number, event in enumerate(events, start=1))


def _share(relations: Sequence[str]) -> float:
    return relations.count("entailment") / len(relations)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
