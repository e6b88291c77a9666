"""Is packing worth it? Training steps over one mixed manifest, packed and in the ways that other trainers batch.

    python -m benchmarks.packing                     a table; --json FILE keeps all figures

    pack      ours: clips of all sizes end to end, a constant token budget
    bucket    clips of exactly equal shape together (Open-Sora-Plan), what is left over in smaller batches
    pad       neighbours in random order, padded to the longest of the batch
    crop      every clip cut to one square and one length, the smallest of the manifest
    wan       diffusers' WanTransformer3DModel of the same dimensions, padded

All arms take the same clips, the same widths and the same AdamW, and alternate in one process; times are CPU time where
there is no GPU. A useful token is one of a clip, not of padding. Crop discards most of each clip, and says so.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.counter_random import generator
from model.dit import DiT, DiTConfig
from model.flow import squared_errors
from model.pack import Item, PackConfig, PackStream
from model.packed import PackedBatch, Segment, pack_segments
from model.tokens import Grid, Shape

CHANNELS, TEXT_DIM, TEXT_TOKENS = 16, 64, 24
PIXEL_SIZES = ((32, 32), (24, 40), (40, 24), (48, 32), (64, 48), (32, 64), (64, 64), (96, 56))
FRAMES = (1, 1, 5, 9, 17)
BUDGET = 2048


@dataclass(frozen=True)
class Step:
    """What one optimizer step works on."""

    run: Callable[[], Tensor]
    """Forward pass; returns the loss."""
    clips: int
    useful: int
    """Tokens of clips."""
    computed: int
    """Tokens that go through the network."""
    native: int
    """Tokens that the clips have before anything is cut off."""


def manifest(num_clips: int, seed: int = 0) -> list[Shape]:
    """Token shapes of clips of mixed sizes and lengths, images among them."""
    random = generator(seed, "manifest")
    shapes = []
    for _ in range(num_clips):
        width, height = PIXEL_SIZES[random.integers(len(PIXEL_SIZES))]
        frames = FRAMES[random.integers(len(FRAMES))]
        shapes.append((1 + (frames - 1) // 4, height // 8, width // 8))
    return shapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    config = DiTConfig(
        width=arguments.width, depth=arguments.depth, heads=arguments.width // 32, ffn_width=4 * arguments.width,
        latent_channels=CHANNELS, text_dim=TEXT_DIM, conditions=(), layout="wan",
    )  # fmt: skip
    shapes = manifest(arguments.clips)
    ours, theirs = Ours(config, device), Wan(config, device)
    arms: dict[str, Callable[[int], Iterator[Step]]] = {
        "pack": lambda round_: ours.packed(shapes, round_),
        "bucket": lambda round_: ours.bucketed(shapes, round_),
        "pad": lambda round_: ours.padded(shapes, round_),
        "crop": lambda round_: ours.cropped(shapes, round_),
        "wan": lambda round_: theirs.padded(shapes, round_),
    }
    results: dict[str, list[dict[str, float]]] = defaultdict(list)
    for round_ in range(-1, arguments.rounds):  # the first warms up and is not counted
        names = sorted(arms, key=lambda name: generator(round_ + 1, "order", name).random())
        for name in names:
            measured = measure(arms[name](round_), (theirs if name == "wan" else ours).optimizer, device)
            if round_ >= 0:
                results[name].append(measured)
    table = summarise(results, len(shapes))
    print_table(table, arguments, device)
    if arguments.json:
        about = {"torch": torch.__version__, "machine": platform.processor(), "device": str(device), **vars(arguments)}
        arguments.json.write_text(json.dumps({"about": {k: str(v) for k, v in about.items()}, "arms": table}, indent=1))


def measure(steps: Iterator[Step], optimizer: torch.optim.Optimizer, device: torch.device) -> dict[str, float]:
    """One pass over the manifest: forward, backward and update."""
    total: dict[str, float] = defaultdict(float)
    for step in steps:
        _finish(device)
        began = _now(device)
        step.run().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        _finish(device)
        total["seconds"] += _now(device) - began
        total["steps"] += 1
        for name in ("clips", "useful", "computed", "native"):
            total[name] += getattr(step, name)
    return dict(total)


class Ours:
    """Our transformer, fed in four ways."""

    def __init__(self, config: DiTConfig, device: torch.device) -> None:
        torch.manual_seed(0)
        self.model = DiT(config).to(device)
        self.device = device
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def packed(self, shapes: list[Shape], round_: int) -> Iterator[Step]:
        lengths = [t * h * w for t, h, w in shapes]
        config = PackConfig(token_budget=BUDGET)
        stream = PackStream(len(shapes), lambda item: lengths[item.index], config, seed=round_ + 1)
        seen = 0
        while seen < len(shapes):
            pack: list[Item] = next(stream)
            seen += len(pack)
            native = sum(lengths[item.index] for item in pack)
            yield self._step([segment(shapes[item.index], item.index) for item in pack], native, budget=BUDGET)

    def bucketed(self, shapes: list[Shape], round_: int) -> Iterator[Step]:
        buckets: dict[Shape, list[int]] = defaultdict(list)
        for index in generator(round_, "order").permutation(len(shapes)):
            buckets[shapes[index]].append(int(index))
        for shape, members in sorted(buckets.items()):
            size = max(BUDGET // (shape[0] * shape[1] * shape[2]), 1)
            for start in range(0, len(members), size):
                clips = [segment(shape, index) for index in members[start : start + size]]
                yield self._step(clips, sum(len(clip.x) for clip in clips))

    def padded(self, shapes: list[Shape], round_: int) -> Iterator[Step]:
        for batch in padded_batches(shapes, round_):
            clips = [segment(shapes[index], index) for index in batch]
            longest = max(len(clip.x) for clip in clips)
            yield self._step([lengthened(clip, longest) for clip in clips], sum(len(clip.x) for clip in clips))

    def cropped(self, shapes: list[Shape], round_: int) -> Iterator[Step]:
        frames = min(t for t, _, _ in shapes)
        side = min(min(h, w) for _, h, w in shapes)
        size = BUDGET // (frames * side * side)
        order = generator(round_, "order").permutation(len(shapes))
        for start in range(0, len(order), size):
            chosen = [int(index) for index in order[start : start + size]]
            native = sum(int(np.prod(shapes[index])) for index in chosen)
            yield self._step([segment((frames, side, side), index) for index in chosen], native)

    def _step(self, segments: list[Segment], native: int, budget: int | None = None) -> Step:
        batch = pack_segments(segments, budget=budget).to(self.device)
        texts = [text_states(place) for place in range(len(batch.lengths))]
        useful = int((batch.weight > 0).sum())

        def run() -> Tensor:
            return weighted(self.model(batch, self.model.read([text.to(self.device) for text in texts])), batch)

        return Step(run, len(batch.order), useful, len(batch.x), native)


class Wan:
    """The transformer of diffusers with the same dimensions, padded as its users must."""

    def __init__(self, config: DiTConfig, device: torch.device) -> None:
        from diffusers import WanTransformer3DModel

        torch.manual_seed(0)
        self.model = WanTransformer3DModel(
            patch_size=config.patch, num_attention_heads=config.heads, attention_head_dim=config.width // config.heads,
            in_channels=CHANNELS, out_channels=CHANNELS, text_dim=TEXT_DIM, freq_dim=config.frequency_dim,
            ffn_dim=config.ffn_width, num_layers=config.depth, cross_attn_norm=True,
        ).to(device)  # fmt: skip
        self.device = device
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)

    def padded(self, shapes: list[Shape], round_: int) -> Iterator[Step]:
        for batch in padded_batches(shapes, round_):
            t, h, w = (max(shapes[index][axis] for index in batch) for axis in range(3))
            latents = torch.zeros(len(batch), CHANNELS, t, h, w)
            mask = torch.zeros(len(batch), 1, t, h, w)
            for place, index in enumerate(batch):
                frames, rows, columns = shapes[index]
                latents[place, :, :frames, :rows, :columns] = noise((CHANNELS, *shapes[index]), index)
                mask[place, :, :frames, :rows, :columns] = 1
            moved = latents.to(self.device), mask.to(self.device)
            texts = torch.stack([text_states(place) for place in range(len(batch))]).to(self.device)

            def run(moved: tuple[Tensor, Tensor] = moved, texts: Tensor = texts) -> Tensor:
                clips, weight = moved
                times = torch.full((len(clips),), 500.0, device=self.device)
                predicted = self.model(clips, times, texts, return_dict=False)[0]
                return ((predicted - clips).square() * weight).sum() / weight.sum() / CHANNELS

            useful = int(mask.sum())
            yield Step(run, len(batch), useful, len(batch) * t * h * w, useful)


def padded_batches(shapes: list[Shape], round_: int) -> Iterator[list[int]]:
    """Clips in random order, as many as fit the budget when each is padded to the longest."""
    batch: list[int] = []
    for index in generator(round_, "order").permutation(len(shapes)):
        longest = max(int(np.prod(shapes[i])) for i in [*batch, int(index)])
        if batch and longest * (len(batch) + 1) > BUDGET:
            yield batch
            batch = []
        batch.append(int(index))
    yield batch


def noise(shape: tuple[int, ...], index: int) -> Tensor:
    return torch.from_numpy(generator(0, "clip", index).standard_normal(shape, dtype=np.float32))


def segment(shape: Shape, index: int) -> Segment:
    grid = Grid(shape=shape, fps=8.0)
    n = grid.num_tokens
    x = noise((n, CHANNELS), index)
    return Segment(
        x=x, grid=grid, times=torch.tensor([0.5]), time_index=torch.zeros(n, dtype=torch.long),
        pinned=torch.zeros(n, dtype=torch.bool), target=x, weight=float(n),
    )  # fmt: skip


def lengthened(clip: Segment, length: int) -> Segment:
    """A clip with padding behind it, which is computed and weighs nothing."""
    n = len(clip.x)
    pad = torch.zeros(length - n, CHANNELS)
    padding = torch.arange(length) >= n
    return replace(
        clip, x=torch.cat([clip.x, pad]), target=torch.cat([clip.x, pad]), pinned=padding,
        time_index=torch.zeros(length, dtype=torch.long), grid=Grid(shape=(length, 1, 1), fps=8.0),
    )  # fmt: skip


def text_states(place: int) -> Tensor:
    return noise((TEXT_TOKENS, TEXT_DIM), 10_000 + place)


def weighted(predicted: Tensor, batch: PackedBatch) -> Tensor:
    return torch.dot(squared_errors(predicted, batch.target), batch.weight) / batch.weight.sum()


def summarise(results: dict[str, list[dict[str, float]]], clips: int) -> dict[str, dict[str, Any]]:
    table = {}
    for name, rounds in results.items():
        rates = [entry["useful"] / entry["seconds"] for entry in rounds]
        quartiles = statistics.quantiles(rates, n=4) if len(rates) > 1 else [rates[0]] * 3
        table[name] = {
            "useful_tokens_per_s": statistics.median(rates),
            "quartiles": [quartiles[0], quartiles[2]],
            "clips_per_s": statistics.median(entry["clips"] / entry["seconds"] for entry in rounds),
            "seconds_per_pass": statistics.median(entry["seconds"] * clips / entry["clips"] for entry in rounds),
            "waste": 1 - sum(e["useful"] for e in rounds) / sum(e["computed"] for e in rounds),
            "discarded": 1 - sum(e["useful"] for e in rounds) / sum(e["native"] for e in rounds),
            "steps_per_pass": statistics.mean(entry["steps"] * clips / entry["clips"] for entry in rounds),
        }
    return table


def print_table(table: dict[str, dict[str, Any]], arguments: argparse.Namespace, device: torch.device) -> None:
    clock = "GPU" if device.type == "cuda" else "CPU"
    size = f"width {arguments.width} x {arguments.depth} blocks"
    print(f"{arguments.clips} clips, {size}, {arguments.rounds} rounds, {device}")
    heads = f"{'useful tokens':>16}{'quartiles':>18}{'of pack':>9}{'waste':>8}{'discarded':>11}"
    print(f"{'':8}{heads}{clock + '-s/pass':>12}")
    best = table["pack"]["useful_tokens_per_s"]
    for name, row in table.items():
        low, high = row["quartiles"]
        print(
            f"{name:8}{row['useful_tokens_per_s']:>14.0f}/s{f'{low:.0f}-{high:.0f}':>18}"
            f"{row['useful_tokens_per_s'] / best:>9.2f}{row['waste']:>8.2%}{max(row['discarded'], 0):>11.1%}"
            f"{row['seconds_per_pass']:>12.2f}"
        )


def _now(device: torch.device) -> float:
    return time.perf_counter() if device.type == "cuda" else time.process_time()


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
