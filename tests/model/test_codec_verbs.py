"""The verbs train-codec and encode, from a dataset to a cache."""

import json

import pytest
from small_dataset import make_dataset

from curate.tables import Dataset
from model.codec.files import load_codec
from model.dataset import SelectionConfig, open_training_set
from pipelines.cli.app import main

SMALL = [
    *("--set", "vae.z_dim=4", "--set", "vae.width=8", "--set", "vae.decoder_blocks=1", "--set", "steps=2"),
    *("--set", "batches.batch_pixels=2000"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("verbs") / "data")


def reelwright(capsys, *arguments) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return exit.value.code, out, err


def test_a_codec_is_trained_and_the_dataset_encoded_with_it(dataset, tmp_path, capsys):
    run = tmp_path / "codec"
    status, out, _ = reelwright(capsys, "train-codec", dataset.uri, "--out", run, *SMALL, "--json")
    assert status == 0
    measured = json.loads(out)
    assert measured["fingerprint"] == load_codec(run).fingerprint()
    assert measured["codec"]["windows"] == 2
    status, out, _ = reelwright(capsys, "encode", dataset.uri, "--codec", run, "--local", "--json")
    assert status == 0
    assert json.loads(out)["stages"]["encode"]["done"] == 7
    status, _, err = reelwright(capsys, "encode", dataset.uri, "--codec", run, "--local")
    assert (status, "7 unchanged" in err) == (0, True)
    rows = dataset.read("latents").to_pylist()
    assert {row["codec"] for row in rows} == {measured["fingerprint"]}
    assert {row["run_id"] for row in rows} <= set(dataset.read("runs")["run_id"].to_pylist())


def test_the_linear_codec_takes_seconds_and_says_how_good_it_is(dataset, tmp_path, capsys):
    status, out, _ = reelwright(capsys, "train-codec", dataset.uri, "--out", tmp_path, "--linear")
    assert status == 0
    assert "PSNR on 2 held-out windows" in out
    assert load_codec(tmp_path).kind == "pca"


def test_dry_runs_print_and_change_nothing(dataset, tmp_path, capsys):
    status, out, _ = reelwright(
        capsys, "train-codec", dataset.uri, "--out", tmp_path / "run", "--dry-run", "--preset", "small"
    )
    assert status == 0
    assert "width = 64" in out
    assert "# windows to train on: 5" in out
    assert not (tmp_path / "run").exists()
    reelwright(capsys, "train-codec", dataset.uri, "--out", tmp_path / "run", "--linear")
    before = dataset.versions()
    status, out, _ = reelwright(capsys, "encode", dataset.uri, "--codec", tmp_path / "run", "--dry-run")
    assert status == 0
    assert "# windows to encode: 7" in out
    assert dataset.versions() == before


def test_a_folder_for_a_gpu_box_holds_both_splits(dataset, tmp_path, capsys):
    reelwright(capsys, "train-codec", dataset.uri, "--out", tmp_path / "run", "--linear")
    arguments = ("--codec", tmp_path / "run", "--local", "--files", tmp_path / "files")
    assert reelwright(capsys, "encode", dataset.uri, *arguments)[0] == 0
    codec = load_codec(tmp_path / "run")
    sizes = [
        len(open_training_set(tmp_path / "files", SelectionConfig(split=split), codec=codec))
        for split in ("train", "val")
    ]
    assert sizes == [5, 2]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["encode", "DATA", "--codec", "nowhere"], 1, "no codec here"),
        (["encode", "DATA", "--codec", "nowhere", "--set", "encode.dtyp=x"], 2, "did you mean dtype"),
        (["train-codec", "DATA", "--out", "x", "--preset", "smal"], 2, "did you mean small"),
        (["train-codec", "DATA", "--out", "x", "--set", "steps=0"], 2, "at least 1"),
        (["train-codec", "nowhere", "--out", "x"], 1, "no dataset here"),
        (["train-codec", "DATA", "--out", "x", "--set", "windows.min_frames=30"], 1, "nothing|no footage"),
    ],
)
def test_mistakes_are_one_line_and_a_status(dataset, tmp_path, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    arguments = [dataset.uri if argument == "DATA" else argument for argument in arguments]
    found, _, err = reelwright(capsys, *arguments)
    assert found == status
    import re

    assert re.search(message, err)
    assert "Traceback" not in err
