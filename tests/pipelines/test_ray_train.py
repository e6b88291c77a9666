"""Ray only starts the processes: what they train is what one process trains."""

import sys
from pathlib import Path

import pytest
import torch

from curate.config import build, to_tree
from curate.errors import ConfigError
from model.checkpoint import read_tensors
from model.dataset import NothingToTrainOnError
from model.dit import DiTConfig
from model.optim import OptimConfig
from model.pack import PackConfig
from model.text.tiny import TinyTextConfig
from model.train_config import DataConfig, TrainConfig
from model.train_log import read_log
from pipelines.ray_launch import LaunchConfig
from pipelines.ray_train import launch

sys.path.insert(0, str(Path(__file__).parents[1] / "model"))
from small_dataset import make_dataset

CONFIG = TrainConfig(
    steps=3,
    model=DiTConfig(width=24, depth=1, heads=2, ffn_width=48, frequency_dim=16),
    data=DataConfig(linear_z_dim=6, text_encoder=TinyTextConfig(dim=8, layers=1, heads=2)),
    packs=PackConfig(token_budget=64, packs_per_step=2, buffer=8),
    optim=OptimConfig(lr=1e-3, warmup_steps=1),
    checkpoint_every=3,
    log_every=1,
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("dataset"))


@pytest.mark.ray
def test_two_processes_train_what_one_trains(dataset, tmp_path):
    launch(dataset.uri, tmp_path / "one", CONFIG, LaunchConfig(), report=None)
    told = []
    record = launch(dataset.uri, tmp_path / "two", CONFIG, LaunchConfig(workers=2, gpu=False), report=told.append)
    assert told == read_log(tmp_path / "two")
    assert record["step"] == 3
    logs = [[r["loss"] for r in read_log(tmp_path / name) if r["event"] == "step"] for name in ("one", "two")]
    assert logs[0] == pytest.approx(logs[1], rel=1e-4)
    weights = [read_tensors(tmp_path / name / "step-00000003" / "model.safetensors")[0] for name in ("one", "two")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, atol=1e-5, rtol=1e-3)


def test_nothing_to_train_on_is_found_before_a_process_is_started(dataset, tmp_path, monkeypatch):
    import pipelines.ray_train

    monkeypatch.setattr(pipelines.ray_train, "train_on_ray", lambda *_: pytest.fail("processes were started"))
    tree = to_tree(CONFIG)
    tree["data"]["selection"]["captions"] = ["human"]
    with pytest.raises(NothingToTrainOnError, match="no caption"):
        launch(dataset.uri, tmp_path / "run", build(TrainConfig, tree), LaunchConfig(workers=2), report=None)


def test_impossible_launches_are_refused():
    with pytest.raises(ConfigError, match="most_workers is 2, fewer than workers, 4"):
        LaunchConfig(workers=4, most_workers=2)
