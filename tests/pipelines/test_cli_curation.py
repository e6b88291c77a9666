"""The command line says what it does, refuses what makes no sense in one line, and prints for people and machines."""

import csv
import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from curated import curate

from pipelines.cli.app import main


@pytest.fixture(scope="module")
def dataset(drawn_footage, tmp_path_factory):
    out = tmp_path_factory.mktemp("dataset")
    curate(drawn_footage, out)
    return out


@pytest.fixture
def run(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return exited.value.code, captured.out, captured.err

    return run


def test_curate_prints_a_line_per_stage_and_the_funnel(run, drawn_footage, tmp_path):
    status, out, err = run("curate", drawn_footage / "trailer.mp4", "--out", tmp_path / "d", "--local")
    assert status == 0
    assert re.search(r"^scan +1 done, 1 decoded, \d+\.\d s$", err, re.M)
    assert re.search(r"^split +1 done, \d+ scenes, \d+ clips, ", err, re.M)
    assert "kept" in out


def test_broken_footage_is_data_unless_it_is_asked_to_be_an_error(run, drawn_footage, tmp_path):
    arguments = ("curate", drawn_footage / "broken", "--out", tmp_path / "d", "--local")
    status, _, err = run(*arguments)
    assert status == 0
    assert re.search(r"failed \(.*not_video 3", err)
    assert run(*arguments, "--strict", "--retry")[0] == 1


def test_a_dry_run_prints_settings_that_can_be_read_back_and_changes_nothing(run, drawn_footage, dataset, tmp_path):
    before = sorted(path for path in dataset.rglob("*"))
    status, out, _ = run("curate", drawn_footage, "--out", dataset, "--dry-run", "--set", "split.max_s=2", "--local")
    assert status == 0
    assert "# sources to read and decode: 0 (0.0 MiB)" in out
    assert re.search(r"# known videos to split again: (\d+) of \1$", out, re.M)
    assert sorted(path for path in dataset.rglob("*")) == before
    (tmp_path / "c.toml").write_text(out)
    again = run("curate", drawn_footage, "--out", dataset, "--dry-run", "--config", tmp_path / "c.toml")[1]
    assert again == out


def test_results_for_machines_are_json(run, drawn_footage, dataset):
    _, out, err = run("curate", drawn_footage, "--out", dataset, "--local", "--json")
    found = json.loads(out)
    assert found["stages"]["scan"]["decoded"] == 0
    assert sum(row["clips"] for row in found["funnel"]) > 0
    assert err == ""
    assert json.loads(run("check", dataset, "--json")[1])["holds"] is True
    assert "clips" in json.loads(run("schema", "--json")[1])
    assert json.loads(run("explain", dataset, "trailer.mp4", "--json")[1])["kind"] == "source"


def test_a_query_is_answered_as_table_csv_json_and_parquet(run, dataset, capsys):
    sql = "select codec, count(*) as number from videos where status = 'ok' group by all order by all"
    table = run("query", dataset, sql)[1]
    rows = json.loads(run("query", dataset, sql, "-f", "json")[1])
    assert "h264" in table
    assert list(csv.DictReader(io.StringIO(run("query", dataset, sql, "-f", "csv")[1]))) == [
        {key: str(value) for key, value in row.items()} for row in rows
    ]
    command = [sys.executable, "-m", "pipelines.cli.app", "query", str(dataset), sql, "-f", "parquet"]
    parquet = subprocess.run(command, capture_output=True, check=True).stdout
    assert pq.read_table(io.BytesIO(parquet)).to_pylist() == rows


def test_explain_goes_from_source_to_rules(run, dataset):
    clip = json.loads(run("query", dataset, "select clip_id, uri from kept limit 1", "-f", "json")[1])[0]
    out = run("explain", dataset, clip["clip_id"][:10])[1]
    assert out.index("source") < out.index("video") < out.index("scene") < out.index("clip") < out.index("rules")
    assert clip["uri"] in out
    assert re.search(r"ok +duration_s +\S+ +min 1", out)


def test_export_writes_one_wide_row_per_kept_clip(run, dataset, tmp_path):
    kept = json.loads(run("query", dataset, "select count(*) as n from kept", "-f", "json")[1])[0]["n"]
    assert run("export", dataset, tmp_path / "clips.parquet")[:2] == (0, f"{kept} clips in {tmp_path}/clips.parquet\n")
    assert pq.read_table(tmp_path / "clips.parquet").num_rows == kept
    run("export", dataset, tmp_path / "clips.csv", "--where", "duration_s > 1.5")
    assert 0 < len(list(csv.DictReader((tmp_path / "clips.csv").read_text().splitlines()))) <= kept


def test_cut_and_retry_and_diff_run(run, dataset):
    assert run("cut", dataset, "--local")[0] == 0
    assert "clips to cut: 0" in run("cut", dataset, "--dry-run")[1]
    assert run("retry", dataset, "--local")[0] == 0
    assert run("diff", dataset, "--", "-2", "-1")[0] == 0
    assert run("check", dataset)[1].endswith("nothing is lost\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("curate /no/such/place --out {tmp}/x --local", "no such file or folder"),
        ("curate {footage}", "name the dataset to write: reelwright curate SOURCE... --out DATASET"),
        ("curate {footage} --out {tmp}/x --set splat.min_s=1", r"unknown section \[splat\]; did you mean split\?"),
        ("curate {footage} --out {tmp}/x --set split.min_z=1", "unknown setting split.min_z; did you mean min_s"),
        ("curate {footage} --out {tmp}/x --set split.min_s=no", "split.min_s is 'no'; expected a number"),
        ("curate {footage} --out {tmp}/x --set split.min_s=-1", "split.min_s must be above 0"),
        ("curate {footage} --out {tmp}/x --config {tmp}/none.toml", "cannot read the configuration"),
        ("curate {footage} --out {tmp}/x --local --address auto", "exclude each other"),
        ("split {tmp}/nothing", "no dataset here; make one with"),
        ("query {dataset} 'select nothing'", "the query cannot be answered"),
        ("query {dataset} 'select 1' --as-of xyz", "no run begins so"),
        ("explain {dataset} nobody", "no source, video, scene or clip has this id"),
        ("export {dataset} clips.docx", "no export format 'docx'"),
        ("schema clisp", "no table 'clisp'"),
        ("decide {dataset} --set motoin.min=1", "no score 'motoin' to decide on; did you mean motion"),
        ("cut {dataset} --mode reencode --set encoding.codec=h265", "no codec 'h265'; did you mean h264"),
        ("cut {dataset} --set max_side_px=64", "need cut.mode = reencode"),
        ("curate --frobnicate", "No such option"),
        ("frobnicate", "No such command"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line_before_any_work(
    run, dataset, drawn_footage, tmp_path, arguments, message
):
    names = {"tmp": tmp_path, "dataset": dataset, "footage": drawn_footage}
    status, _, err = run(*shlex.split(arguments.format(**names)))
    assert status == 2 or (status == 1 and "no dataset here" in err)
    assert re.search(message, err), err
    assert not (tmp_path / "x").exists()


def test_the_page_of_the_manifest_is_what_the_schema_says(run):
    page = Path(__file__).parents[2] / "docs/manifest.md"
    assert page.read_text() == run("schema", "--markdown")[1], "reelwright schema --markdown > docs/manifest.md"
