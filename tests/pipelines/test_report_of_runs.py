"""The report of a training run, from whatever its log holds."""

import json
import re
from datetime import datetime, timezone

import pytest
from run_folders import write_captioner_run, write_model_run

from curate.errors import UsageError
from pipelines.cli.app import main
from pipelines.report.run_log import points, rates, read_parts
from pipelines.report.run_page import is_run, run_page
from pipelines.report.write import write_report

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)


def test_steps_that_were_trained_again_count_once_and_a_cut_line_does_no_harm(tmp_path):
    parts = read_parts(write_model_run(tmp_path / "run") / "train.jsonl")
    assert [step for step, _ in points(parts["step"], "loss")] == list(range(10, 301, 10))
    assert points(parts["validation"], "loss_at", "0.5") == [(s, pytest.approx(0.99**s)) for s in (100, 200, 300)]
    assert points(parts["skipped"], "loss") == []  # not a number


def test_what_a_killed_run_logged_beyond_where_it_went_on_is_forgotten(tmp_path):
    lines = [{"event": "step", "step": step, "loss": float(step)} for step in (10, 20, 30, 40, 10, 20)]
    (tmp_path / "train.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    assert points(read_parts(tmp_path / "train.jsonl")["step"], "loss") == [(10.0, 10.0), (20.0, 20.0)]


def test_throughput_is_what_was_done_between_two_records(tmp_path):
    parts = read_parts(write_model_run(tmp_path / "run") / "train.jsonl")
    assert {round(rate) for _, rate in rates(parts["step"], "tokens")} == {4096}
    assert rates(parts["step"], "nothing") == []


def test_the_page_of_a_model_run_has_losses_noise_levels_samples_and_settings(tmp_path):
    page = run_page(write_model_run(tmp_path / "run"), None, now=NOW)
    for title in ("Loss", "Held-out loss by noise level", "What the text gains", "Tokens per second", "Learning rate"):
        assert f"<h3>{title}" in page
    assert "<b>300</b> steps" in page
    assert "<b>1,711,808</b> parameters" in page
    assert "<b>skipped</b> 1 time, last at step 170" in page
    assert re.findall(r'alt="Sample ([^"]*)"', page) == ["step-20 a cat", "step-100 a cat"]
    assert "name = &#34;&lt;tiny&gt;&#34;" in page


def test_the_page_of_a_captioner_run_has_a_chart_for_each_stage_and_what_it_wrote(tmp_path):
    page = run_page(write_captioner_run(tmp_path / "run"), None, now=NOW)
    for stage in ("base", "descriptive"):
        assert f"<h3>Loss, stage {stage}" in page
        assert f"a {stage} caption at step 5<" in page
        assert f"a {stage} caption at step 100<" in page
    assert "&lt;b&gt;bold" in page
    assert "<b>200</b> steps" in page


def test_a_run_that_logged_next_to_nothing_has_a_page(tmp_path):
    (tmp_path / "train.jsonl").write_text('{"step": 1}\n[]\nnull\n{"loss": 3}\n')
    assert "No loss was written down yet" in run_page(tmp_path, None, now=NOW)


def test_samples_that_are_too_many_for_a_page_are_thinned_out_and_the_last_stays(tmp_path):
    run = write_model_run(tmp_path / "run")
    for index in range(40):
        (run / f"samples/step-{1000 + index}.webp").write_bytes(b"RIFF" + bytes(300_000))
    page = run_page(run, None, now=NOW)
    assert len(page) < 8_000_000
    assert "Sample step-1039" in page


def test_the_verb_finds_out_what_it_is_shown(tmp_path, capsys):
    run = write_captioner_run(tmp_path / "run")
    assert is_run(run)
    with pytest.raises(SystemExit, match="0"):
        main(["report", str(run), "--set", "title=My run", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["path"] == str(run / "report.html")
    html = (run / "report.html").read_text()
    assert answer["bytes"] == len(html.encode())
    assert "<h1>My run</h1>" in html
    with pytest.raises(UsageError, match="neither a dataset nor the folder of a training run"):
        write_report(str(tmp_path))
