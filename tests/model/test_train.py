import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stand_ins import CHANNELS, STRIDE, MemoryData, make_data, make_sample, make_text, tiny_config

from curate.config import fingerprint
from curate.errors import ConfigError, TrainingError, WeightsError
from model.batches import Batches, StepBatches
from model.checkpoint import list_checkpoints, read_state, read_tensors
from model.conditioning import PinConfig
from model.examples import ExampleConfig
from model.flow import FlowConfig
from model.optim import OptimConfig
from model.pack import PackConfig, PackStream
from model.parallel import World
from model.train import Trainer
from model.train_config import PRESETS, TrainConfig, completed
from model.train_log import read_log
from model.validate import ValidationConfig

CPU = torch.device("cpu")


def make_config(**changes):
    settings = {
        "steps": 12,
        "model": tiny_config(),
        "packs": PackConfig(token_budget=128, packs_per_step=2, buffer=16),
        "optim": OptimConfig(lr=1e-2, warmup_steps=3),
        "validation": ValidationConfig(every=6, num_clips=4, times=(0.3, 0.8)),
        "checkpoint_every": 5,
        "log_every": 1,
    }
    return TrainConfig(**{**settings, **changes})


def make_trainer(out, config=None, data=None, **settings):
    return Trainer(data or make_data(), make_text(), config or make_config(), out, stride=STRIDE, **settings)


def everything(run, step):
    """All that a checkpoint holds but times and the name of the machine's versions."""
    folder = run / f"step-{step:08d}"
    state = read_state(folder)
    for clock in ("seconds", "cpu_s"):
        state["counts"].pop(clock)
    tensors = {file.name: read_tensors(file)[0] for file in folder.glob("*.safetensors")}
    return state, tensors


def assert_equal_runs(one, other, step):
    (state_one, files_one), (state_other, files_other) = everything(one, step), everything(other, step)
    assert state_one == state_other
    assert (
        files_one.keys()
        == files_other.keys()
        >= {"model.safetensors", "ema-0.050.safetensors", "optimizer.safetensors"}
    )
    for name, tensors in files_one.items():
        assert tensors.keys() == files_other[name].keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, files_other[name][key]), (name, key)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from test_train import make_config, make_trainer
def report(record):
    if record["event"] == "step" and record["step"] == 8:
        os.kill(os.getpid(), signal.SIGKILL)
make_trainer({out!r}, make_config(workers=2), report=report).run()
"""


def test_a_run_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    make_trainer(tmp_path / "whole").run()
    killed = tmp_path / "killed"
    script = KILLED.format(tests=str(Path(__file__).parent), out=str(killed))
    died = subprocess.run([sys.executable, "-c", script], env=os.environ, check=False)
    assert died.returncode == -signal.SIGKILL
    assert [folder.name for folder in list_checkpoints(killed)] == ["step-00000000", "step-00000005"]
    make_trainer(killed).run()
    assert_equal_runs(tmp_path / "whole", killed, 12)
    assert [r["event"] for r in read_log(killed)].count("resumed") == 1


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_resuming_changes_nothing_with_either_optimizer(tmp_path, name):
    config = make_config(optim=OptimConfig(name=name, warmup_steps=2), steps=6, checkpoint_every=3)
    make_trainer(tmp_path / "whole", config).run()
    trainer = make_trainer(tmp_path / "parts", config)
    steps = trainer.batches.start(None)
    for _ in range(3):
        step = next(steps)
        trainer.update(step)
        trainer.cursor = step.cursor
    trainer.save()
    make_trainer(tmp_path / "parts", config).run()
    one, other = (everything(tmp_path / name, 6)[1]["model.safetensors"] for name in ("whole", "parts"))
    assert all(torch.equal(tensor, other[key]) for key, tensor in one.items())


def test_a_finished_run_has_nothing_to_do(tmp_path):
    make_trainer(tmp_path).run()
    before = (tmp_path / "LATEST").stat().st_mtime_ns
    record = make_trainer(tmp_path).run()
    assert record["step"] == 12
    assert (tmp_path / "LATEST").stat().st_mtime_ns == before


def test_batches_do_not_depend_on_the_number_of_workers():
    def batches(workers):
        config = make_config()
        trainer_batches = make_batches(config, workers=workers)
        return [step for step, _ in zip(trainer_batches.start(None), range(6), strict=False)]

    for one, other in zip(batches(0), batches(3), strict=True):
        assert one.cursor == other.cursor
        assert all(torch.equal(a.x, b.x) for a, b in zip(one.batches, other.batches, strict=True))


def make_batches(config, *, data=None, world=None, workers=0):
    from model.examples import Examples

    examples = Examples(
        config.examples, config.flow, patch=config.model.patch, stride=STRIDE, budget=config.packs.token_budget,
        seed=config.seed,
    )  # fmt: skip
    return Batches(
        data or make_data(), examples, config.packs, config.model, world or World(0, 1, CPU), workers=workers
    )


def ids_per_step(size, num_steps, start=None):
    """The samples of each step over all ranks, and where the data stands after each."""
    config = make_config(packs=PackConfig(token_budget=128, packs_per_step=3, buffer=16))
    ranks = [make_batches(config, world=World(rank, size, CPU)).start(start) for rank in range(size)]
    steps = [[next(rank) for rank in ranks] for _ in range(num_steps)]
    assert all(len({len(rank.batches) for rank in step}) == 1 for step in steps)  # as many collectives on each
    ids = [Counter(name for rank in step for batch in rank.batches for name in batch.sample_ids) for step in steps]
    for step in ids:
        step.pop("", None)
    return ids, [step[0].cursor for step in steps]


def test_any_number_of_ranks_sees_the_same_samples_in_each_step():
    one, cursors = ids_per_step(1, 12)
    for size in (2, 3, 4):
        assert ids_per_step(size, 12) == (one, cursors)


def test_every_sample_comes_once_per_epoch_also_across_a_change_of_ranks():
    first, cursors = ids_per_step(2, 9)
    second, _ = ids_per_step(4, 30, cursors[-1])
    total = sum((*first, *second), Counter())
    whole, _ = ids_per_step(1, 39)
    assert total == sum(whole, Counter())
    assert max(total.values()) - min(total.values()) <= 2  # whole epochs, and the one that is under way in the buffer
    assert len(total) == 24


def test_accumulating_gives_what_one_large_batch_gives(tmp_path):
    config = make_config()
    large = replace(config, packs=replace(config.packs, token_budget=512, packs_per_step=1))
    in_parts, in_one = make_batches(config), make_batches(large)
    trainers = make_trainer(tmp_path / "a", config), make_trainer(tmp_path / "b", large)
    packs = PackStream(24, in_parts.num_tokens, config.packs, seed=0)
    for _ in range(4):
        items = [next(packs) for _ in range(2)]
        step = StepBatches(tuple(in_parts.pack(pack, []) for pack in items), {}, ())
        together = in_one.pack([item for pack in items for item in pack], [])
        one = trainers[0].update(step)
        other = trainers[1].update(StepBatches((together,), {}, ()))
        for key in ("loss", "grad_norm", "lr", "samples", "tokens", "flops"):
            assert one[key] == pytest.approx(other[key], rel=1e-5), key
    assert trainers[0].clip.state() == pytest.approx(trainers[1].clip.state(), rel=1e-5)
    for (name, a), b in zip(trainers[0].model.named_parameters(), trainers[1].model.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4, msg=name)
        torch.testing.assert_close(
            trainers[0].emas[0].weights[name], trainers[1].emas[0].weights[name], atol=2e-5, rtol=1e-4
        )


@pytest.mark.parametrize(("prediction", "steps"), [("v", 160), ("residual", 240)])
def test_one_clip_can_be_learned_by_heart_and_sampled_back(tmp_path, prediction, steps):
    from model.sample import Job, SampleConfig, draw_samples, job_noise
    from model.tokens import patchify

    config = make_config(
        steps=steps,
        model=tiny_config(width=48, ffn_width=96, text_dim=12),
        packs=PackConfig(token_budget=192, packs_per_step=1, buffer=4),
        optim=OptimConfig(lr=1e-2, warmup_steps=10),
        examples=ExampleConfig(image_share=0.0, window_share=0.0, pins=PinConfig(shares={"none": 1.0})),
        flow=FlowConfig(prediction=prediction),
        checkpoint_every=1000,
        log_every=1,
    )
    sample = make_sample(0)
    trainer = make_trainer(tmp_path, config, MemoryData([sample]))
    trainer.run()
    losses = [record["loss"] for record in read_log(tmp_path) if record["event"] == "step"]
    assert np.mean(losses[-20:]) < 0.05 * losses[0]
    clean = patchify(sample.latent, (1, 1, 1))
    grid = trainer.batches.examples.segment(sample, 0).grid
    n = grid.num_tokens
    job = Job(
        grid=grid, given=torch.zeros_like(clean), ceiling=torch.ones(n), floor=torch.zeros(n),
        noise=job_noise(1, n, CHANNELS), text=sample.captions["descriptive"],
    )  # fmt: skip
    with trainer.averaged(trainer.emas[0]):
        (drawn,) = draw_samples(trainer.model, [job], SampleConfig(steps=20, guidance=1.0))
    error = (drawn - clean).square().mean()
    peak = clean.max() - clean.min()
    assert 10 * torch.log10(peak**2 / error) > 25


def test_training_does_not_change_its_configuration(tmp_path):
    config = make_config()
    before = fingerprint(config)
    make_trainer(tmp_path, config, val_data=make_data(6)).run()
    assert fingerprint(config) == before
    assert read_state(tmp_path / "step-00000012")["config"] == before


@pytest.mark.parametrize("prediction", ["v", "residual"])
def test_values_that_are_no_numbers_are_named_and_weigh_nothing(tmp_path, prediction):
    data, held_out = make_data(), make_data(2)
    broken, infinite, unseen = data.samples[7], data.samples[3], held_out.samples[1]
    data.samples[7] = replace(broken, latent=torch.full_like(broken.latent, float("nan")))
    data.samples[3] = replace(infinite, scores={"motion": float("inf")})
    held_out.samples[1] = replace(unseen, sample_id="unseen", latent=torch.full_like(unseen.latent, float("nan")))
    held_out.sample_ids[1] = "unseen"
    config = make_config(flow=FlowConfig(prediction=prediction))
    trainer = make_trainer(tmp_path, config, data=data, val_data=held_out)
    record = trainer.run()
    assert record["unusable_samples"] == [broken.sample_id, "unseen"]
    assert record["total"]["skipped"] == 0
    assert np.isfinite(record["loss"])
    assert np.isfinite(trainer.validate()["loss"])


def test_a_loss_without_meaning_is_skipped_then_rolled_back_and_training_finishes(tmp_path):
    trainer = make_trainer(tmp_path)
    forward, calls = trainer.model.forward, []

    def poisoned(batch, context=None):
        calls.append(batch.sample_ids)
        output = forward(batch, context)
        if 16 < len(calls) <= 24:  # 2 packs per step: 4 steps in a row
            output[: batch.lengths[0]] = float("inf")
        return output

    trainer.model.forward = poisoned
    record = trainer.run()
    log = read_log(tmp_path)
    skipped = [entry for entry in log if entry["event"] == "skipped"]
    assert [set(entry["skipped"]) <= set(make_data().sample_ids) for entry in skipped] == [True] * 4
    assert skipped[0]["skipped"] == [calls[16][0], calls[17][0]]
    assert [entry["to"] for entry in log if entry["event"] == "rolled back"] == ["step-00000005"]
    assert record["step"] == 12
    assert record["total"]["skipped"] == 4
    assert record["total"]["rollbacks"] == 1
    # What did the harm is behind: the samples of the skipped steps were not given again.
    assert len([entry for entry in log if entry["event"] == "step" and entry["step"] == 6]) == 2


def test_a_run_that_never_gets_a_usable_gradient_ends_with_an_error(tmp_path):
    trainer = make_trainer(tmp_path)
    forward = trainer.model.forward
    trainer.model.forward = lambda batch, context=None: forward(batch, context) * float("nan")
    with pytest.raises(TrainingError, match="no usable gradient after 3 returns"):
        trainer.run()


def test_validation_repeats_itself_and_tells_the_gain_from_text(tmp_path):
    config = make_config(steps=80, optim=OptimConfig(lr=1e-2, warmup_steps=10), log_every=20)
    trainer = make_trainer(tmp_path, config, val_data=make_data(6))
    one, again = trainer.validate(), trainer.validate()
    assert one == again
    assert set(one["loss_at"]) == set(one["text_gain_at"]) == {"0.3", "0.8"}
    assert one["loss"] == pytest.approx(np.mean(list(one["loss_at"].values())))
    assert trainer.run()["event"] == "validation"
    assert trainer.validate()["loss"] < 0.95 * one["loss"]


def test_the_log_says_what_a_step_cost_and_did(tmp_path):
    record = make_trainer(tmp_path).run()
    assert record["event"] == "step"
    assert {"loss", "grad_norm", "lr", "waste", "seconds", "data_wait_s", "flops", "loss_by_time"} <= record.keys()
    assert 0 <= record["waste"] < 0.2
    assert record["total"]["tokens"] == sum(r["tokens"] for r in read_log(tmp_path) if r["event"] == "step")


def test_other_samples_stop_a_resumed_run_unless_that_is_meant(tmp_path):
    make_trainer(tmp_path, make_config(steps=5)).run()
    with pytest.raises(TrainingError, match="on_changed_data=restart"):
        make_trainer(tmp_path, data=make_data(20)).run()
    assert make_trainer(tmp_path, make_config(on_changed_data="restart"), make_data(20)).run()["step"] == 12


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    make_trainer(tmp_path, make_config(steps=5)).run()
    with pytest.raises(WeightsError, match="of another model"):
        make_trainer(tmp_path, make_config(model=tiny_config(depth=3))).run()
    with pytest.raises(WeightsError, match=r"checkpoint has \(24,\) where the model has \(48,\)"):
        make_trainer(tmp_path, make_config(model=tiny_config(width=48))).run()


def test_old_checkpoints_go_and_milestones_stay(tmp_path):
    make_trainer(tmp_path, make_config(checkpoint_every=2, keep_last=2, keep_every=4)).run()
    names = [int(folder.name[-8:]) for folder in list_checkpoints(tmp_path)]
    assert names == [0, 4, 8, 10, 12]
    assert not list(tmp_path.glob(".*"))


def test_nothing_that_fits_is_an_error_before_anything_starts(tmp_path):
    with pytest.raises(TrainingError, match="none of 24 samples can be trained on"):
        make_trainer(tmp_path / "out", make_config(packs=PackConfig(token_budget=3)))
    assert not (tmp_path / "out").exists()


def test_presets_take_their_sizes_from_codec_and_text_encoder():
    for preset in PRESETS.values():
        config = completed(preset(), latent_channels=16, text_dim=64)
        assert (config.model.latent_channels, config.model.text_dim) == (16, 64)
    with pytest.raises(ConfigError, match=r"model\.text_dim is 64, but the codec and the text encoder give 32"):
        completed(config, latent_channels=16, text_dim=32)


def test_the_resolved_configuration_lies_beside_the_weights_and_reads_back(tmp_path):
    from curate.config import build, load_toml

    config = make_config()
    make_trainer(tmp_path, config).run()
    assert build(TrainConfig, load_toml(tmp_path / "config.toml")) == config
    tensors, metadata = read_tensors(tmp_path / "step-00000012" / "model.safetensors")
    assert json.loads(metadata["model"])["width"] == 24
    assert "dit.condition_in.centre" in tensors
