"""Imports point down, do no work, and load no heavy library that a module does not need."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in ("curate", "captioner", "model", "pipelines")
    for path in (ROOT / package).rglob("*.py")
)
VIDEO = {"av", "decord", "scenedetect"}
TABLES = {"deltalake", "duckdb"}
LEARNING = {"torch", "transformers", "open_clip"}
HIGHER = {
    "curate": {"captioner", "model", "pipelines", "ray", *LEARNING},
    "captioner": {"model", "pipelines", "ray", *VIDEO, *TABLES},
    "model": {"captioner", "pipelines", "ray", *VIDEO, *TABLES},
    "pipelines": {"ray"},  # only started where it is used
}
LAYER_1 = {"errors", "schema", "tables", "config", "counter_random", "blend", "payload"}

_PROBE = """
import sys
loaded = set()
for name in {modules!r}:
    before = set(sys.modules)
    __import__(name)
    bad = {{m.partition(".")[0] for m in sys.modules}} & {forbidden!r}
    if bad:
        print(name, *sorted(bad))
        sys.exit(1)
"""


def loaded_by(modules: list[str], forbidden: set[str]) -> str:
    """What of the forbidden is loaded by importing the modules, one after the other, in a fresh interpreter."""
    code = _PROBE.format(modules=modules, forbidden=forbidden)
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip()


@pytest.mark.parametrize("package", HIGHER)
def test_no_module_loads_what_is_above_it_or_what_it_does_not_need(package):
    modules = [name for name in MODULES if name.split(".")[0] == package]
    assert len(modules) > 3
    assert loaded_by(modules, HIGHER[package]) == ""


def test_layer_1_loads_without_video_tables_or_learning():
    modules = [f"curate.{name}" for name in sorted(LAYER_1)]
    assert loaded_by(modules, VIDEO | TABLES | LEARNING | {"cv2", "ray"}) == ""


def test_the_probe_itself_can_fail():
    assert loaded_by(["curate.video"], {"av"}) == "curate.video av"


def test_the_command_line_answers_before_the_heavy_libraries_are_loaded():
    assert loaded_by(["pipelines.cli.app"], LEARNING | VIDEO | TABLES | {"ray", "cv2"}) == ""


def test_torchvision_matches_torch_and_open_clip_imports():
    code = "import open_clip, torch, torchvision; assert len(torchvision.ops.nms(torch.rand(3, 4), torch.rand(3), 0.5))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
