"""The verb `caption`: killed in the middle and run again, predicted before it starts, refused with what to do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
from loopback_server import caption_of, loopback
from tiny_dataset import make_dataset

from pipelines.cli.app import main

QUICK = ["--set", "makers.openai.first_wait_s=0.01", "--set", "makers.openai.max_retries=1"]


def run(*arguments):
    """Exit status of a command line."""
    with pytest.raises(SystemExit) as exited:
        main([str(argument) for argument in arguments])
    return exited.value.code


def test_a_killed_job_goes_on_where_it_was(tmp_path):
    num, batch = 80, 8
    dataset = make_dataset(tmp_path / "dataset", num)
    with loopback(latency_s=0.03) as server:
        command = [sys.executable, "-m", "pipelines.cli.app", "caption", dataset.uri, "--local"]
        command += ["--captioner", f"openai:{server.url}#tiny-vlm", "--set", f"batch={batch}"]
        command += ["--set", "makers.openai.max_in_flight=4"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(server.requests) < 0.7 * num:
            assert process.poll() is None
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        stored = dataset.read("captions").num_rows
        assert 0 < stored < num
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        asked = Counter(number for number, _, _ in server.requests)
    rows = dataset.read("captions", ["clip_id", "status", "text"]).to_pylist()
    assert sorted(row["clip_id"] for row in rows) == [f"c{number:04}" for number in range(num)]
    assert {row["clip_id"]: row["text"] for row in rows} == {f"c{n:04}": caption_of(n) for n in range(num)}
    assert set(asked) == set(range(num))
    assert sum(times - 1 for times in asked.values()) <= batch


def test_the_run_is_recorded_and_reported(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "dataset", 12)
    with loopback() as server:
        captioner = f"openai:{server.url}#tiny-vlm"
        assert run("caption", dataset.uri, "--captioner", captioner, "--local", "--json", *QUICK) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["ok"], result["planned"], result["failed"]) == (12, 12, 0)
        assert result["output_tokens"] > 100
        assert run("caption", dataset.uri, "--captioner", captioner, "--local", *QUICK) == 0
        assert "12 unchanged" in capsys.readouterr().err
        server.behave = lambda number, attempt: (
            ("Unknown caption", "stop") if number < 2 else 400 if number == 3 else None
        )
        again = ["--captioner", captioner, "--local", "--redo", "ok", "--kind", "short", *QUICK]
        assert run("caption", dataset.uri, "--strict", *again) == 1
        line = capsys.readouterr().err
        assert "9 done, 1 failed (captioner 1)" in line
        assert "2 rejected (empty)" in line
        assert "captions/s" in line
    rows = dataset.read("runs").to_pylist()
    recorded = next(row for row in rows if row["run_id"] == result["run_id"])
    assert (recorded["verb"], json.loads(recorded["counts"])["caption"]["done"]) == ("caption", 12)
    assert 'captioner = "openai:' in recorded["config"]


def test_a_dry_run_predicts_from_a_pilot_and_stores_nothing(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "dataset", 40)
    versions = dataset.versions()
    with loopback(latency_s=0.2) as server:
        prices = ["--set", "estimate.price_per_million_output_tokens=10", "--set", "estimate.pilot=4"]
        wanted = ["--captioner", f"openai:{server.url}#tiny-vlm", "--set", "makers.openai.max_in_flight=2", *prices]
        assert run("caption", dataset.uri, "--dry-run", *wanted) == 0
        shown = capsys.readouterr().out
        assert run("caption", dataset.uri, "--dry-run", "--json", *wanted) == 0
        predicted = json.loads(capsys.readouterr().out)["estimate"]
        assert len(server.requests) == 8
        began = time.perf_counter()
        assert run("caption", dataset.uri, "--local", *wanted) == 0
        took_s = time.perf_counter() - began
    assert "# captions to write: 40" in shown
    assert "latency measured on 4 clips, 2 requests at a time" in shown
    assert "# price: 0.0" in shown
    assert "max_in_flight = 2" in shown
    assert predicted["seconds"] == pytest.approx(4.0, rel=0.3)
    assert predicted["seconds"] == pytest.approx(took_s, rel=0.5)
    assert predicted["prompt_tokens"] == 4000
    assert predicted["price"] == pytest.approx(predicted["output_tokens"] * 10 / 1e6)
    assert {**dataset.versions(), "captions": 0, "runs": 0} == {**versions, "captions": 0, "runs": 0}


def test_a_stated_rate_needs_no_pilot(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "dataset", 36)
    with loopback() as server:
        rate = ["--set", "estimate.captions_per_s=0.01", "--set", "estimate.price_per_hour=2"]
        assert run("caption", dataset.uri, "--captioner", f"openai:{server.url}", "--dry-run", *rate) == 0
        assert server.requests == []
    shown = capsys.readouterr().out
    assert "0.01 captions/s, as stated" in shown
    assert "# time: 60.0 min" in shown
    assert "# price: 2.00" in shown
    assert dataset.version("captions") is None


def test_settings_come_from_a_file_that_other_verbs_share(tmp_path, capsys):
    dataset = make_dataset(tmp_path / "dataset", 2)
    file = tmp_path / "reelwright.toml"
    file.write_text(
        '[scan]\npreview_fps = 2\n[caption]\ncaptioner = "original"\nkind = "alt"\n[engine]\nlocal = true\n'
    )
    assert run("caption", dataset.uri, "--config", file) == 0
    assert dataset.read("captions").num_rows == 0  # the only video has no text of its own
    assert run("caption", dataset.uri, "--config", file, "--set", "kindd=alt") == 2
    assert "unknown setting caption.kindd; did you mean kind?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "no captioner given: name one with --captioner, for example coca:runs/captioner, hf:Qwen"),
        (["--captioner", "magic"], 2, "no captioner 'magic'"),
        (["--captioner", "coca:nowhere"], 2, "no trained captioner in that folder"),
        (["--captioner", "hf:nowhere/at-all"], 2, "neither a folder with a captioning model nor one that the hub"),
        (["--captioner", "openai:http://127.0.0.1:9/v1#m"], 1, "does not answer"),
        (["--captioner", "original"], 2, "original does not write descriptive captions; it writes: alt, human"),
        (["--captioner", "original", "--kind", "alt", "--redo", "all"], 2, "redo all: no such state"),
    ],
)
def test_wishes_that_cannot_be_met_end_with_what_to_do(tmp_path, capsys, monkeypatch, arguments, status, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    dataset = make_dataset(tmp_path / "dataset", 2)
    assert run("caption", dataset.uri, *arguments) == status
    assert message in capsys.readouterr().err
    assert dataset.version("captions") is None


def test_no_dataset(tmp_path, capsys):
    assert run("caption", tmp_path, "--captioner", "original") == 1
    assert "no dataset here; make one with `reelwright curate" in capsys.readouterr().err


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Ray's own
def test_ray_does_the_same_as_one_process(tmp_path):
    with loopback() as server:
        texts = []
        for name, where in (("here", ["--local"]), ("ray", ["--set", "engine.num_cpus=2"])):
            dataset = make_dataset(tmp_path / name, 40)
            wanted = ["--captioner", f"openai:{server.url}#tiny-vlm", "--set", "batch=16", *where]
            assert run("caption", dataset.uri, *wanted) == 0
            texts.append({row["clip_id"]: row["text"] for row in dataset.read("captions").to_pylist()})
    assert texts[0] == texts[1] == {f"c{number:04}": caption_of(number) for number in range(40)}
