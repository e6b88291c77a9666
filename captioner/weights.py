"""The revision of a model in a folder: a hash of everything that its answers depend on."""

from __future__ import annotations

import hashlib
from pathlib import Path

_READ = ("*.safetensors", "*.bin", "*.json", "*.jinja", "*.txt", "*.model")


def hash_folder(folder: Path) -> str:
    """Hash of the names and contents of weights, configuration and vocabulary; about a second per gigabyte."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in _READ for path in folder.glob(pattern)}):
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
