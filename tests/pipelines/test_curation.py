"""From footage to decisions: every input is a row, a second run does nothing, and a change redoes what it touches."""

import os
import shutil

import pytest
from curated import contents, curate, running

from curate.check import check
from curate.drawn.footage import read_truth
from curate.errors import UsageError
from curate.stats import changes, funnel
from curate.tables import Dataset
from pipelines import curation
from pipelines.settings import Settings


@pytest.fixture(scope="module")
def curated(drawn_footage, tmp_path_factory):
    """The shared footage, curated once; read only."""
    out = tmp_path_factory.mktemp("curated")
    return out, curate(drawn_footage, out)


@pytest.fixture
def copy(curated, drawn_footage, tmp_path):
    """A curated dataset and its footage, both free to be changed."""
    footage = shutil.copytree(drawn_footage, tmp_path / "footage")
    out = tmp_path / "out"
    curate(footage, out)
    return footage, out


def rows(out, table):
    return Dataset(out).read(table).to_pylist()


def by_name(out, footage, table="sources"):
    return {os.path.relpath(row["uri"], footage): row for row in rows(out, table)}


def test_every_file_is_a_row_and_ends_as_its_truth_says(curated, drawn_footage):
    out, _ = curated
    assert check(Dataset(out)).violations == []
    sources = by_name(out, drawn_footage)
    videos = {row["video_id"]: row for row in rows(out, "videos")}
    for file in read_truth(drawn_footage).files:
        if file.kind in ("not_a_file", "missing"):
            continue  # folders and absent files are found by lists only, not by walking
        row = sources[file.path]
        assert row["status"] == ("ok" if file.is_usable else "failed"), (file.path, row)
        video = videos.get(row["video_id"])
        assert (row["error_kind"] or (video and video["error_kind"])) == file.kind, (file.path, row, video)
        if file.num_frames is not None:
            assert (video["num_frames"], video["width_px"], video["height_px"]) == (
                file.num_frames,
                file.width,
                file.height,
            ), file.path


def test_lists_carry_columns_and_their_broken_rows_fail_alone(drawn_footage, tmp_path):
    curate(drawn_footage / "footage.csv", tmp_path)
    sources = by_name(tmp_path, drawn_footage)
    for file in read_truth(drawn_footage).files:
        row = sources[file.path]
        assert (row["license"], row["title"], row["original_caption"]) == tuple(
            text or None for text in (file.license, file.title, file.caption)
        )
        if file.kind in ("not_a_file", "missing"):
            assert (row["status"], row["error_kind"]) == ("failed", file.kind)


def test_a_copy_of_a_file_is_a_duplicate_and_decoded_once(curated, drawn_footage):
    out, reports = curated
    sources = by_name(out, drawn_footage)
    assert sources["slides.mp4"]["duplicate_of"] == sources["slides (copy).mp4"]["uri"]
    assert sources["slides.mp4"]["video_id"] == sources["slides (copy).mp4"]["video_id"]
    assert reports["scan"]["decoded"] < reports["scan"]["total"]


def test_spans_are_exact_and_lie_in_order(curated):
    out, _ = curated
    for clip in rows(out, "clips"):
        assert clip["start_pts"] < clip["end_pts"]
        tick = clip["time_base_num"] / clip["time_base_den"]
        assert clip["duration_s"] == pytest.approx((clip["end_pts"] - clip["start_pts"]) * tick)
        assert 1.0 - tick <= clip["duration_s"] <= 10.0 + tick


def test_the_same_again_decodes_and_commits_nothing(curated, drawn_footage):
    out, _ = curated
    before = Dataset(out).versions()
    reports = curate(drawn_footage, out)
    assert reports["scan"]["decoded"] == reports["scan"]["total"] == reports["split"]["total"] == 0
    after = Dataset(out).versions()
    assert {name: after[name] - version for name, version in before.items() if name != "runs"} == dict.fromkeys(
        (name for name in before if name != "runs"), 0
    )


def test_a_changed_split_decodes_nothing_and_keeps_the_ids_of_the_same_spans(copy):
    footage, out = copy
    before = {row["clip_id"] for row in rows(out, "clips")}
    reports = curate(footage, out, "split.max_s=2")
    assert reports["scan"]["total"] == 0
    assert reports["split"]["total"] > 0
    after = {row["clip_id"] for row in rows(out, "clips")}
    assert before & after
    assert before != after
    assert check(Dataset(out)).holds
    assert curate(footage, out)["scan"]["total"] == 0
    assert {row["clip_id"] for row in rows(out, "clips")} == before


def test_a_split_that_is_killed_between_commits_leaves_clips_pending_and_the_next_run_mends_it(copy, monkeypatch):
    footage, out = copy
    before = contents(out)
    real, left = Dataset.replace_rows, 0

    def dies(dataset, name, owners, rows):
        nonlocal left
        owners = list(owners)
        if owners and name in ("decisions", "scenes", "clips"):
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
        return real(dataset, name, owners, rows)

    for commits in range(4):  # forget decisions, forget scenes, clips, and scenes that are never written
        left = commits
        with monkeypatch.context() as patched:
            patched.setattr(Dataset, "replace_rows", dies)
            with pytest.raises(KeyboardInterrupt):
                curate(footage, out, "split.max_s=2")
        found = check(Dataset(out))
        assert found.violations == []
        if commits:
            assert found.counts["clips"].keys() == {"pending"}
        curate(footage, out)
        assert contents(out) == before


def test_a_changed_rule_touches_decisions_alone(copy):
    footage, out = copy
    before = Dataset(out).versions()
    reports = curate(footage, out, "decide.duration_s.min=2.5")
    assert (reports["scan"]["total"], reports["split"]["total"]) == (0, 0)
    changed = {name for name, version in Dataset(out).versions().items() if version != before[name]}
    assert changed == {"decisions", "runs"}
    (change, *_) = changes(Dataset(out), "-2").to_pylist()
    assert (change["before_state"], change["after_state"]) == ("kept", "filtered")
    assert change["after_reason"] == "duration_s.min"


def test_a_replaced_file_redoes_that_file_alone(copy):
    footage, out = copy
    old = by_name(out, footage)
    shutil.copy(footage / "archive/cinema.mkv", footage / "web/screen.mp4")
    planned, _ = curation.plan([str(footage)], Dataset(out), Settings(), "r")
    assert list(planned.to_scan) == [str(footage / "web/screen.mp4")]  # a dry run says so beforehand
    reports = curate(footage, out)
    assert reports["scan"]["total"] == 1
    new = by_name(out, footage)
    assert new["web/screen.mp4"]["video_id"] == old["archive/cinema.mkv"]["video_id"]
    gone = old["web/screen.mp4"]["video_id"]
    assert gone not in {row["video_id"] for row in rows(out, "clips") + rows(out, "scenes") + rows(out, "decisions")}
    assert check(Dataset(out)).holds
    assert {name for name in new if new[name] != old[name]} >= {"web/screen.mp4"}


def test_a_touched_file_is_read_but_not_decoded(copy):
    footage, out = copy
    os.utime(footage / "rushes.mp4")
    reports = curate(footage, out)
    assert (reports["scan"]["total"], reports["scan"]["decoded"]) == (1, 0)
    assert reports["split"]["total"] == 0


def test_a_file_that_vanished_and_its_clips_fail_until_it_is_back(copy):
    footage, out = copy
    before = contents(out)
    (footage / "trailer.mp4").rename(footage.parent / "away.mp4")
    curate(footage, out)
    source = by_name(out, footage)["trailer.mp4"]
    assert (source["status"], source["error_kind"]) == ("failed", "missing")
    states = {row["state"] for row in rows(out, "decisions") if row["video_id"] == source["video_id"]}
    assert states == {"failed"}
    assert check(Dataset(out)).holds
    (footage.parent / "away.mp4").rename(footage / "trailer.mp4")
    assert curate(footage, out)["scan"]["decoded"] == 0
    assert contents(out) == before


def test_failed_files_are_left_alone_until_a_retry(copy):
    footage, out = copy
    shutil.copy(footage / "trailer.mp4", footage / "broken/empty.mp4")
    os.utime(footage / "broken/empty.mp4", (1, 1))
    assert curate(footage, out)["scan"]["total"] == 1  # changed, so it is read again
    num_failed = sum(row["status"] == "failed" for row in rows(out, "sources"))
    assert curate(footage, out)["scan"]["total"] == 0
    assert curate(footage, out, retry=True)["scan"]["total"] == num_failed


def test_sources_are_added_and_never_dropped(drawn_footage, tmp_path):
    curate(drawn_footage / "trailer.mp4", tmp_path)
    curate(drawn_footage / "rushes.mp4", tmp_path)
    assert len(rows(tmp_path, "sources")) == 2
    assert len({row["video_id"] for row in rows(tmp_path, "decisions")}) == 2


def test_results_do_not_depend_on_order_or_grouping(drawn_footage, tmp_path):
    files = sorted(path for path in drawn_footage.rglob("*.m*") if path.is_file())
    curate(files, tmp_path / "at once")
    for file in reversed(files):
        curate(file, tmp_path / "one by one")
    assert contents(tmp_path / "at once") == contents(tmp_path / "one by one")


def test_signals_that_are_lost_fail_with_a_reason_and_a_retry_mends_it(copy):
    footage, out = copy
    video = next(row for row in rows(out, "videos") if row["status"] == "ok")
    os.unlink(out / video["signals_path"])
    assert not check(Dataset(out)).holds
    curate(footage, out, "split.max_s=4")
    failed = [row for row in rows(out, "sources") if row["error_kind"] == "internal"]
    assert {row["video_id"] for row in failed} == {video["video_id"]}
    assert "gone or damaged" in failed[0]["error"]
    curate(footage, out, "split.max_s=4", retry=True)
    assert check(Dataset(out)).holds
    assert not [row for row in rows(out, "sources") if row["error_kind"] == "internal"]


def test_the_funnel_counts_everything_once(curated):
    out, _ = curated
    table = funnel(Dataset(out)).to_pylist()
    for level in ("source", "scene", "clip"):
        assert sum(row["number"] for row in table if row["level"] == level) == len(rows(out, f"{level}s"))


def test_nothing_to_scan_is_refused_and_leaves_no_trace(tmp_path):
    settings = Settings.load(None, ["engine.local=true"])
    with pytest.raises(UsageError, match="no sources yet"), running(Dataset(tmp_path / "x"), settings) as (run, engine):
        curation.scan([], run.dataset, settings, run, engine)
    assert not (tmp_path / "x").exists()
