"""What a run will cost, before it starts: parameters, memory, operations, waste and time, for this manifest.

Lengths come from the manifest, packs from the packer that training uses; only the time of a step is measured, on a few
real packs, and only when asked for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from model.batches import Batches, batches_of
from model.device import autocast
from model.dit import DiT, DiTConfig
from model.examples import TrainingData
from model.flops import batch_flops
from model.flow import squared_errors, weighted_loss
from model.pack import Item, PackStream
from model.parallel import World
from model.text.base import TextEncoder
from model.train_config import TrainConfig
from model.video_model import VideoModel

_TRIAL_PACKS = 200
_TRIAL_SAMPLES = 64


def plan_run(
    data: TrainingData,
    text: TextEncoder,
    config: TrainConfig,
    *,
    stride: int,
    world_size: int = 1,
    seconds_per_step: float | None = None,
) -> dict[str, Any]:
    """All figures by name. `config` is a completed one, `stride` the codec's. TrainingError when nothing fits."""
    batches = batches_of(data, config, World.alone(), stride=stride, keep_mib=256)
    lengths = [batches.num_tokens(Item(0, index)) for index in range(len(batches.used))]
    packs = _trial_packs(batches, config)
    tokens = [sum(pack) for pack in packs]
    budget, per_step = config.packs.token_budget, config.packs.packs_per_step
    text_tokens = _text_tokens(batches, text)
    per_pack = [3 * batch_flops(config.model, pack, [text_tokens] * len(pack)) for pack in packs]
    clips_per_step = per_step * float(np.mean([len(pack) for pack in packs]))
    operations = per_step * float(np.mean(per_pack))
    plan: dict[str, Any] = {
        "parameters": count_parameters(config.model),
        "samples": len(data),
        "samples_that_fit": len(batches.used),
        "samples_cut": batches.num_cut,
        "tokens_per_sample": _spread(lengths),
        "sizes": _sizes(batches),
        "packs_per_epoch": round(sum(lengths) / (budget * (1 - _waste(tokens, budget))), 1),
        "waste": round(_waste(tokens, budget), 5),
        "clips_per_step": round(clips_per_step, 1),
        "epochs": round(config.steps * clips_per_step / len(batches.used), 2),
        "operations_per_step": operations,
        "operations": config.steps * operations,
        "memory_bytes": memory_bytes(config, world_size),
        "checkpoint_bytes": checkpoint_bytes(config),
    }
    if seconds_per_step is not None:
        plan["seconds_per_step"] = round(seconds_per_step, 4)
        plan["hours"] = round(config.steps * seconds_per_step / 3600, 3)
        plan["operations_per_second"] = operations / seconds_per_step
    return plan


def time_step(data: TrainingData, text: TextEncoder, config: TrainConfig, *, stride: int, steps: int = 3) -> float:
    """Seconds of one step on this device, forward and backward, after one to warm up."""
    batches = batches_of(data, config, World.alone(), stride=stride, keep_mib=256)
    world = World.current()
    model = VideoModel(DiT(config.model), text, config.flow).to(world.device)
    model.dit.recompute = config.parallel.recompute
    taken = []
    for step in islice(batches.start(None), steps + 1):
        _finish(world.device)
        began = time.perf_counter()
        for batch in step.batches:
            moved = batch.to(world.device)
            with autocast(config.parallel.precision, world.device):
                predicted = model(moved)
            weighted_loss(squared_errors(predicted, moved.target), moved.weight).backward()
        _finish(world.device)
        taken.append(time.perf_counter() - began)
    return float(np.mean(taken[1:]))


def count_parameters(config: DiTConfig) -> int:
    """Weights of the transformer, without building it. The text encoder is not counted."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in DiT(config).parameters())


def memory_bytes(config: TrainConfig, world_size: int = 1) -> dict[str, int]:
    """Memory on each rank: exact for weights and optimizer, an estimate for what the backward pass keeps."""
    weights = count_parameters(config.model)
    shared = world_size if config.parallel.mode == "fsdp" else 1
    width = 2 if config.parallel.precision == "bf16" else 4
    n, d, model = config.packs.token_budget, config.model.width, config.model
    # Per token and block: the stream, two norms, q k v and their norms, two attentions, four gates and shifts, the FFN.
    kept = n * model.depth * (18 * d + 2 * model.ffn_width)
    if config.parallel.recompute:
        kept = n * (model.depth * d + 18 * d + 2 * model.ffn_width)
    return {
        "weights": 4 * weights // shared,
        "gradients": 4 * weights // shared,
        "optimizer": 8 * weights // shared,
        "averages": 4 * weights * len(config.ema_widths) // shared,
        "activations_about": width * kept,
    }


def checkpoint_bytes(config: TrainConfig) -> int:
    """Disk that one checkpoint takes."""
    return 4 * count_parameters(config.model) * (1 + len(config.ema_widths) + 2)


def describe_plan(plan: dict[str, Any]) -> str:
    """The plan for people, a line for each figure."""
    memory = plan["memory_bytes"]
    spread = plan["tokens_per_sample"]
    lines = [
        f"model         {plan['parameters'] / 1e6:.2f}M parameters, checkpoint {_size(plan['checkpoint_bytes'])}",
        f"samples       {plan['samples_that_fit']} of {plan['samples']} fit the token budget, "
        f"{plan['samples_cut']} of them without their end",
        f"tokens        {spread['min']} to {spread['max']} in a sample, median {spread['median']}",
        *(f"  {count:>10}  {shape}" for shape, count in plan["sizes"].items()),
        f"packing       {plan['waste']:.2%} waste, {plan['clips_per_step']} samples in a step, {plan['epochs']} epochs",
        f"operations    {plan['operations_per_step']:.3g} in a step, {plan['operations']:.3g} in all",
        f"memory        {_size(sum(memory.values()))} on each rank, of which about "
        f"{_size(memory['activations_about'])} for activations",
    ]
    if "hours" in plan:
        rate = plan["operations_per_second"]
        lines.append(
            f"time          {plan['seconds_per_step']:.3g} s per step here, {plan['hours']:.2f} h ({rate:.3g}/s)"
        )
    return "\n".join(lines)


def _trial_packs(batches: Batches, config: TrainConfig) -> list[list[int]]:
    stream = PackStream(len(batches.used), batches.num_tokens, config.packs, seed=config.seed)
    packs: Iterator[Any] = islice(stream, _TRIAL_PACKS)
    return [[batches.num_tokens(item) for item in pack] for pack in packs]


def _text_tokens(batches: Batches, text: TextEncoder) -> int:
    """Tokens of a caption, on average."""
    drawn = [batches.examples.caption(sample, 0) for sample in batches.some_samples(_TRIAL_SAMPLES)]
    with torch.no_grad():
        lengths = [1 if caption is None else len(text.encode([caption])[0]) for caption in drawn]
    return max(round(float(np.mean(lengths))), 1)


def _sizes(batches: Batches, most: int = 8) -> dict[str, int]:
    counts = Counter(batches.shapes[index] for index in batches.used)
    named = {f"{t} slots of {w}x{h} cells": count for (t, h, w), count in counts.most_common(most)}
    rest = len(batches.used) - sum(named.values())
    return {**named, **({"others": rest} if rest else {})}


def _spread(lengths: list[int]) -> dict[str, int]:
    return {"min": min(lengths), "median": int(np.median(lengths)), "max": max(lengths)}


def _waste(tokens: list[int], budget: int) -> float:
    return 1 - float(np.mean(tokens)) / budget


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} TiB"


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
