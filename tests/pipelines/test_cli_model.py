"""The verbs of the video model, from a dataset to files that people open."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from model.video_files import read_pictures, write_pictures
from pipelines.cli.app import main

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small_dataset import draw_video, make_dataset

SMALL = [
    *("model.width=24", "model.depth=1", "model.heads=2", "model.ffn_width=48"),
    *("data.linear_z_dim=6", "data.linear_stride=[4, 8, 8]"),  # as few channels for 8 frames would hold no motion
    *("data.text_encoder.dim=8", "data.text_encoder.layers=1", "data.text_encoder.heads=2"),
    *("packs.token_budget=64", "checkpoint_every=2", "log_every=1", "validation.every=2", "validation.num_clips=2"),
]


def run_command(*arguments):
    """The exit status of a command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def settings(values=SMALL):
    return [part for value in values for part in ("--set", value)]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert run_command("train", dataset.uri, "--out", out, "--steps", 4, *settings()) == 0
    return out


def test_training_says_how_it_goes_and_what_it_took(dataset, tmp_path, capsys):
    assert run_command("train", dataset.uri, "--out", tmp_path / "run", "--steps", 2, *settings()) == 0
    told = capsys.readouterr().err
    assert "started" in told
    assert "validation" in told
    assert "train   2 steps" in told
    assert run_command("train", dataset.uri, "--out", tmp_path / "run", "--steps", 3, "--json", *settings()) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["step"] == 3
    assert err == ""


def test_a_dry_run_prints_settings_and_costs_and_writes_nothing(dataset, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run_command("train", dataset.uri, "--out", tmp_path / "empty", "--dry-run", *settings()) == 0
    assert not list((tmp_path / "empty").iterdir())
    assert run_command("train", dataset.uri, "--out", tmp_path / "run", "--dry-run", *settings()) == 0
    told = capsys.readouterr().out
    assert "width = 24" in told
    assert "5 of 8 clips are used" in told
    assert "waste" in told
    assert not (tmp_path / "run").exists()


def test_a_plan_is_for_people_or_machines(dataset, capsys):
    assert run_command("plan", dataset.uri, *settings()) == 0
    assert "s per step here" in capsys.readouterr().out
    assert run_command("plan", dataset.uri, "--json", "--no-probe", *settings()) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 5


def sample(run, out, *arguments):
    fast = ["--set", "sampling.steps=2", "--device", "cpu"]
    return run_command("sample", run, "a pattern", "--out", out, *fast, *arguments)


def test_a_sample_comes_with_its_sheet_and_its_request(run, tmp_path, capsys):
    out = tmp_path / "made.mp4"
    assert sample(run, out, "--size", "24x17", "--frames", 6, "--seed", 5) == 0
    assert "6 frames" in capsys.readouterr().out
    frames, fps = read_pictures(out)
    assert frames.shape == (6, 18, 24, 3)  # one row more: the format needs even sizes
    assert fps == pytest.approx(8.0)  # that of the training
    sheet, _ = read_pictures(tmp_path / "made.sheet.png")
    assert sheet.shape[1] > 24 * 4
    record = json.loads((tmp_path / "made.json").read_text())
    assert record["request"]["seed"] == 5
    assert record["request"]["prompt"] == "a pattern"
    assert record["made_by"]["step"] == 4
    assert record["sampling"]["steps"] == 2


@pytest.mark.parametrize(("name", "frames"), [("a.png", 1), ("a.webp", 5), ("a.gif", 5), ("a.mkv", 5)])
def test_the_suffix_says_what_is_written(run, tmp_path, name, frames):
    assert sample(run, tmp_path / name, "--size", "16x16", "--frames", frames) == 0
    from PIL import Image

    if name != "a.mkv":
        with Image.open(tmp_path / name) as image:
            assert image.size == (16, 16)
            assert getattr(image, "n_frames", 1) == frames


def test_the_same_seed_makes_the_same_picture(run, tmp_path):
    for name, seed in (("a.png", 1), ("b.png", 1), ("c.png", 2)):
        assert sample(run, tmp_path / name, "--size", "16x16", "--frames", 1, "--seed", seed) == 0
    a, b, c = (read_pictures(tmp_path / name)[0] for name in ("a.png", "b.png", "c.png"))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_score_that_the_model_does_not_listen_to_is_refused(dataset, tmp_path, capsys):
    told = ("--set", 'data.selection.scores=["motion", "shake"]')
    assert run_command("train", dataset.uri, "--out", tmp_path / "run", *told, *settings()) == 2
    assert "data.selection.scores has shake, and model.conditions has not" in capsys.readouterr().err


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("input") / "video.mkv"
    draw_video(path, 24, 16, 9, seed=0)
    return path


@pytest.mark.parametrize(
    ("task", "extra", "shape"),
    [
        ("loop", ("--size", "16x16", "--frames", 8), (8, 16, 16)),
        ("roll", ("--size", "16x16", "--seconds", 3), (24, 16, 16)),
        ("animate", ("--input", "VIDEO", "--frames", 5), (5, 16, 24)),
        ("extend", ("--input", "VIDEO", "--frames", 4), (13, 16, 24)),
        ("extend-before", ("--input", "VIDEO", "--frames", 4), (13, 16, 24)),
        ("connect", ("--input", "VIDEO", "--input", "VIDEO", "--frames", 5), (23, 16, 24)),
        ("close-loop", ("--input", "VIDEO", "--frames", 3), (12, 16, 24)),
        ("interpolate", ("--input", "VIDEO", "--input", "VIDEO"), (9, 16, 24)),
        ("restyle", ("--input", "VIDEO", "--set", "request.strength=0.6"), (9, 16, 24)),
        ("repaint", ("--input", "VIDEO", "--set", "request.box=[8,0,8,8]"), (9, 16, 24)),
        ("outpaint", ("--input", "VIDEO", "--size", "40x32", "--set", "request.left=8"), (9, 32, 40)),
        ("refine", ("--input", "VIDEO", "--size", "48x32"), (9, 32, 48)),
    ],
)
def test_every_task_has_its_command(run, video, tmp_path, task, extra, shape):
    extra = [video if part == "VIDEO" else part for part in extra]
    assert sample(run, tmp_path / "made.mkv", "--task", task, *extra) == 0
    assert read_pictures(tmp_path / "made.mkv")[0].shape == (*shape, 3)


def test_a_storyboard_is_a_file(run, tmp_path):
    board = tmp_path / "board.toml"
    panels = "".join(f'[[request.panels]]\nprompt = "scene {n}"\nseconds = 0.9\n' for n in range(2))
    board.write_text(f'[request]\ntask = "roll"\n{panels}')
    arguments = ("--config", board, "--size", "16x16", "--task", "roll")
    assert sample(run, tmp_path / "made.mkv", *arguments) == 0
    assert len(read_pictures(tmp_path / "made.mkv")[0]) == 14


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "melt"), "make"),
        (("--task", "animate"), "animate takes 1 inputs, got 0"),
        (("--size", "big"), "expected width x height in pixels"),
        (("--task", "animate", "--input", "VIDEO", "--size", "32x32"), "or ask for --resize"),
        (("--size", "0x16"), "expected width x height in pixels"),
        (("--fps", "0"), "fps must be above 0, got 0"),
        (("--task", "restyle", "--input", "VIDEO", "--frames", "9"), "restyle takes no frames; make, loop"),
        (("--task", "restyle", "--input", "VIDEO", "--fps", "2"), "and would play faster or slower"),
        (("--set", "sampling.guidance=nan"), "guidance must be a number from 0 up"),
        (("--set", "request.scores.aesthetic=6"), "scores.aesthetic: this model was not told it"),
        (("--frames", "5", "--seconds", "1"), "give seconds or frames, not both"),
        (("--task", "animate", "--input", "nowhere.png"), "nowhere.png: no such file"),
        (("--task", "animate", "--input", "TEXT"), "not an image that can be read"),
        (("--frames", "2", "--size", "16x16", "--out", "x.png"), "2 frames do not fit a still"),
        (("--size", "16x16", "--out", "x.txt"), "cannot write .txt"),
        (("--step", "77"), "no checkpoint of step 77; there are 0, 2, 4"),
        (("--set", "sampling.stepz=3"), "did you mean steps"),
        (("--set", "request.scores.sharpnes=3"), "this model was not told it; did you mean sharpness"),
    ],
)
def test_bad_requests_say_what_is_wrong(run, video, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    places = {"VIDEO": str(video), "TEXT": "text.png"}
    assert sample(run, "made.mp4", *(places.get(part, part) for part in arguments)) in (1, 2)
    assert message in capsys.readouterr().err
    assert not list(tmp_path.glob("made.*"))


def test_inputs_are_resized_only_when_asked(run, video, tmp_path):
    out = tmp_path / "made.mkv"
    assert sample(run, out, "--task", "animate", "--input", video, "--size", "32x32", "--resize", "--frames", 3) == 0
    assert read_pictures(out)[0].shape == (3, 32, 32, 3)


def test_a_prompt_that_is_too_long_is_refused(run, tmp_path, capsys):
    status = run_command("sample", run, "word " * 600, "--out", tmp_path / "a.png", "--size", "16x16", "--frames", 1)
    assert status == 2
    assert "is too long for its encoder" in capsys.readouterr().err


def test_one_word_may_be_a_run_and_a_prompt_may_be_long(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_command("sample", "runs/typo", "--out", "a.png", "--frames", 1) == 2
    assert "no run folder runs/typo" in capsys.readouterr().err
    assert run_command("sample", "word " * 700, "--out", "a.png", "--frames", 1) == 2
    assert "is too long for its encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.linear_stride=[4,8]", "linear_stride must be three numbers"),
        ("data.linear_stride=[0,8,8]", "linear_stride must be three numbers"),
        ("data.linear_z_dim=9999", "linear_z_dim must be 1 to 768"),
        ("data.linear_balance=2", "linear_balance is a share"),
        ("model.latent_channels=9", "model.latent_channels is 9, but the codec"),
        ("ema_widths=[0.5]", "an average has a width between 0 and 0.28"),
    ],
)
def test_settings_that_cannot_be_are_one_line_and_leave_nothing(dataset, tmp_path, capsys, setting, message):
    assert run_command("train", dataset.uri, "--out", tmp_path / "run", *settings([*SMALL, setting])) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not (tmp_path / "run").exists()


def test_a_run_is_handed_on_small(run, tmp_path, capsys):
    assert run_command("model", "share", run, "--out", tmp_path / "small") == 0
    assert "MB" in capsys.readouterr().out
    out = tmp_path / "out.png"
    small = ("sampling.steps=2", "request.frames=1")
    assert run_command("sample", tmp_path / "small", "a cat", "--out", out, "--size", "16x16", *settings(small)) == 0
    assert out.exists()


def test_a_run_is_measured_with_what_is_at_hand(run, dataset, capsys):
    arguments = ("--drawn", 2, "--clips", 2, "--set", "steps=2", "--device", "cpu")
    assert run_command("model", "eval", run, dataset.uri, *arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"made_by", "held_out", "distances", "facts"}
    assert result["held_out"]["loss"] > 0
    assert result["distances"]["features"] == "random-conv3d/1"
    assert result["facts"]["all"]["videos"] == 2


def test_pictures_survive_a_lossless_file(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 24, 3)).astype(np.uint8)
    count, few = write_pictures(tmp_path / "a.png", [frames[:1]], fps=8)
    assert (count, len(few)) == (1, 1)
    assert np.array_equal(read_pictures(tmp_path / "a.png")[0], frames[:1])
