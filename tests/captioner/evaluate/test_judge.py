"""A judge on loopback, whose answers are known: events are sentences, entailed by a text that holds them."""

import json
import re
import sys
from pathlib import Path

import pytest

from captioner.evaluate.judge import Judge, read_events, read_relations
from captioner.prompts import JUDGE_EVENTS
from curate.errors import CaptionerError, UsageError

sys.path.insert(0, str(Path(__file__).parents[1]))
from loopback_server import loopback


def honest(question):
    """An answer for a prompt of the judge, with some talk around it."""
    text, _, events = question.partition("Description:\n")[2].partition("\n\nEvents:\n")
    if not events:
        answer = {"events": [s for s in re.findall(r"[^.]+\.", text) if "is" not in s.split()]}
    else:
        told = (re.sub(r"^\d+\. *", "", line).strip() for line in events.splitlines())
        answer = {str(n): "entailment" if event in text else "neutral" for n, event in enumerate(told, start=1)}
    return f"Here it is:\n```json\n{json.dumps(answer)}\n```", "stop"


def judged(captions, references, talk=honest):
    with loopback(talk=talk) as server:
        judge = Judge(f"openai:{server.url}#tiny-vlm")
        try:
            return judge.judge(captions, references), server
        finally:
            judge.close()


def test_recall_and_precision_are_of_events_entailed_and_means_over_clips():
    references = ["A dog runs. It barks.", "A cat sleeps.", "A car stops. The sky is blue."]
    captions = ["A dog runs. A bird flies. It sings.", "A cat sleeps.", "The sky is blue."]
    result, server = judged(captions, references)
    assert result.recall == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert result.precision == pytest.approx((1 / 3 + 1) / 2)  # the last caption tells no event
    assert result.f1 == pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3))
    assert (result.clips, result.events, result.malformed, result.unanswered) == (3, 4, 0, 0)
    assert result.judge == f"openai:tiny-vlm@tiny-vlm-v1/{JUDGE_EVENTS.id}/judge-relations-1"
    assert len(server.requests) == 6 + 5


def test_a_reference_in_which_nothing_happens_is_left_out():
    result, _ = judged(["A dog runs.", "A cat sleeps."], ["The sky is blue.", "A cat sleeps."])
    assert (result.clips, result.recall, result.precision, result.events) == (1, 1, 1, 1)


def test_lost_answers_are_counted_and_their_clips_left_out():
    def talk(question):
        if "crashes" in question:
            return 400
        return ("I would say all of them.", "stop") if "Events:" in question and "cat" in question else honest(question)

    texts = ["A dog runs.", "A cat sleeps.", "A car crashes."]
    result, _ = judged(texts, texts, talk)
    assert (result.clips, result.recall, result.precision, result.f1) == (1, 1, 1, 1)
    assert (result.malformed, result.unanswered) == (2, 2)
    result, _ = judged(texts[1:], texts[1:], talk)
    assert (result.clips, result.recall, result.precision, result.f1) == (0, None, None, None)


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        ('{"events": ["a dog runs", "it barks",]}', ["a dog runs", "it barks"]),
        ('{"events": []}', []),
        ('{"events": "a dog runs"}', None),
        ('{"events": ["a dog runs", 3]}', None),
        ("A dog runs.", None),
    ],
)
def test_events_are_a_list_of_texts_or_malformed(answer, events):
    assert read_events(answer) == events


@pytest.mark.parametrize(
    ("answer", "relations"),
    [
        ("{'1': 'Entailment', '2': 'neutral'}", ["entailment", "neutral"]),
        ('{"2": "neutral", "1": "contradiction"}', ["contradiction", "neutral"]),
        ('{"1": "entailment"}', None),
        ('{"1": "entailment", "2": "yes"}', None),
        ('{"1": "entailment", "2": "neutral", "3": "neutral"}', None),
        ('["entailment", "neutral"]', None),
    ],
)
def test_every_event_has_one_known_relation_or_the_answer_is_malformed(answer, relations):
    assert read_relations(answer, 2) == relations


def test_a_judge_that_cannot_judge_says_so():
    with pytest.raises(UsageError, match="a judge is a chat server, openai:URL#MODEL"):
        Judge("hf:some/model")
    with pytest.raises(CaptionerError, match=r"captions cannot be judged: .* refused with status 401"):
        judged(["A dog runs."], ["A dog runs."], lambda _: 401)


def test_the_verb_shows_what_the_judge_found(capsys):
    from pipelines.cli.app import main

    with loopback(talk=honest) as server, pytest.raises(SystemExit) as ended:
        main(["captioner", "eval", "coca:included", "--clips", "2", "--judge", f"openai:{server.url}", "--json"])
    assert ended.value.code == 0
    (figures,) = json.loads(capsys.readouterr().out)
    assert figures["clips judged"] == 2
    assert figures["answers of the judge lost"] == 0
    assert 0 <= figures["events F1 by the judge"] <= 1
