"""From video files to captions with every kind of captioner: real footage where there is some, drawn footage always."""

import os
from collections import Counter
from pathlib import Path

import pytest
import tiny_models
from loopback_server import loopback

from curate.tables import Dataset
from pipelines.cli.app import main

MEDIA = Path(os.environ.get("REELWRIGHT_MEDIA") or Path(__file__).parents[3] / "shared" / "media")


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


@pytest.mark.media
@pytest.mark.skipif(not MEDIA.is_dir(), reason="no real footage: name its folder in REELWRIGHT_MEDIA")
def test_real_footage_is_captioned_by_every_kind_of_captioner(tmp_path):
    files = [MEDIA / "captioned" / name for name in ("px_169471.mp4", "px_46026.mp4", "px_170258.mp4")]
    assert run("curate", *files, "--out", tmp_path / "dataset", "--local", "--set", "decide.motion=false") == 0
    dataset = Dataset(tmp_path / "dataset")
    num_kept = Counter(row["state"] for row in dataset.read("decisions").to_pylist())["kept"]
    assert num_kept >= 2
    tiny_models.save_git(tmp_path / "git")
    tiny_models.save_qwen(tmp_path / "qwen")
    tiny_models.save_coca(tmp_path / "coca")
    said = iter(
        f"A person in coat number {'I' * index} walks along a street and looks around." for index in range(1, 99)
    )
    with loopback(behave=lambda number, attempt: (next(said), "stop")) as server:
        few = ["--local", "--set", "decode.max_new_tokens=12", "--set", "max_attempts=1"]
        for captioner in (f"hf:{tmp_path / 'git'}", f"hf:{tmp_path / 'qwen'}", f"coca:{tmp_path / 'coca'}"):
            assert run("caption", dataset.uri, "--captioner", captioner, "--kind", "short", *few) in (0, 1)
        assert run("caption", dataset.uri, "--captioner", f"openai:{server.url}", "--local") == 0
        assert run("caption", dataset.uri, "--captioner", "hf:" + str(tmp_path / "git"), "--kind", "short", *few) == 0
    rows = dataset.read("captions").to_pylist()
    assert Counter(row["captioner"] for row in rows) == dict.fromkeys(
        ("hf:git", "hf:qwen", "coca:coca", "openai:tiny-vlm"), num_kept
    )
    assert all(row["text"] or row["reasons"] == ["empty"] for row in rows)  # every clip was looked at and answered
    assert {row["status"] for row in rows if row["captioner"] == "openai:tiny-vlm"} == {"ok"}
    assert all(row["reasons"] for row in rows if row["status"] == "rejected")


def test_drawn_footage_is_captioned_with_its_truth(drawn_footage, tmp_path, capsys):
    usable = [drawn_footage / name for name in ("trailer.mp4", "archive/square.mov")]
    assert run("curate", *usable, "--out", tmp_path / "dataset", "--local") == 0
    dataset = Dataset(tmp_path / "dataset")
    template = f"template:{drawn_footage / 'truth.json'}"
    assert run("caption", dataset.uri, "--captioner", template, "--local", "--strict") == 0
    rows = dataset.read("captions").to_pylist()
    assert rows
    assert {row["status"] for row in rows} == {"ok"}
    assert all(row["text"].endswith(".") and row["num_words"] > 15 for row in rows)
    assert run("check", dataset.uri) == 0
    capsys.readouterr()
    assert run("explain", dataset.uri, rows[0]["clip_id"]) == 0
    assert f"descriptive caption by template: ok\n  {rows[0]['text']}\n" in capsys.readouterr().out
    rejected = {**rows[0], "status": "rejected", "reasons": []}
    dataset.replace_rows("captions", [rejected["caption_id"]], [rejected])
    assert run("check", dataset.uri) == 1
    assert "a caption has a text, or says why not" in capsys.readouterr().out


def test_frames_can_be_decoded_from_the_video_itself(drawn_footage, tmp_path):
    assert run("curate", drawn_footage / "archive/square.mov", "--out", tmp_path / "dataset", "--local") == 0
    dataset = Dataset(tmp_path / "dataset")
    num_kept = Counter(row["state"] for row in dataset.read("decisions").to_pylist())["kept"]
    assert num_kept
    frames = ["--set", "frames.source=video", "--set", "frames.num_frames=12", "--set", "frames.long_side_px=64"]
    said = iter(f"A shape of kind {'x' * index} moves over a coloured background." for index in range(1, 99))
    with loopback(behave=lambda number, attempt: (next(said), "stop")) as server:
        assert run("caption", dataset.uri, "--captioner", f"openai:{server.url}", "--local", *frames) == 0
    assert {body["messages"] for _, body, _ in server.requests} == {12}
    assert len(server.requests) == num_kept
