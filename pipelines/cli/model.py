"""Verbs of the model half."""

from __future__ import annotations

import typer


def add_verbs(app: typer.Typer) -> None:
    """Add the verbs of this module to the command."""
