"""Readers of the pages."""

import sys

import pytest
from commands import Reader, run
from small import Shelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"), run)


@pytest.fixture
def reader(shelf, tmp_path, monkeypatch) -> Reader:
    """Somebody in an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return Reader(tmp_path, shelf)
