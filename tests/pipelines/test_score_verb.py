"""The verb `score`: functions of the user's own over all clips, only where they are missing or out of date."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from curate.query import query
from pipelines.cli.app import main

sys.path.insert(0, str(Path(__file__).parents[1] / "curate"))
from fabricated import red_and_black

REDNESS = "def redness(clip):\n    return clip.frames[..., 0].mean() / 255\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A current folder with a module and a dataset of two clips."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "redder.py").write_text(REDNESS)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("redder", None)


@pytest.fixture
def dataset(folder):
    return red_and_black(folder / "dataset")


@pytest.fixture
def run(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exited:
            main(list(arguments))
        return exited.value.code, *capsys.readouterr()

    return run


def test_scores_are_computed_once_and_again_when_the_module_changes(run, folder, dataset):
    score = ("score", "dataset", "redder:redness", "--local")
    assert "# scores to compute: 2" in run(*score, "--dry-run")[1]
    assert run(*score)[2].startswith("score   2 done")
    assert run(*score)[2].startswith("score   2 unchanged")
    assert run("score", "dataset", "--local")[2].startswith("score   2 unchanged")  # those that it knows
    sys.modules.pop("redder")
    (folder / "redder.py").write_text(REDNESS.replace("255", "510"))
    assert run(*score)[2].startswith("score   2 done")
    assert query(dataset, "select max(redness) < 0.6 as halved from all_clips").to_pylist() == [{"halved": True}]


def test_rules_on_it_are_decided_explained_and_reported(run, folder, dataset):
    run("score", "dataset", "redder:redness", "--local")
    status, _, err = run("decide", "dataset", "--set", "rednes.min=0.5")
    assert (status, "did you mean redness?" in err) == (2, True)
    rules = [f"{name}=false" for name in ("sharpness", "contrast", "luma", "motion", "letterbox_fraction")]
    rules += [f"{name}=false" for name in ("damaged_frames", "black_fraction", "frozen_fraction")]
    flags = [part for rule in [*rules, "redness.min=0.5"] for part in ("--set", rule)]
    assert run("decide", "dataset", *flags)[0] == 0
    assert "redness.min" in run("stats", "dataset")[1]
    explained = json.loads(run("explain", "dataset", "v-c1", *flags, "--json")[1])
    [rule] = [rule for rule in explained["rules"] if rule["rule"] == "redness"]
    assert rule["score"] < 0.1
    assert run("report", "dataset", "--out", "report.html")[0] == 0
    assert "Histogram of redness, limit min 0.5" in (folder / "report.html").read_text()


def test_what_fails_is_listed_and_tried_again_when_asked(run, folder, dataset):
    (folder / "redder.py").write_text("def broken(clip):\n    raise ValueError('not today')\n")
    status, _, err = run("score", "dataset", "redder:broken", "--local")
    assert (status, err.startswith("score   0 done, 2 failed (score 2)")) == (0, True)
    assert "ValueError: not today" in run("failures", "dataset")[1]
    assert "# scores to compute: 0" in run("score", "dataset", "redder:broken", "--dry-run")[1]
    assert run("score", "dataset", "redder:broken", "--local", "--retry", "--strict")[0] == 1
    status, _, err = run("score", "dataset", "redder:gone")
    assert (status, "redder.py has no gone" in err) == (2, True)
    assert run("score", "dataset", "--set", "functions=[]")[0] == 2


def test_curate_finds_a_missing_function_before_it_reads_any_footage(run, folder, dataset, drawn_footage):
    flags = ("--local", "--set", 'score.functions=["redder:gone"]')
    status, _, err = run("curate", str(drawn_footage), "--out", "new", *flags)
    assert (status, "redder.py has no gone" in err) == (2, True)
    assert not (folder / "new").exists()
    dry = ("--out", "dataset", "--dry-run", "--set", 'score.functions=["redder:redness"]')
    told = run("curate", str(drawn_footage), *dry)[1]
    assert "# scores of known clips to compute: 2" in told


@pytest.mark.ray
def test_workers_find_a_module_of_the_current_folder(run, dataset):
    assert run("score", "dataset", "redder:redness", "--set", "engine.num_cpus=1")[2].startswith("score   2 done")
