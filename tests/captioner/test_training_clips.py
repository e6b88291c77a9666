from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pytest
from tiny_dataset import make_dataset

from captioner.frames import FrameConfig
from captioner.training_clips import DatasetSource, load_clips
from curate.errors import UsageError

FRAMES = FrameConfig(num_frames=2, size_px=16)


def add_captions(dataset, rows):
    now = datetime.now(timezone.utc)
    common = {"fingerprint": "f", "run_id": "r", "revision": "1", "created": now, "status": "ok", "captioner": "a"}
    complete = [
        {"caption_id": f"k{index}", "video_id": "v", **common, **row, "clip_id": f"c{row['clip_id']:04}"}
        for index, row in enumerate(rows)
    ]
    dataset.replace_all("captions", complete)


@pytest.fixture
def dataset(tmp_path):
    """Twelve clips: short captions of all, descriptive ones of eight, of two makers; clip 11 is not kept."""
    dataset = make_dataset(tmp_path / "data", 12, kept=lambda number: number != 11)
    rows = [{"clip_id": number, "kind": "short", "text": f"short {number}"} for number in range(12)]
    rows += [{"clip_id": number, "kind": "descriptive", "text": f"long {number}"} for number in range(8)]
    rows += [
        {"clip_id": number, "kind": "descriptive", "text": f"other {number}", "captioner": "b"} for number in (0, 1)
    ]
    rows += [{"clip_id": 9, "kind": "descriptive", "text": "bad", "status": "rejected"}]
    add_captions(dataset, rows)
    return dataset


def test_every_kept_clip_comes_up_once_a_round_with_its_own_caption(dataset):
    source = DatasetSource(dataset, FRAMES)
    assert source.kinds == {"short", "descriptive"}
    first = [source.example("short", index).text for index in range(11)]
    second = [source.example("short", index).text for index in range(11, 22)]
    assert sorted(first) == sorted(second) == sorted(f"short {number}" for number in range(11))
    assert first != second


def test_frames_are_those_of_the_captioned_clip(dataset):
    source = DatasetSource(dataset, FRAMES)
    clips = {clip.clip_id: clip for clip in load_clips(dataset, 20)}
    for index in range(11):
        example = source.example("short", index)
        number = int(example.text.split()[1])
        picture = clips[f"c{number:04}"].frames[0]
        assert abs(float(example.frames[0].mean()) - float(picture.mean())) < 3


def test_a_still_is_one_of_the_frames(dataset):
    source = DatasetSource(dataset, FRAMES)
    whole, still = (source.example("short", 4, still=still).frames for still in (False, True))
    assert still.shape == (1, 16, 16, 3)
    assert any(np.array_equal(still[0], frame) for frame in whole)


def test_only_accepted_captions_are_learnt_and_makers_can_be_preferred(dataset):
    texts = set(DatasetSource(dataset, FRAMES, prefer=["b"]).texts(frozenset({"descriptive"})))
    assert texts == {"other 0", "other 1", *(f"long {number}" for number in range(2, 8))}
    with pytest.raises(UsageError, match="no captions by c; there are: a, b"):
        DatasetSource(dataset, FRAMES, prefer=["c"])


def test_pairs_for_the_expander_are_of_one_clip(dataset):
    source = DatasetSource(dataset, FRAMES)
    for index in range(8):
        short, long = source.pair(index)
        assert short.split()[1] == long.split()[1]


def test_clips_for_validation_are_held_out(dataset):
    decisions = dataset.read("decisions").to_pylist()
    dataset.replace_all(
        "decisions", [{**row, "split": "val" if row["video_id"] == "v000" else "train"} for row in decisions]
    )
    source = DatasetSource(dataset, FRAMES)
    trained = {source.example("short", index).text for index in range(50)}
    held_out = {source.example("short", index, held_out=True).text for index in range(50)}
    assert trained
    assert held_out
    assert not trained & held_out


def test_a_clip_that_cannot_be_read_is_left_out_and_counted(dataset):
    video = next(row for row in dataset.read("videos").to_pylist() if row["video_id"] == "v001")
    Path(dataset.root, video["previews_path"]).unlink()
    source = DatasetSource(dataset, FRAMES)
    assert source.unreadable == 3  # clips 8 to 10
    assert {source.example("short", index).text for index in range(40)} == {f"short {number}" for number in range(8)}


def test_packed_frames_are_found_again(dataset, tmp_path):
    first = DatasetSource(dataset, FRAMES, folder=tmp_path / "run")
    (packed,) = [path for path in (tmp_path / "run" / "training").glob("frames-*.npy") if "read" not in path.name]
    written = packed.stat().st_mtime_ns
    again = DatasetSource(dataset, FRAMES, folder=tmp_path / "run")
    assert packed.stat().st_mtime_ns == written
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.example("short", 3).frames, first.example("short", 3).frames)


def test_a_changed_caption_is_other_data(dataset):
    before = DatasetSource(dataset, FRAMES).fingerprint
    add_captions(dataset, [{"clip_id": 0, "kind": "short", "text": "changed"}])
    assert DatasetSource(dataset, FRAMES).fingerprint != before


def test_captions_of_other_kinds_may_come_and_go(dataset):
    short = {"clip_id": 0, "kind": "short", "text": "short"}
    add_captions(dataset, [short, {"clip_id": 0, "kind": "medium", "text": "one"}])
    before = DatasetSource(dataset, FRAMES, kinds=["short"])
    add_captions(dataset, [short, {"clip_id": 1, "kind": "medium", "text": "another"}])
    after = DatasetSource(dataset, FRAMES, kinds=["short"])
    assert after.fingerprint == before.fingerprint
    assert after.kinds == {"short"}


def test_a_dataset_without_captions_says_what_to_do(tmp_path):
    with pytest.raises(UsageError, match="no kept clip has an accepted caption; make some with `reelwright caption`"):
        DatasetSource(make_dataset(tmp_path / "data", 2), FRAMES)
