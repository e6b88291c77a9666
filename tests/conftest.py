"""Footage that many tests share: drawn once per test process."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def drawn_footage(tmp_path_factory) -> Path:
    """About 16 seconds in many codecs, containers and sizes, broken files among it; read only."""
    from curate.drawn.footage import draw_footage

    folder = tmp_path_factory.mktemp("footage")
    draw_footage(folder, seconds=16)
    return folder


@pytest.fixture
def footage(drawn_footage, tmp_path) -> Path:
    """A copy of the same that a test may change."""
    return Path(shutil.copytree(drawn_footage, tmp_path / "footage"))
