"""`module:name`: how settings name code that is not ours, such as a score or a captioner of the user's own.

The module is one that Python finds, or a file in the current folder. On a cluster it must be found on every node, like
Reelwright itself; `ray job submit --working-dir .` takes a folder of such files along.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curate.errors import UsageError


def split_reference(reference: str) -> tuple[str, str]:
    """Module and name. Raises UsageError when it has another form."""
    module, _, name = reference.partition(":")
    if not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        raise UsageError(f"{reference!r} names no code; expected module:name, for example my_scores:greenness")
    return module, name


def load(reference: str) -> Any:
    """What a reference names. Raises UsageError when the module cannot be imported or has no such name."""
    module, name = split_reference(reference)
    _look_in_current_folder()
    try:
        found = import_module(module)
    except Exception as error:  # whatever it is that a module of the user's does when it is imported
        raise UsageError(
            f"{reference}: cannot import {module}: {type(error).__name__}: {error}. It is looked for in "
            f"{os.getcwd()} and where Python finds modules"
        ) from error
    try:
        return getattr(found, name)
    except AttributeError:
        raise UsageError(f"{reference}: {found.__file__} has no {name}") from None


def source_hash(reference: str) -> str:
    """Hash of the text of the module, which changes when its code does. 16 hexadecimal characters."""
    module, _ = split_reference(reference)
    _look_in_current_folder()
    try:
        spec = find_spec(module)
    except ImportError:  # of the package that it is in
        spec = None
    if spec is None or spec.origin is None:
        raise UsageError(f"{reference}: there is no module {module} in {os.getcwd()} or where Python finds modules")
    return hashlib.sha256(Path(spec.origin).read_bytes().replace(b"\r\n", b"\n")).hexdigest()[:16]


def _look_in_current_folder() -> None:
    # A console script, other than `python -m`, does not. Ray hands the list on to its workers.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
