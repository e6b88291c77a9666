"""`check` holds for a consistent dataset and names every row that breaks a rule."""

import pytest
from fabricated import clip, consistent, decision, fill, scene, source, video

from curate.check import check
from curate.errors import DatasetError
from curate.tables import Dataset


@pytest.fixture
def dataset(tmp_path):
    return consistent(Dataset(tmp_path))


def broken_rules(dataset):
    return [(rule, name) for rule, name, _ in check(dataset).violations if "payload" not in rule]


def test_a_consistent_dataset_holds_and_every_row_has_one_state(dataset):
    assert broken_rules(dataset) == []
    assert check(dataset).counts == {
        "sources": {"failed": 1, "kept": 2},
        "scenes": {"filtered": 1, "kept": 3},
        "clips": {"filtered": 1, "kept": 3},
    }


def test_what_is_not_done_yet_is_pending(tmp_path):
    dataset = fill(
        Dataset(tmp_path),
        sources=[source("/a.mp4", "a"), source("/b.mp4", "b"), source("/c.mp4", None, status="pending")],
        videos=[video("a"), video("b")],
        scenes=[scene("a", 0, 0, 100)],
        clips=[clip("a", 0, 0, 100)],
    )
    found = check(dataset)
    assert found.counts == {"sources": {"pending": 3}, "scenes": {"pending": 1}, "clips": {"pending": 1}}
    assert broken_rules(dataset) == []


def test_a_copy_is_a_duplicate_of_the_original(dataset):
    dataset.replace_rows("sources", ["/z.mp4"], [source("/z.mp4", "a", duplicate_of="/a.mp4")])
    assert check(dataset).counts["sources"] == {"duplicate": 1, "failed": 1, "kept": 2}
    assert broken_rules(dataset) == []


@pytest.mark.parametrize(
    ("table", "owner", "rows", "rule", "name"),
    [
        ("sources", "/a.mp4", [source("/a.mp4", "lost")], "a source that was read is a video", "/a.mp4"),
        ("sources", "/a.mp4", [source("/a.mp4", None)], "a source that was read is a video", "/a.mp4"),
        ("sources", "/c.mp4", [source("/c.mp4", None, status="failed")], "a source that failed says why", "/c.mp4"),
        ("sources", "/a.mp4", [source("/a.mp4", "a", status="fine")], "a status is one of the three", "/a.mp4"),
        ("sources", "/d.mp4", [source("/d.mp4", "a")], "one source stands for each content", "a"),
        (
            "sources",
            "/d.mp4",
            [source("/d.mp4", "a", duplicate_of="/b.mp4")],
            "a duplicate stands beside its original",
            "/d.mp4",
        ),
        ("scenes", "a", [scene("a", 0, 0, 50)], "scenes and transitions cover every frame", "a"),
        (
            "scenes",
            "a",
            [scene("a", 0, 0, 50), scene("a", 1, 40, 100, num_frames=50)],
            "scenes follow each other from the first frame to the last",
            "a",
        ),
        (
            "scenes",
            "a",
            [scene("a", 0, 0, 50, num_clips=2), scene("a", 1, 50, 100)],
            "a scene has as many clips as it says, or a reason",
            "a-s0",
        ),
        ("clips", "a", [clip("a", 0, 0, 50), clip("a", 1, 45, 100)], "a clip lies within its scene", "a-c1"),
        ("clips", "a", [clip("a", 0, 0, 50)], "a decision is about a clip", "a-c1"),
        (
            "scenes",
            "x",
            [scene("x", 0, 0, 50, num_clips=0)],
            "a scene has as many clips as it says, or a reason",
            "x-s0",
        ),
        (
            "scenes",
            "x",
            [scene("x", 0, 0, 50, num_clips=0, reason="too_short")],
            "scenes and clips belong to a video that a source names",
            "x",
        ),
        (
            "decisions",
            "b",
            [decision(clip("b", 0, 0, 50)), decision(clip("b", 1, 50, 100), "filtered")],
            "a state is one of the five, with a reason where one is needed",
            "b-c1",
        ),
        (
            "decisions",
            "b",
            [decision(clip("b", 0, 0, 50)), decision(clip("b", 1, 50, 100), split="val")],
            "a video is on one side of the split",
            "b",
        ),
        ("clips", "a", [clip("a", 0, 0, 50)] * 2 + [clip("a", 1, 50, 100)], "a key is there once", "clips ('a-c0',)"),
    ],
)
def test_each_rule_catches_its_break(dataset, table, owner, rows, rule, name):
    dataset.replace_rows(table, [owner], rows)
    assert (rule, name) in broken_rules(dataset)


def test_a_missing_payload_file_is_named(dataset):
    dataset.replace_rows(
        "videos", ["a"], [video("a", signals_path="payload/s.parquet", previews_path="payload/p.parquet")]
    )
    (dataset.root / "payload").mkdir()
    (dataset.root / "payload/s.parquet").touch()
    violations = [violation for violation in check(dataset).violations if violation[1] == "a"]
    assert violations == [("a payload file is where its row says", "a", "payload/p.parquet is missing")]


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="no dataset here"):
        check(Dataset(tmp_path / "empty"))
