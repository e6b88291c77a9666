"""Commands of the documentation: whether they parse, and running them here, made small."""

from __future__ import annotations

import contextlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import small
from pages import ROOT, Step, words
from typer.main import get_command

from pipelines.cli.app import app, main


def verb_of(arguments: list[str]) -> tuple[list[str], Any]:
    """The names of the verb that arguments begin with, and its command. Raises LookupError when there is none."""
    command, names = get_command(app), []
    while hasattr(command, "commands"):
        name = arguments[len(names)] if len(names) < len(arguments) else ""
        if name not in command.commands:
            raise LookupError(f"no verb {' '.join([*names, name])!r}; verbs: {', '.join(command.commands)}")
        command = command.commands[name]
        names.append(name)
    return names, command


def all_verbs() -> list[str]:
    """Names of all verbs and verbs below verbs."""
    return [" ".join(path) for path in _paths(get_command(app), [])]


def parse(command: str) -> None:
    """Raise unless a command line has a verb, options and arguments that there are."""
    (program, *arguments), _ = words(command)
    assert program == "reelwright", command
    names, verb = verb_of(arguments)
    verb.make_context(names[-1], arguments[len(names) :])


def has_options(command: str) -> None:
    """Raise unless verb and options of a mention in passing are there; arguments may be left out."""
    (_, *arguments), _ = words(command)
    _, verb = verb_of(arguments)
    known = {option for parameter in verb.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in arguments if word.startswith("--") and word not in {*known, "--help", "--"}]
    assert not unknown, f"{command}: no option {', '.join(unknown)}"


class Reader:
    """Somebody in an empty folder who does what a page says. What it takes for granted is there when it is named."""

    def __init__(self, folder: Path, shelf: small.Shelf) -> None:
        self.folder, self.shelf, self.names = folder, shelf, {}

    def do(self, step: Step) -> str:
        """Follow one step in the current folder, and return what it prints."""
        if step.kind == "file":
            (self.folder / step.name).write_text(step.text, encoding="utf-8")
            return ""
        if step.kind == "sql":
            return self._run(step, ["query", "dataset", step.text, "--format", "json"])
        if step.kind == "command":
            return self._type(step)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(step.text, str(step), "exec"), self.names)
        return printed.getvalue()

    def _type(self, step: Step) -> str:
        (program, *arguments), target = words(step.text)
        if program == "make":
            assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text(), f"{step}: no such target"
            return ""
        assert program == "reelwright", f"{step}: say in the page what it needs, by a comment `# needs ...`"
        names, verb = verb_of(arguments)
        answer = self._run(step, [*arguments, *_small(names, verb, arguments)])
        if target:
            Path(target).write_text(answer, encoding="utf-8")
        return answer

    def _run(self, step: Step, arguments: list[str]) -> str:
        printed, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self._provide(arguments)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            status = run(arguments)
        assert status == 0, f"{step}\nstatus {status}\n{printed.getvalue()[-2000:]}\n{errors.getvalue()[-3000:]}"
        return printed.getvalue()

    def _provide(self, arguments: list[str]) -> None:
        written = {arguments[index + 1] for index, word in enumerate(arguments[:-1]) if word in ("--out", "-o")}
        named = [word.rpartition(":")[2].rstrip("/") for word in arguments]
        for name in [*named, *(["footage"] if "list.csv" in named else [])]:
            if name in small.GIVEN and name not in written and not (self.folder / name).exists():
                source = self.shelf.get(name)
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (shutil.copytree if source.is_dir() else shutil.copyfile)(source, self.folder / name)


def run(arguments: list[str]) -> int:
    """The exit status of a command line in this process."""
    try:
        main(arguments)
    except SystemExit as exited:
        return exited.code if isinstance(exited.code, int) else 0
    raise AssertionError("the command line ends with an exit status")


def _small(names: list[str], verb: Any, arguments: list[str]) -> list[str]:
    """Options that make a command small and keep it in this process."""
    options = {option for parameter in verb.params for option in parameter.opts}
    extra = ["--local"] if "--local" in options and not {"--local", "--address"} & set(arguments) else []
    chosen = small.FAST.get(" ".join(names), ())
    chosen = chosen(arguments) if isinstance(chosen, Callable) else chosen
    return [*extra, *chosen]


def _paths(command: Any, names: list[str]) -> list[list[str]]:
    if not hasattr(command, "commands"):
        return [names]
    return [path for name, below in command.commands.items() for path in _paths(below, [*names, name])]
