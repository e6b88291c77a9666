"""A captioner trained by several processes: they share each batch, stay alike, and leave one captioner."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import pipelines.train_captioner
from captioner.training_config import dall_e_3_stages, smoke
from captioner.video_coca import VideoCoCa
from curate.errors import UsageError
from pipelines.ray_launch import LaunchConfig
from pipelines.train_captioner import launch_captioner, train_loop

CONFIG = replace(smoke(), stages=dall_e_3_stages(base=2, short=2, descriptive=2, batch_size=8))
TWO = LaunchConfig(workers=2, gpu=False, max_failures=0)


@pytest.fixture
def small_ray():
    import logging

    import ray

    ray.init(num_cpus=2, object_store_memory=80 << 20, include_dashboard=False, log_to_driver=False,
             logging_level=logging.ERROR)  # fmt: skip
    yield
    ray.shutdown()


@pytest.mark.ray
def test_two_processes_end_with_the_same_weights_and_one_captioner(small_ray, tmp_path, monkeypatch):
    kept = str(tmp_path)

    def loop(settings):
        """The loop, which also keeps what each rank holds at the end of a stage."""
        from captioner import training

        finish = training._Run._finish

        def keep(self, name, model):
            torch.save(dict(model.named_parameters()), Path(kept, f"{name}-{training._rank()}.pt"))
            finish(self, name, model)

        training._Run._finish = keep
        train_loop(settings)

    monkeypatch.setattr(pipelines.train_captioner, "train_loop", loop)
    out = tmp_path / "run"
    said = []
    launch_captioner(None, [], out, CONFIG, TWO, device="cpu", loaders=0, say=said.append)
    assert said == [f"2 processes; what they learn is told in {out / 'training' / 'log.jsonl'}"]
    for stage in CONFIG.stages:
        first, second = (torch.load(tmp_path / f"{stage}-{rank}.pt", weights_only=False) for rank in (0, 1))
        assert all(torch.equal(first[name], second[name]) for name in first)
    stored = dict(VideoCoCa.from_pretrained(out).named_parameters())
    assert all(torch.equal(stored[name], first[name]) for name in stored)
    assert len((out / "training" / "log.jsonl").read_text().splitlines()) == 3  # one rank writes
    assert not (out / "training" / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("config", "processes", "message"),
    [
        (CONFIG, 3, "stage base has batches of 8, which 3 processes cannot share evenly"),
        (replace(CONFIG, stages={"a": replace(CONFIG.stages["base"], mix={"human": 1.0})}), 2, "learns from human"),
    ],
)
def test_what_cannot_be_trained_is_found_before_a_process_is_started(config, processes, message, tmp_path, monkeypatch):
    monkeypatch.setattr(pipelines.train_captioner, "train_on_ray", lambda *_: pytest.fail("processes were started"))
    where = replace(TWO, workers=processes)
    with pytest.raises(UsageError, match=message):
        launch_captioner(None, [], tmp_path, config, where, device="cpu", loaders=0, say=str)
