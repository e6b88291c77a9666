"""Commits are atomic, replace whole owners, survive competition, and old versions stay readable."""

import multiprocessing
from pathlib import Path

import pyarrow.compute as pc
import pytest

from curate.errors import DatasetError
from curate.schema import SCENES, TABLES
from curate.tables import Dataset


def scene(video_id: str, index: int = 0) -> dict:
    return {
        "scene_id": f"{video_id}-{index}",
        "video_id": video_id,
        "scene_index": index,
        "start_pts": 0,
        "end_pts": 10,
        "start_s": 0.0,
        "end_s": 1.0,
        "num_frames": 10,
        "start_kind": "start",
        "end_kind": "end",
        "transition_frames": 0,
        "num_clips": 1,
        "reason": None,
        "fingerprint": "f",
        "run_id": "r",
    }


def ids(dataset: Dataset, **kwargs) -> list[str]:
    return dataset.read("scenes", ["scene_id"], **kwargs).column("scene_id").to_pylist()


def test_a_table_is_empty_before_its_first_commit(tmp_path):
    dataset = Dataset(tmp_path)
    assert ids(dataset) == []
    assert dataset.version("scenes") is None
    assert not dataset.exists()


def test_rows_of_named_owners_are_replaced_and_others_stay(tmp_path):
    dataset = Dataset(tmp_path)
    dataset.replace_rows("scenes", ["a", "b"], [scene("a", 0), scene("a", 1), scene("b")])
    dataset.replace_rows("scenes", ["a", "c"], [scene("c")])  # a has no rows any more
    assert ids(dataset) == ["b-0", "c-0"]
    assert ids(dataset, version=1) == ["a-0", "a-1", "b-0"]


def test_owners_may_hold_any_character(tmp_path):
    dataset = Dataset(tmp_path)
    odd = 'it\'s 100% "odd" \\ name?&+=\n.mp4'
    dataset.replace_rows("scenes", [odd], [scene(odd)])
    dataset.replace_rows("scenes", [odd], [scene(odd, 1)])
    assert ids(dataset) == [f"{odd}-1"]


def test_any_number_of_owners_may_be_replaced_at_once(tmp_path):
    dataset = Dataset(tmp_path)
    many = [f"video-{index:06}" for index in range(40_000)]
    dataset.replace_rows("scenes", ["video-000007", "other"], [scene("video-000007"), scene("other")])
    dataset.replace_rows("scenes", many, [scene("video-000008")])
    assert ids(dataset) == ["other-0", "video-000008-0"]


def test_a_row_of_an_owner_that_was_not_named_is_refused(tmp_path):
    with pytest.raises(ValueError, match="were not named"):
        Dataset(tmp_path).replace_rows("scenes", ["a"], [scene("b")])


def test_an_unknown_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no such columns: sceneid"):
        Dataset(tmp_path).replace_rows("scenes", ["a"], [{**scene("a"), "sceneid": "x"}])


def test_filters_and_columns_are_pushed_down(tmp_path):
    dataset = Dataset(tmp_path)
    dataset.replace_rows("scenes", ["a", "b"], [scene("a"), scene("b")])
    table = dataset.read("scenes", ["scene_id"], where=pc.field("video_id") == "b")
    assert table.to_pylist() == [{"scene_id": "b-0"}]


def test_a_missing_version_is_named(tmp_path):
    dataset = Dataset(tmp_path)
    dataset.replace_rows("scenes", ["a"], [scene("a")])
    with pytest.raises(DatasetError, match="cannot read version 99 of the table scenes"):
        dataset.read("scenes", version=99)


def test_a_missing_dataset_says_how_to_make_one(tmp_path):
    with pytest.raises(DatasetError, match="reelwright curate FOOTAGE --out"):
        Dataset(tmp_path / "nothing").require()


def test_compaction_keeps_every_row(tmp_path):
    dataset = Dataset(tmp_path)
    for index in range(70):
        dataset.replace_rows("scenes", [f"v{index:02}"], [scene(f"v{index:02}")])
    before = ids(dataset)
    dataset.compact("scenes")
    assert ids(dataset) == before
    assert len(dataset._open("scenes").file_uris()) < 5


def _write_many(path: Path, writer: str) -> None:
    for index in range(15):
        Dataset(path).replace_rows("scenes", [f"{writer}{index}"], [scene(f"{writer}{index}")])


def test_writers_that_compete_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_many, args=(tmp_path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(ids(Dataset(tmp_path))) == 45


@pytest.mark.parametrize("name", TABLES)
def test_every_table_and_column_is_described_by_a_sentence(name):
    schema = TABLES[name]
    assert schema.doc.endswith(".")
    assert all(column.doc.endswith(".") for column in schema.columns)
    assert schema.owner in schema.arrow.names
    assert set(schema.key) <= set(schema.arrow.names)


def test_the_schema_survives_a_round_trip(tmp_path):
    dataset = Dataset(tmp_path)
    dataset.replace_rows("scenes", ["a"], [scene("a")])
    assert dataset.read("scenes").schema.names == SCENES.arrow.names
