"""Every command that README.md and docs/*.md show works, in the order of the page; help ends with an example."""

import inspect
import json

import pytest
from commands import all_verbs, has_options, parse, verb_of
from pages import PAGES, mentioned, steps

NOT_RUN = {"demo"}
"""Verbs that have a test of their own and take minutes."""

ELSEWHERE = {"extending.md"}
"""Pages that another test follows to look at what comes of it."""


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in ELSEWHERE], ids=lambda page: page.name)
def test_what_a_page_shows_works_in_its_order(page, reader):
    for step in steps(page):
        if step.kind == "command" and step.text.startswith("reelwright "):
            try:
                parse(step.text)
            except Exception as error:
                pytest.fail(f"{step}\n{error}")
        if step.needs is None and not (step.kind == "command" and step.text.split()[1] in NOT_RUN):
            answer = reader.do(step)
            assert step.kind != "sql" or json.loads(answer), f"{step}: a question without an answer shows nothing"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_mentioned_in_passing_are_there(page):
    for place, command in mentioned(page):
        if not command.split()[1].isupper():  # `reelwright VERB --help`
            try:
                has_options(command)
            except Exception as error:
                pytest.fail(f"{place}: {error}")


@pytest.mark.parametrize("verb", all_verbs())
def test_help_of_every_verb_ends_with_an_example_that_parses(verb):
    _, command = verb_of(verb.split())
    *_, last = inspect.cleandoc(command.help).split("\n\n")
    assert last.startswith("Example: reelwright "), f"{verb}: its help ends with {last!r}"
    example = " ".join(last.removeprefix("Example: ").split())
    assert example.startswith(f"reelwright {verb} ")
    parse(example)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("reelwright frobnicate dataset", "no verb 'frobnicate'"),
        ("reelwright captioner frobnicate", "no verb 'captioner frobnicate'"),
        ("reelwright decide dataset --frobnicate", "No such option"),
        ("reelwright decide", "dataset"),
        ("reelwright train dataset --out runs/a --steps many", "integer"),
    ],
)
def test_the_parser_of_this_test_can_fail(command, message):
    with pytest.raises(Exception, match=message):
        parse(command)
