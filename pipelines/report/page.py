"""The page: templates filled in, with numbers as people read them, written whole or not at all."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

_SPACE = "\N{NO-BREAK SPACE}"
_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, facts: Mapping[str, Any]) -> str:
    """The page as one text. What comes from files and captions is escaped, and nothing is loaded from elsewhere."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "duration": duration, "share": share, "cut": cut, "quoted": shlex.quote}
    environment.filters |= {"file_name": file_name, "score_title": score_title, "without": without}
    environment.filters["folder"] = lambda uri: uri[: -len(file_name(uri))]
    environment.filters["pair"] = lambda value: (value, value)
    environment.globals["asset"] = lambda name: (_TEMPLATES / name).read_text(encoding="utf-8")
    return environment.get_template(template).render(facts)


def write_page(path: Path, html: str) -> None:
    """Write the page under a temporary name, then put it in place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    # A lone surrogate, as in the name of a file that is not UTF-8, cannot be written otherwise.
    partial.write_text(html, encoding="utf-8", errors="replace")
    os.replace(partial, path)


def number(value: Any) -> str:
    """Three significant digits, thousands set apart: 0.00213, 0.42, 12,345; a dash for what is missing."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if value < 0:
        return f"−{number(-value)}"
    if isinstance(value, int) or value >= 1000 or value == 0:
        return f"{value:,.0f}"
    if value < 1e-6:
        return f"{value:.1e}"
    text = f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float | None) -> str:
    """A length of time in the unit that suits it: 4.2 s, 12.4 min, 3.1 h, 1,204 h."""
    if seconds is None:
        return "–"
    for below, unit_s, unit in ((60, 1, "s"), (3600, 60, "min"), (math.inf, 3600, "h")):
        if seconds < below:
            value = seconds / unit_s
            return f"{value:,.1f}{_SPACE}{unit}" if value and value < 99.95 else f"{value:,.0f}{_SPACE}{unit}"
    raise ValueError(f"no length of time: {seconds}")


def share(part: float | None, whole: float | None) -> str:
    """A part of a whole in per cent, never rounded to all or nothing when it is neither."""
    if not part or not whole:
        return f"0{_SPACE}%"
    percent = 100 * part / whole
    if percent < 0.1:
        return f"< 0.1{_SPACE}%"
    if 99.9 < percent < 100:
        return f"> 99.9{_SPACE}%"
    return f"{percent:.1f}{_SPACE}%" if percent < 10 or 99 < percent < 100 else f"{percent:.0f}{_SPACE}%"


def cut(text: str | None, most: int = 400) -> str:
    """A text, shortened in its middle when it is longer, because the end of a path or message matters, too."""
    text = text or ""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} … {text[-most // 3 :]}"


def score_title(name: str) -> str:
    """The name of a score as people read it: `short_side_px` is "short side, px"."""
    words = name.split("_")
    unit = words.pop() if words[-1] in ("px", "s") else ""
    return " ".join(words) + (f", {unit}" if unit else "")


def without(message: str | None, name: str) -> str:
    """A message without the name that it begins with, where that stands beside it."""
    return (message or "").removeprefix(f"{name}: ")


def file_name(uri: str) -> str:
    """The last part of a path or address."""
    return PurePosixPath(uri.split("?")[0]).name or uri
