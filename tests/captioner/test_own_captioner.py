"""A class of the user's own writes captions under `python:MODULE:NAME`, as any other captioner does."""

import importlib
import sys

import numpy as np
import pytest

from captioner.base import CaptionRequest, Clip
from captioner.makers.by_name import identify, open_captioner
from captioner.prompts import NO_PROMPT
from curate.errors import UsageError

OWN = """
from captioner.base import Captioner, CaptionResult, Identity

class Sizes(Captioner):
    identity = Identity(id="sizes", revision="1", kinds=frozenset({"short"}), follows_prompt=False)

    def caption(self, clips, request):
        return [CaptionResult(clip_id=clip.clip_id, text=f"{len(clip.frames)} frames") for clip in clips]

class Nobody:
    pass
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "own_captioner.py").write_text(OWN)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("own_captioner", None)


def test_it_needs_an_identity_and_one_method():
    assert identify("python:own_captioner:Sizes").id == "sizes"
    captioner = open_captioner("python:own_captioner:Sizes")
    clip = Clip(clip_id="a", frames=np.zeros((3, 4, 4, 3), np.uint8), times_s=(0, 1, 2), duration_s=3)
    [result] = captioner.caption([clip], CaptionRequest(kind="short", prompt=NO_PROMPT))
    assert (result.clip_id, result.text) == ("a", "3 frames")
    assert captioner.score([clip], ["a text"]) is None
    captioner.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:own_captioner:Nobody", "its attribute `identity` must be a captioner.base.Identity"),
        ("python:own_captioner:Missing", "has no Missing"),
        ("python:own_captioner", "expected module:name"),
        ("python", "expected the form python:my_captioner:Colours"),
    ],
)
def test_what_is_no_captioner_is_refused(name, message):
    with pytest.raises(UsageError, match=message):
        identify(name)
