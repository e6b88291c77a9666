"""Footage of a dataset for the training of a codec."""

import pyarrow as pa
import pytest
from small_dataset import make_dataset

from model.dataset import NothingToTrainOnError
from model.footage import read_footage
from model.windows import WindowConfig

STRIDE = (4, 8, 8)


def test_footage_is_split_as_the_dataset_says(tmp_path):
    train, held_out = read_footage(make_dataset(tmp_path), WindowConfig(max_frames=5), STRIDE)
    assert sorted(place.clip.clip_id for place in train.places) == ["v1-a", "v1-b", "v2-a", "v2-b", "v3-a"]
    assert sorted(place.clip.clip_id for place in held_out.places) == ["v0-a", "v0-b"]
    assert train[0].shape == (5, 16, 16, 3)
    assert read_footage(make_dataset(tmp_path), WindowConfig(), STRIDE, held_out=1)[1].places == held_out_first(
        tmp_path
    )


def held_out_first(tmp_path):
    return read_footage(make_dataset(tmp_path), WindowConfig(), STRIDE)[1].places[:1]


def test_without_a_validation_split_some_windows_are_held_out(tmp_path):
    dataset = make_dataset(tmp_path)
    decisions = dataset.read("decisions")
    index = decisions.schema.get_field_index("split")
    dataset.replace_all("decisions", decisions.set_column(index, "split", pa.array(["train"] * 8)))
    train, held_out = read_footage(dataset, WindowConfig(), STRIDE)
    assert (len(train), len(held_out)) == (6, 1)
    assert not {place.clip.clip_id for place in train.places} & {place.clip.clip_id for place in held_out.places}


def test_no_footage_is_an_error_with_reasons(tmp_path):
    with pytest.raises(NothingToTrainOnError, match="5  too small"):
        read_footage(make_dataset(tmp_path), WindowConfig(), (4, 64, 64))
