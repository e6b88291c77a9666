"""Pages as what they ask of their readers: files to write, commands to type, Python to run, in order.

A fenced block is one of
    a file        its first line is `# NAME.py` or `# NAME.toml`
    Python        language python
    a question    language sql: what `reelwright query dataset` is asked
    commands      language sh; a line that goes on ends in a backslash
    text          anything else, such as output; it may not hold a line that begins with `reelwright`

A comment `# needs a network` (a GPU, a cluster, ...) says what the reader must have, at the end of a command or before
all commands up to the next empty line. Those are not run here, only parsed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_FILE = re.compile(r"^# ([\w./-]+\.(?:py|toml|csv|txt|sql|yaml))\n")
_NEEDS = re.compile(r"(?:^|\s)# needs (.+)$")
_COMMENT = re.compile(r"(?:^|\s+)#(?: .*)?$")
_INLINE = re.compile(r"`(reelwright [^`]+)`")


@dataclass(frozen=True)
class Step:
    """Something that a page asks its reader to do."""

    page: str
    line: int
    kind: str  # file, python, sql, command
    text: str
    name: str = ""  # of a file
    needs: str | None = None  # what a reader must have for a command

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.name or self.text.splitlines()[0]}"


def steps(page: Path) -> list[Step]:
    """What a page asks for, in order."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    found: list[Step] = []
    for fence in _FENCE.finditer(text):
        language, body = fence.groups()
        line = text.count("\n", 0, fence.start()) + 2
        named = _FILE.match(body)
        if named:
            found.append(Step(name, line, "file", body, named.group(1)))
        elif language == "python":
            needs = _NEEDS.search(body.splitlines()[0])
            found.append(Step(name, line, "python", body, needs=needs and needs.group(1)))
        elif language == "sql":
            found.append(Step(name, line, "sql", body))
        elif language in ("sh", "bash", "shell"):
            found += _commands(name, line, body)
        else:
            hidden = [text for text in body.splitlines() if re.match(r"(\$ )?(reelwright|make) ", text)]
            assert not hidden, f"{name}:{line}: write commands in a block of the language sh: {hidden[0]}"
    return found


def mentioned(page: Path) -> Iterator[tuple[str, str]]:
    """Commands in the middle of sentences, each with its place."""
    text = _FENCE.sub(lambda fence: "\n" * fence.group().count("\n"), page.read_text(encoding="utf-8"))
    for found in _INLINE.finditer(text):
        yield f"{page.name}:{text.count(chr(10), 0, found.start()) + 1}", " ".join(found.group(1).split())


def words(command: str) -> tuple[list[str], str | None]:
    """A command as the shell would split it, and the file that its output goes to."""
    found = shlex.split(command)
    return (found[:-2], found[-1]) if ">" in found[-2:-1] else (found, None)


def _commands(page: str, line: int, body: str) -> Iterator[Step]:
    needs: str | None = None
    number, parts = line, ""
    for offset, text in enumerate(body.splitlines()):
        mark = _NEEDS.search(text)
        bare = _COMMENT.sub("", text)
        if not bare.strip():
            needs = mark.group(1) if mark else needs if text.strip() else None
            continue
        number = number if parts else line + offset
        parts += bare.removesuffix("\\")
        if bare.endswith("\\"):
            continue
        own = mark.group(1) if mark else needs
        yield Step(page, number, "command", " ".join(parts.split("\n")).strip(), needs=own)
        parts = ""
