"""The recipe runs from footage to samples and report; stopped anywhere, it goes on, and the end is the same."""

import json
import re
import shutil
from dataclasses import replace

import pytest

import pipelines.recipe
from curate.config import build, to_tree, with_overrides
from model.train_config import TrainConfig, tiny
from pipelines.cli.app import main
from pipelines.recipe import _sets

FEW = ("--size", "smoke", "--local", "--set", "footage_s=16")


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as exited:
        main(["demo", *map(str, arguments)])
    return exited.value.code, *capsys.readouterr()


def test_the_recipe_goes_on_where_it_was_stopped_and_ends_the_same(tmp_path, capsys, monkeypatch):
    status, out, err = run(capsys, "--out", tmp_path / "whole", *FEW)
    assert status == 0
    assert re.search(r"scan +\d+ done, \d+ failed", err)
    assert "Facts of unseen combinations that videos show" in out
    for name in ("report.html", "model/report.html", "model/samples/connected.mp4", "model/samples/image.png"):
        assert (tmp_path / "whole" / name).stat().st_size > 100

    shutil.copytree(tmp_path / "whole" / "footage", tmp_path / "parts" / "footage")
    stages = pipelines.recipe.STAGES
    for number in (1, 3, 5, 7, len(stages)):  # stopped after some stage
        with monkeypatch.context() as patch:
            patch.setattr(pipelines.recipe, "STAGES", stages[:number])
            assert run(capsys, "--out", tmp_path / "parts", *FEW)[0] == 0
    assert _results(tmp_path / "parts") == _results(tmp_path / "whole")

    _, _, err = run(capsys, "--out", tmp_path / "parts", *FEW)
    assert re.search(r"scan +\d+ unchanged, 0 decoded", err)
    assert "reelwright sample" not in err


def test_it_runs_on_footage_of_the_user(tmp_path, capsys, drawn_footage):
    few = (*FEW, "--set", "start_from=included")
    status, _, err = run(capsys, "--out", tmp_path, "--source", drawn_footage / "phone", *few)
    assert status == 0, err
    assert "--captioner measured --kind descriptive" in err
    assert (tmp_path / "report.html").exists()
    sample = json.loads((tmp_path / "model/samples/text-1.json").read_text())
    assert re.match("A .* clip of", sample["request"]["prompt"])
    weights = tmp_path / "captioner" / "model.safetensors"
    learnt = weights.read_bytes()

    status, _, err = run(capsys, "--out", tmp_path, "--source", drawn_footage / "phone", *few)
    assert status == 0, err
    assert "reelwright sample" not in err
    assert weights.read_bytes() == learnt  # captions that it made since are nothing that it learnt from


def test_a_wrong_setting_is_refused_before_anything_is_made(tmp_path, capsys):
    status, _, err = run(capsys, "--out", tmp_path / "out", "--set", "model_stepz=3")
    assert status == 2
    assert "model_steps" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_footage_is_refused(tmp_path, capsys):
    (tmp_path / "recipe.toml").write_text('footage_s = 16.0\nseed = 0\nsource = "drawn"\n')
    status, _, err = run(capsys, "--out", tmp_path, *FEW, "--set", "seed=1")
    assert status == 2
    assert "was begun with seed = 0, not 1; name another --out" in err


def _results(folder):
    results = json.loads((folder / "evaluation.json").read_text())
    del results["key"]  # it has paths in it
    return results


def test_the_command_that_is_shown_says_every_setting_that_is_not_usual():
    usual = tiny()
    data = replace(usual.data, windows=replace(usual.data.windows, fps=12.0, min_frames=5), linear_stride=(4, 8, 8))
    settings = replace(usual, seed=3, data=data, optim=replace(usual.optim, lr=1e-5))
    words = _sets(settings, usual)
    assert words[::2] == ["--set"] * 5
    assert build(TrainConfig, with_overrides(to_tree(usual), words[1::2])) == settings
