"""A captioner of the user's own: `python:module:name`, a class with an `Identity` and the method `caption`."""

from __future__ import annotations

from captioner.base import Captioner, Identity
from curate.errors import UsageError
from curate.references import load


def identify(reference: str) -> Identity:
    """Who it is: an attribute of the class, so that nothing is loaded."""
    identity = getattr(load(reference), "identity", None)
    if not isinstance(identity, Identity):
        raise UsageError(f"python:{reference}: its attribute `identity` must be a captioner.base.Identity")
    return identity


def open_own(reference: str) -> Captioner:
    """Make one, without arguments."""
    return load(reference)()
