"""How fast a preset trains on this device, as a share of what the device can do.

    python -m benchmarks.training_speed --preset tiny --steps 20
    python -m benchmarks.training_speed --preset base --steps 50 --json benchmarks/results/base-h200.json

Whole training steps on a mixed manifest of random latents: data, forward, backward, clipping, update, averages. Useful
operations are those of `model.flops`, from the lengths of the clips: neither padding nor idle tokens nor recomputation
count. The peak is measured in the same run, as the best of some large matrix products; `--peak` states a nominal one.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.config import build, to_tree, with_overrides
from curate.counter_random import generator
from model.dataset import Sample
from model.parallel import World
from model.text.tiny import TinyTextEncoder
from model.text.vocabulary import learn_vocabulary
from model.train import Trainer
from model.train_config import PRESETS, TrainConfig, completed

CHANNELS = 16
CAPTION = "a red ball rolls slowly to the left over a wooden table while the camera stays where it is"


class RandomData:
    """Latents of mixed sizes and lengths, made when they are read."""

    def __init__(self, num: int, longest_side: int, most_slots: int, multiple: int) -> None:
        random = generator(0, "sizes")
        sides = random.integers(longest_side // 3, longest_side + 1, (num, 2)) // multiple * multiple
        slots = random.choice([1, most_slots // 2 + 1, most_slots], num)
        self.latent_shapes = np.column_stack([slots, sides.clip(min=multiple)])
        self.sample_ids = [f"random-{index}" for index in range(num)]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def __getitem__(self, index: int) -> Sample:
        shape = tuple(int(size) for size in self.latent_shapes[index])
        latent = generator(0, "latent", index).standard_normal((CHANNELS, *shape), dtype=np.float32)
        size = (shape[1] * 8, shape[2] * 8)
        return Sample(
            sample_id=self.sample_ids[index],
            clip_id=self.sample_ids[index],
            latent=torch.from_numpy(latent),
            logvar=None,
            fps=16.0,
            native_size=size,
            crop=(0, 0, *size),
            captions={"descriptive": CAPTION},
            scores={"motion": 0.5},
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--longest-side", type=int, default=None, help="of a latent, in cells")
    parser.add_argument("--slots", type=int, default=5)
    parser.add_argument("--peak", type=float, help="operations per second of the device, if not to be measured")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    world = World.current()
    config = build(TrainConfig, with_overrides(to_tree(PRESETS[arguments.preset]()), arguments.overrides))
    text = TinyTextEncoder(config.data.text_encoder, learn_vocabulary([CAPTION], min_count=1))
    config = completed(config, latent_channels=CHANNELS, text_dim=text.dim)
    side = arguments.longest_side or {"tiny": 8, "small": 32}.get(arguments.preset, 48)
    data = RandomData(2048, side, arguments.slots, config.model.patch[1])
    peak = arguments.peak or measured_peak(world.device, half=config.parallel.precision == "bf16")
    with tempfile.TemporaryDirectory() as folder:
        figures = run(Trainer(data, text, config, folder, stride=4, world=world), arguments.steps, arguments.warmup)
    figures |= {
        "peak_operations_per_s": peak,
        "peak_is": "nominal" if arguments.peak else "measured",
        "mfu": figures["operations_per_s"] / peak,
        "preset": arguments.preset,
        "device": device_name(world.device),
        "torch": torch.__version__,
        "config": to_tree(config),
    }
    print(
        f"{arguments.preset} on {figures['device']}: {figures['seconds_per_step']:.4f} s per step, "
        f"{figures['tokens_per_s']:.0f} useful tokens/s, {figures['operations_per_s']:.3g} useful operations/s, "
        f"{figures['mfu']:.1%} of {peak:.3g} ({figures['peak_is']}); waste {figures['waste']:.2%}, "
        f"memory {figures['memory_bytes'] / 2**30:.2f} GiB, recompilations {figures['recompilations']}"
    )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(figures, indent=1))


def run(trainer: Trainer, num_steps: int, warmup: int) -> dict[str, Any]:
    """Whole steps, timed one by one after a few to warm up and compile."""
    device = trainer.world.device
    seconds: list[float] = []
    outcomes: list[dict[str, Any]] = []
    compiled = 0
    began = time.perf_counter()
    for number, step in enumerate(trainer.batches.start(None)):
        if number == warmup:
            compiled = num_compilations()
        outcome = trainer.update(step)
        finish(device)
        now = time.perf_counter()
        if number >= warmup:
            seconds.append(now - began)
            outcomes.append(outcome)
        began = now
        if number + 1 == warmup + num_steps:
            break
    total = sum(seconds)
    return {
        "parameters": trainer.num_parameters,
        "steps": len(seconds),
        "seconds_per_step": statistics.median(seconds),
        "quartiles_s": statistics.quantiles(seconds, n=4)[::2],
        "tokens_per_s": sum(outcome["tokens"] for outcome in outcomes) / total,
        "samples_per_s": sum(outcome["samples"] for outcome in outcomes) / total,
        "operations_per_s": sum(outcome["flops"] for outcome in outcomes) / total,
        "waste": mean([outcome["waste"] for outcome in outcomes]),
        "memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
        "recompilations": num_compilations() - compiled,
    }


def measured_peak(device: torch.device, *, half: bool) -> float:
    """Operations per second of a large matrix product, the best of several."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if half else torch.float32
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(20):
        finish(device)
        began = time.perf_counter()
        a @ b
        finish(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def num_compilations() -> int:
    from torch._dynamo.utils import counters

    return counters["stats"].get("unique_graphs", 0)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu"


def mean(values: Sequence[float]) -> float:
    return sum(values) / max(len(values), 1)


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
