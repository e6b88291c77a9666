"""Every clip of a dataset is used or left out for a reason; a stale latent is never read."""

import pickle
import shutil
from dataclasses import replace

import pyarrow.compute as pc
import pytest
import torch
from small_dataset import draw_video, make_dataset

from curate.errors import ConfigError, DatasetError, WeightsError
from curate.tables import Dataset
from model.codec.files import load_codec, save_codec
from model.codec.pca import PCACodec
from model.dataset import NothingToTrainOnError, SelectionConfig, open_training_set
from model.latents import EncodeConfig
from model.training_files import write_training_files
from model.windows import WindowConfig
from pipelines.encode import encode_latents
from pipelines.engine import Engine, EngineConfig, Raised
from pipelines.run import recorded_run

STRIDE = (4, 8, 8)
SELECT = SelectionConfig()
CACHED = SelectionConfig(cache="only")


def encode(dataset, codec_path, config=None, engine_type=Engine, **kwargs) -> dict:
    """Encode what is due and return the counts."""
    with recorded_run(dataset, "encode", "") as run, engine_type(EngineConfig(local=True)) as engine:
        report = encode_latents(dataset, codec_path, config or EncodeConfig(), run, engine, quiet=True, **kwargs)
    return {"done": report.done, "unchanged": report.unchanged, "failed": dict(report.failed)}


@pytest.fixture(scope="module")
def codec() -> PCACodec:
    return PCACodec(stride=STRIDE, z_dim=6).eval()


@pytest.fixture(scope="module")
def codec_path(codec, tmp_path_factory):
    return save_codec(codec, tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def encoded(codec_path, tmp_path_factory) -> Dataset:
    dataset = make_dataset(tmp_path_factory.mktemp("encoded"))
    counts = encode(dataset, codec_path, EncodeConfig(clips_per_file=3))
    assert counts == {"done": 7, "unchanged": 0, "failed": {}}
    return dataset


@pytest.fixture
def copy(encoded, tmp_path) -> Dataset:
    """The encoded dataset, to be changed by a test. Its videos stay where they are."""
    shutil.copytree(encoded.root / "tables", tmp_path / "tables")
    shutil.copytree(encoded.root / "payload", tmp_path / "payload")
    return Dataset(tmp_path)


def test_every_clip_is_used_or_dropped_for_a_reason(encoded, codec):
    data = open_training_set(encoded, SELECT, codec=codec)
    assert data.report.clips == 8
    assert data.report.used == 5
    assert data.report.dropped == {"split val": 2, "filtered: motion.min": 1}
    assert data.report.clips == data.report.used + data.report.dropped.total()
    assert "5 of 8 clips are used, as 5 windows (5 from the cache)" in str(data.report)
    assert "captions: descriptive 5" in str(data.report)


def test_a_sample_carries_captions_scores_sizes_and_its_latent(encoded, codec):
    data = open_training_set(encoded, SELECT, codec=codec)
    index = data.sample_ids.index("v3-a:0")
    sample = data[index]
    assert sample.captions == {"descriptive": "A pattern, number 3a."}
    assert sample.scores == {"motion": pytest.approx(0.3), "sharpness": 50.0}
    assert (sample.native_size, sample.crop, sample.fps) == ((32, 48), (0, 0, 32, 48), 10.0)
    assert tuple(sample.latent.shape) == (6, 3, 4, 6) == (6, *data.latent_shapes[index])
    assert data[data.sample_ids.index("v1-b:0")].scores["sharpness"] is None


def test_cached_latents_equal_those_made_from_the_video(encoded, codec):
    cached = open_training_set(encoded, CACHED, codec=codec)
    fresh = open_training_set(encoded, SelectionConfig(cache="never"), codec=codec)
    assert cached.sample_ids == fresh.sample_ids
    assert fresh.report.cached == 0
    for one, other in zip(cached, fresh, strict=True):
        assert torch.allclose(one.latent, other.latent, atol=2e-3)  # float16
        assert one.sample_id == other.sample_id


def test_the_validation_split_is_disjoint(encoded, codec):
    train, val, both = (
        set(open_training_set(encoded, SelectionConfig(split=split), codec=codec).sample_ids)
        for split in ("train", "val", "all")
    )
    assert not train & val
    assert train | val == both
    assert len(val) == 2


def test_encoding_again_does_only_what_is_missing(copy, codec_path):
    assert encode(copy, codec_path) == {"done": 0, "unchanged": 7, "failed": {}}
    lost = copy.read("latents")["latent_id"].to_pylist()[:2]
    copy.replace_rows("latents", lost, [])
    assert encode(copy, codec_path) == {"done": 2, "unchanged": 5, "failed": {}}
    assert len(copy.read("latents")) == 7


def test_a_changed_codec_window_or_clip_never_reads_an_old_latent(copy, codec, codec_path, tmp_path):
    other = load_codec(codec_path)
    other.components[0, 0] += 1e-6
    with pytest.raises(NothingToTrainOnError, match="5  not encoded"):
        open_training_set(copy, CACHED, codec=other)
    with pytest.raises(NothingToTrainOnError, match="not encoded"):
        open_training_set(copy, CACHED, codec=codec, windows=WindowConfig(max_area_px=64))
    clips = copy.read("clips")
    moved = pc.if_else(pc.equal(clips["clip_id"], "v1-a"), "v1-moved", clips["clip_id"])  # another span, another id
    copy.replace_all(
        "clips", clips.set_column(clips.schema.get_field_index("clip_id"), clips.schema.field("clip_id"), moved)
    )
    data = open_training_set(copy, CACHED, codec=codec)
    assert "v1-moved:0" not in data.sample_ids
    assert data.report.dropped["pending: not decided yet (run `reelwright decide`)"] == 1


def test_a_file_that_holds_another_latent_is_refused(copy, codec):
    table = copy.read("latents")
    rows = table.to_pylist()
    for row in rows:
        row["row"] = (row["row"] + 1) % 2
    copy.replace_all("latents", rows)
    data = open_training_set(copy, CACHED, codec=codec)
    with pytest.raises(DatasetError, match=r"is not .*; run `reelwright encode` again"):
        list(data)


def test_windows_without_a_latent_come_from_the_video_or_are_counted(copy, codec):
    gone = copy.read("latents", ["latent_id"], where=pc.field("clip_id") == "v1-a")["latent_id"].to_pylist()
    copy.replace_rows("latents", gone, [])
    data = open_training_set(copy, SELECT, codec=codec)
    assert (len(data), data.report.cached) == (5, 4)
    assert all(torch.isfinite(sample.latent).all() for sample in data)
    assert open_training_set(copy, CACHED, codec=codec).report.dropped["not encoded (run `reelwright encode`)"] == 1


def test_long_clips_are_several_samples(copy, codec, codec_path):
    config = EncodeConfig(windows=WindowConfig(max_frames=5))
    assert encode(copy, codec_path, config)["done"] == 7  # 9 frames: 5, and a rest of 4 is too short
    with pytest.raises(ConfigError, match="made with 2 settings"):
        open_training_set(copy, SELECT, codec=codec)
    data = open_training_set(copy, CACHED, codec=codec, windows=config.windows)
    assert len(data) == 5


def test_a_clip_that_takes_its_process_down_fails_alone(tmp_path, codec_path):
    class Deadly(Engine):
        def run(self, function, tasks, *, apart, **_):
            first, *others = (part for task in tasks for part in apart(task))
            yield first, Raised("the process died, 3 times", "crashed")
            yield from ((part, function(part)) for part in others)

    counts = encode(make_dataset(tmp_path), codec_path, engine_type=Deadly)
    assert counts == {"done": 6, "unchanged": 0, "failed": {"crashed": 1}}


def test_broken_footage_is_a_row_and_the_rest_is_encoded(tmp_path, codec, codec_path):
    dataset = make_dataset(tmp_path)
    (tmp_path / "footage" / "v1.mkv").write_bytes(b"no video")
    draw_video(tmp_path / "footage" / "v2.mkv", 16, 32, 12, seed=0)  # shorter than when it was scanned
    counts = encode(dataset, codec_path)
    assert counts == {"done": 4, "unchanged": 0, "failed": {"not_video": 2, "truncated": 1}}
    assert encode(dataset, codec_path)["unchanged"] == 7
    assert encode(dataset, codec_path, retry=True) == {**counts, "done": 0, "unchanged": 4}
    failed = dataset.read("latents", where=pc.field("status") == "failed").to_pylist()
    assert {(row["clip_id"], row["error_kind"]) for row in failed} == {
        ("v1-a", "not_video"),
        ("v1-b", "not_video"),
        ("v2-b", "truncated"),
    }
    data = open_training_set(dataset, CACHED, codec=codec)
    assert data.report.dropped["not encoded (run `reelwright encode`)"] == 3


def test_a_selection_without_samples_stops_with_reasons_and_counts(tmp_path, codec, codec_path):
    dataset = make_dataset(tmp_path, captions=False)
    with pytest.raises(NothingToTrainOnError, match=r"(?s)0 of 8 clips are used.*5  no caption"):
        open_training_set(dataset, SELECT, codec=codec)
    assert len(open_training_set(dataset, SelectionConfig(require_caption=False), codec=codec)) == 5
    wide = PCACodec(stride=(4, 64, 64), z_dim=4).eval()
    with pytest.raises(NothingToTrainOnError, match="5  too small"):
        open_training_set(dataset, SelectionConfig(require_caption=False), codec=wide)
    with pytest.raises(NothingToTrainOnError, match=r"(?s)nothing to encode.*7  too small"):
        encode(dataset, save_codec(wide, tmp_path / "wide"))
    dataset.replace_all("decisions", [])
    with pytest.raises(NothingToTrainOnError, match="8  pending"):
        open_training_set(dataset, SELECT, codec=codec)


def test_what_is_no_dataset_is_named(tmp_path, codec):
    with pytest.raises(DatasetError, match="no dataset here"):
        open_training_set(tmp_path, SELECT, codec=codec)
    with pytest.raises(ConfigError, match="no 'shrot'; did you mean short"):
        SelectionConfig(captions=("shrot",))


def test_a_score_of_the_users_own_is_told_and_one_that_there_is_not_is_named(tmp_path, codec):
    dataset = make_dataset(tmp_path)
    row = {"function": "my:green", "name": "green", "run_id": "r", "fingerprint": "f"}
    known = {"score_id": "v1-a:green", "clip_id": "v1-a", "video_id": "v1", "value": 0.25, "status": "ok"}
    failed = {"score_id": "v1-b:green", "clip_id": "v1-b", "video_id": "v1", "status": "failed"}
    dataset.replace_all("scores", [{**row, **known}, {**row, **failed}])
    data = open_training_set(dataset, replace(SELECT, scores=("motion", "green")), codec=codec)
    told = {sample.clip_id: sample.scores["green"] for sample in data}
    assert told["v1-a"] == 0.25
    assert set(told.values()) == {0.25, None}
    with pytest.raises(ConfigError, match=r"no 'sharpnes' in .*; did you mean sharpness"):
        open_training_set(dataset, replace(SELECT, scores=("sharpnes",)), codec=codec)


def test_original_captions_serve_as_alt_text(tmp_path, codec):
    from small_dataset import _row

    dataset = make_dataset(tmp_path, captions=False)
    dataset.replace_all("sources", [_row("sources", uri="x", video_id="v1", original_caption="IMG_1", status="ok")])
    data = open_training_set(dataset, SELECT, codec=codec)
    assert [sample.captions for sample in data] == [{"alt": "IMG_1"}] * 2


def test_plain_files_hold_the_same_samples_without_the_tables(encoded, codec, tmp_path, monkeypatch):
    data = open_training_set(encoded, SELECT, codec=codec)
    write_training_files({"train": data}, tmp_path / "plain", codec=codec, rows_per_file=2)
    monkeypatch.setattr(Dataset, "require", None)  # no table is opened
    plain = open_training_set(tmp_path / "plain", SELECT, codec=codec)
    assert str(plain.report) == str(data.report)
    for one, other in zip(plain, data, strict=True):
        assert torch.equal(one.latent, other.latent)
        assert (one.sample_id, one.captions, one.scores, one.crop) == (
            other.sample_id,
            other.captions,
            other.scores,
            other.crop,
        )
    with pytest.raises(ConfigError, match=r"selection.scores is .* was written with"):
        open_training_set(tmp_path / "plain", SelectionConfig(scores=()), codec=codec)
    with pytest.raises(ConfigError, match="windows of training files were decided"):
        open_training_set(tmp_path / "plain", SELECT, codec=codec, windows=WindowConfig())
    with pytest.raises(DatasetError, match="made by the codec"):
        open_training_set(tmp_path / "plain", SELECT, codec=PCACodec(stride=STRIDE, z_dim=5))


def test_a_training_set_travels_to_other_processes(encoded, codec):
    data = open_training_set(encoded, SELECT, codec=codec)
    first = data[0].latent
    again = pickle.loads(pickle.dumps(data))
    assert torch.equal(again[0].latent, first)


def test_a_codec_that_changes_under_the_job_stops_it(tmp_path, codec_path):
    from model.dataset import Report, kept_clips
    from model.latents import encode_clips, plan_latents

    dataset = make_dataset(tmp_path, 1)
    selection = SelectionConfig(split="all", require_caption=False)
    clips = next(kept_clips(dataset, selection, Report()))
    tasks, _ = plan_latents(clips, EncodeConfig(), PCACodec(stride=STRIDE, z_dim=6), set())
    changed = load_codec(codec_path)
    changed.center += 1
    path = save_codec(changed, tmp_path / "changed")
    with pytest.raises(WeightsError, match="changed while"):
        encode_clips(tasks[0], root=str(tmp_path), codec_path=str(path), config=EncodeConfig())


def test_posterior_draws_depend_on_seed_epoch_and_sample_alone(encoded, codec):
    from dataclasses import replace

    sample = open_training_set(encoded, SELECT, codec=codec)[0]
    assert sample.draw(0, 0) is sample.latent
    wide = replace(sample, logvar=torch.zeros_like(sample.latent))
    assert torch.equal(wide.draw(0, 1), replace(wide).draw(0, 1))
    draws = [wide.draw(0, 1), wide.draw(0, 2), wide.draw(1, 1), replace(wide, sample_id="other").draw(0, 1)]
    assert len({draw.sum().item() for draw in draws}) == 4
    assert torch.stack(draws).sub(sample.latent).std().item() == pytest.approx(1, abs=0.15)
