"""Several ranks over gloo. They come from a server that has imported everything: importing costs more than training."""

import faulthandler
import multiprocessing.forkserver as forkserver
import shutil
import time
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from stand_ins import make_data, tiny_config
from test_train import make_config, make_trainer
from torch import multiprocessing

from model.checkpoint import read_tensors
from model.optim import OptimConfig
from model.pack import PackConfig
from model.parallel import ParallelConfig, World, compile_blocks
from model.train_log import read_log

NUM_STEPS = 5


def config_for(mode):
    return make_config(
        steps=NUM_STEPS,
        optim=OptimConfig(lr=1e-3, warmup_steps=3),
        packs=PackConfig(token_budget=128, packs_per_step=3, buffer=16),  # does not divide by 2 or 4
        parallel=ParallelConfig(mode=mode),
        checkpoint_every=NUM_STEPS,
    )


def train_rank(rank, size, folder, modes):
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(120)  # where a rank is that the others wait for in vain
    store = dist.FileStore(f"{folder}/store", size)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=240))
    try:
        for mode in modes:
            world = World(rank, size, torch.device("cpu"))
            trainer = make_trainer(f"{folder}/{mode}", config_for(mode), val_data=make_data(5), world=world)
            time.sleep(rank)  # a rank that comes late must not take the first checkpoint for one to resume from
            trainer.run()
    finally:
        dist.destroy_process_group()
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders by name: the same training on one rank, on two with DDP and FSDP2, on four with DDP."""
    root = tmp_path_factory.mktemp("runs")
    forkserver.set_forkserver_preload(["torch.distributed.fsdp", "test_train"])
    make_trainer(root / "1" / "ddp", config_for("ddp"), val_data=make_data(5)).run()
    for size, modes in ((2, ("ddp", "fsdp")), (4, ("ddp",))):
        folder = root / str(size)
        folder.mkdir()
        multiprocessing.start_processes(
            train_rank, args=(size, str(folder), modes), nprocs=size, start_method="forkserver"
        )
    return {
        f"{mode} x {size}": root / str(size) / mode for size, mode in ((1, "ddp"), (2, "ddp"), (2, "fsdp"), (4, "ddp"))
    }


@pytest.mark.parametrize("name", ["ddp x 2", "fsdp x 2", "ddp x 4"])
def test_ranks_change_neither_losses_nor_weights(runs, name):
    logs = [[r for r in read_log(runs[key]) if r["event"] == "step"] for key in ("ddp x 1", name)]
    for alone, together in zip(*logs, strict=True):
        assert together["loss"] == pytest.approx(alone["loss"], rel=1e-5, abs=1e-6)
        assert together["samples"] == alone["samples"]
        assert together["flops"] == pytest.approx(alone["flops"])
    for file in ("model.safetensors", "ema-0.100.safetensors"):
        alone, together = (read_tensors(runs[key] / f"step-{NUM_STEPS:08d}" / file)[0] for key in ("ddp x 1", name))
        assert alone.keys() == together.keys()
        for key, tensor in alone.items():
            torch.testing.assert_close(together[key], tensor, atol=1e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["ddp x 2", "fsdp x 2", "ddp x 4"])
def test_ranks_measure_the_same_held_out_loss(runs, name):
    alone, together = (next(r for r in read_log(runs[key]) if r["event"] == "validation") for key in ("ddp x 1", name))
    assert together["loss"] == pytest.approx(alone["loss"], rel=1e-4)


def test_a_sharded_run_goes_on_alone(runs, tmp_path):
    shutil.copytree(runs["fsdp x 2"], tmp_path / "run")
    config = replace(config_for("ddp"), steps=NUM_STEPS + 2)
    assert make_trainer(tmp_path / "run", config, val_data=make_data(5)).run()["step"] == NUM_STEPS + 2


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
@pytest.mark.parametrize(
    ("attention", "settled_after"),
    [
        ("dense", 1),  # blocks compile whole, as with the kernels for GPUs
        ("grouped", 2),  # blocks compile in pieces around the attention, which learn in the second pack what changes
    ],
)
def test_packs_of_any_composition_share_one_compilation(tmp_path, attention, settled_after):
    import torch._dynamo
    from torch._dynamo.testing import CompileCounter

    torch._dynamo.reset()
    counter = CompileCounter()
    packs = PackConfig(token_budget=128, packs_per_step=1, buffer=16)
    trainer = make_trainer(tmp_path, make_config(steps=60, packs=packs, model=tiny_config(attention=attention)))
    compile_blocks(trainer.model.dit, backend=counter)
    compiled, compositions = [], set()
    for step, _ in zip(trainer.batches.start(None), range(50), strict=False):
        (batch,) = step.batches
        compositions.add((batch.lengths, len(batch.times), batch.texts))
        assert trainer.update(step)["loss"] > 0
        compiled.append(counter.frame_count)
    assert len(compositions) == 50
    assert compiled[0] > 0
    assert compiled[-1] == compiled[settled_after - 1]
