import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_dataset import make_dataset
from stand_ins import tiny_config

from curate.drawn.judge import judge
from curate.errors import ConfigError, TrainingError, UsageError, WeightsError
from model.bundled import BUNDLED
from model.canvas import Canvas
from model.checkpoint import list_checkpoints
from model.codec.files import save_codec
from model.codec.pca import PCACodec
from model.dataset import NothingToTrainOnError, SelectionConfig
from model.pack import PackConfig
from model.run import load_studio, train
from model.sample import SampleConfig
from model.share import share
from model.text.tiny import TinyTextConfig
from model.train_config import DataConfig, TrainConfig
from model.train_log import read_log


def make_config(**changes):
    settings = {
        "steps": 4,
        "model": tiny_config(latent_channels=None, text_dim=None),
        "data": DataConfig(linear_z_dim=6, text_encoder=TinyTextConfig(dim=8, layers=1, heads=2)),
        "packs": PackConfig(token_budget=64, buffer=8),
        "checkpoint_every": 2,
        "log_every": 1,
    }
    return TrainConfig(**{**settings, **changes})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    train(dataset.uri, out, make_config())
    return out


def test_a_dataset_of_videos_becomes_a_run_that_makes_videos(run):
    names = {file.name for file in run.iterdir()}
    assert {"codec.safetensors", "text.json", "config.toml", "train.jsonl", "LATEST", "step-00000004"} <= names
    studio = load_studio(run, device="cpu", config=SampleConfig(steps=2))
    assert studio.provenance["step"] == 4
    assert studio.provenance["weights"] == "ema-0.050.safetensors"
    canvases = [
        Canvas(frames=t, height=h, width=w, fps=8.0, prompt=p) for t, h, w, p in ((5, 16, 24, "a cat"), (1, 8, 8, None))
    ]
    made = studio.draw(canvases)
    assert [video.shape for video in made] == [(5, 16, 24, 3), (1, 8, 8, 3)]
    assert np.array_equal(made[0], studio.draw(canvases[:1])[0])


def test_a_checkpoint_knows_what_it_was_made_from(dataset, run):
    state = json.loads((run / "step-00000004" / "state.json").read_text())
    assert state["tables"] == dataset.versions()
    assert state["windows"] == 5
    assert state["codec"] == load_studio(run, device="cpu").codec.fingerprint()


def test_any_weights_of_a_run_can_be_chosen(run):
    chosen = [
        load_studio(run, device="cpu", **which).model.dit.patch_in.weight
        for which in ({}, {"width": 0.1}, {"width": 0}, {"step": 2})
    ]
    assert len({tuple(weights.flatten().tolist()) for weights in chosen}) == 4
    with pytest.raises(WeightsError, match=r"no average of width 0\.3; there are ema-0\.050\.safetensors, ema-0\.100"):
        load_studio(run, width=0.3)
    with pytest.raises(WeightsError, match="no checkpoint of step 3; there are 0, 2, 4"):
        load_studio(run, step=3)


def test_a_shared_run_is_small_and_makes_the_same_videos(run, tmp_path):
    size = share(run, tmp_path / "small")
    assert size < 0.4 * sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
    assert not list(tmp_path.rglob("optimizer.safetensors"))
    canvas = Canvas(frames=5, height=16, width=24, fps=8.0, prompt="a cat")
    whole, small = (load_studio(path, device="cpu", config=SampleConfig(steps=2)) for path in (run, tmp_path / "small"))
    assert small.usual == whole.usual
    assert small.provenance["step"] == 4
    assert np.abs(whole.draw([canvas])[0].astype(int) - small.draw([canvas])[0]).max() <= 2
    with pytest.raises(UsageError, match="not empty"):
        share(run, tmp_path / "small")


def test_running_again_goes_on_and_another_codec_is_refused(dataset, run, tmp_path):
    assert train(dataset.uri, run, make_config(steps=5))["step"] == 5
    assert [record["event"] for record in read_log(run)].count("resumed") == 1
    other = save_codec(PCACodec(stride=(4, 8, 8), z_dim=6), tmp_path)
    config = make_config(data=replace(make_config().data, codec=str(other)))
    with pytest.raises(ConfigError, match="was begun with another codec"):
        train(dataset.uri, run, config)


def test_a_run_keeps_its_text_codec_and_seed_whatever_it_is_told_later(dataset, run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    files = {name: (copy / name).read_bytes() for name in ("text.json", "codec.safetensors", "config.toml")}
    words = replace(make_config().data, text_encoder=TinyTextConfig(dim=16, layers=1, heads=2))
    for changes, message in (({"seed": 5}, r"seed = 5 \(was 0\)"), ({"data": words}, "data.text_encoder")):
        with pytest.raises(ConfigError, match=message):
            train(dataset.uri, copy, make_config(steps=6, **changes))
    assert {name: (copy / name).read_bytes() for name in files} == files
    assert train(dataset.uri, copy, make_config(steps=5))["step"] == 5


def test_a_codec_that_was_exchanged_is_noticed(dataset, run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    save_codec(PCACodec(stride=(4, 8, 8), z_dim=6), copy)
    with pytest.raises(WeightsError, match="its weights belong to the codec"):
        train(dataset.uri, copy, make_config(steps=6))
    with pytest.raises(WeightsError, match="its weights belong to the codec"):
        load_studio(copy, device="cpu")


def test_a_codec_that_lies_where_a_run_is_to_begin_is_never_lost(dataset, tmp_path):
    file = save_codec(PCACodec(stride=(4, 8, 8), z_dim=6), tmp_path)
    kept = file.read_bytes()
    with pytest.raises(ConfigError, match="holds another codec than this run's"):
        train(dataset.uri, tmp_path, make_config())
    assert file.read_bytes() == kept
    assert not (tmp_path / "text.json").exists()


def test_what_cannot_be_trained_is_refused_before_anything_is_written(dataset, tmp_path):
    few = TinyTextConfig(dim=8, layers=1, heads=2, max_tokens=2)
    for changes, error, message in (
        ({"packs": PackConfig(token_budget=1)}, TrainingError, "packs.token_budget = 1 tokens"),
        ({"data": replace(make_config().data, text_encoder=few)}, ConfigError, "data.text_encoder more max_tokens"),
    ):
        with pytest.raises(error, match=message):
            train(dataset.uri, tmp_path / "run", make_config(**changes))
        assert not (tmp_path / "run").exists()


def test_an_empty_selection_stops_before_anything_is_written(dataset, tmp_path):
    data = replace(make_config().data, codec=str(save_codec(PCACodec(stride=(4, 8, 8), z_dim=6), tmp_path)))
    empty = replace(data, selection=SelectionConfig(captions=("human",)))
    with pytest.raises(NothingToTrainOnError, match="no caption"):
        train(dataset.uri, tmp_path / "run", make_config(data=empty))
    assert not (tmp_path / "run").exists()


def test_a_video_that_has_gone_is_named_and_training_goes_on(tmp_path):
    dataset = make_dataset(tmp_path / "dataset")
    out = tmp_path / "run"
    train(dataset.uri, out, make_config(steps=1))
    (tmp_path / "dataset" / "footage" / "v1.mkv").unlink()
    record = train(dataset.uri, out, make_config(steps=4))
    assert record["step"] == 4
    assert {name.split(":")[0] for name in record["unusable_samples"]} & {"v1-a", "v1-b"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "text.json").unlink(), "no text.json here"),
        (lambda run: (run / "codec.safetensors").unlink(), "no codec here"),
        (lambda run: (run / "step-00000004" / "ema-0.050.safetensors").write_bytes(b"x"), "a damaged one"),
        (lambda run: (run / "step-00000004" / "state.json").write_text("{}"), "version None of checkpoints"),
    ],
)
def test_a_damaged_run_says_what_is_wrong(run, tmp_path, damage, message):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    for folder in list_checkpoints(copy):
        if folder.name != "step-00000004":
            shutil.rmtree(folder)
    (copy / "LATEST").write_text("step-00000004\n")
    damage(copy)
    with pytest.raises(WeightsError, match=message):
        load_studio(copy, device="cpu")


def test_a_folder_without_a_run_is_an_error(tmp_path):
    with pytest.raises(WeightsError, match="no checkpoint here; `reelwright train DATASET --out"):
        load_studio(tmp_path)


def test_weights_of_another_text_encoder_are_refused(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    tree = json.loads((copy / "text.json").read_text())
    tree["built_in"]["layers"] = 2
    (copy / "text.json").write_text(json.dumps(tree))
    with pytest.raises(WeightsError, match="do not belong to the text encoder"):
        load_studio(copy, device="cpu")
    assert torch.is_tensor(load_studio(run, device="cpu").model.dit.no_text)


def test_a_run_can_begin_with_the_weights_of_another(dataset, run, tmp_path):
    train(dataset.uri, tmp_path, make_config(start_from=str(run), data=DataConfig(linear_z_dim=5), keep_last=9))
    weights = load_studio(run, device="cpu").model.state_dict()
    begun = load_studio(tmp_path, step=0, device="cpu").model.state_dict()
    assert all(torch.equal(weights[name], begun[name]) for name in weights)
    ended = load_studio(tmp_path, device="cpu")
    assert ended.codec.fingerprint() == load_studio(run, device="cpu").codec.fingerprint()
    assert any(not torch.equal(weights[name], tensor) for name, tensor in ended.model.state_dict().items())
    train(dataset.uri, tmp_path, make_config(start_from=str(run), data=DataConfig(linear_z_dim=5), keep_last=9))
    again = load_studio(tmp_path, device="cpu").model.state_dict()  # nothing was begun anew
    assert all(torch.equal(again[name], tensor) for name, tensor in ended.model.state_dict().items())


def test_the_model_that_comes_with_the_package_draws_what_it_is_asked_for():
    studio = load_studio(BUNDLED, device="cpu", config=SampleConfig(steps=12, guidance=2.0))
    wanted = [("red", "white"), ("blue", "black")]
    prompts = [
        "a large red circle. Behind is a white background.",
        "a large blue circle. Behind is a black background.",
    ]
    canvases = [Canvas(frames=1, height=32, width=32, fps=8.0, prompt=prompt, seed=1) for prompt in prompts]
    judged = [judge(video) for video in studio.draw(canvases)]
    assert [(each.color, each.background_color) for each in judged] == wanted
