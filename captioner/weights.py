"""The revision of a model in a folder: a hash of everything that its answers depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

WEIGHTS = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.txt", "*.model")
"""What a folder of transformers is read for."""


def hash_folder(folder: Path, patterns: Sequence[str] = WEIGHTS) -> str:
    """Hash of the names and contents of these files; about a second per gigabyte."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in folder.glob(pattern)}):
        digest.update(path.name.encode() + b"\0")
        digest.update(hash_file(path).encode())
    return digest.hexdigest()[:16]


def hash_file(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
