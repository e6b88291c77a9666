"""Does the tiny preset learn? Drawn footage of mixed sizes, and prompts whose combinations were never trained on.

    python -m benchmarks.learning --out learning --minutes 10 --seeds 0 1 2
    python -m benchmarks.learning --out learning --minutes 60 --seeds 0 --set optim.lr=0.002

Draws clips of the tiny world (6 colours, 3 backgrounds, 3 shapes, 2 sizes, 5 motions; images and videos of four
sizes), fits the linear codec, and trains `model.train_config.tiny` for so many minutes of CPU time per seed. On the way
it samples held-out prompts with the averaged weights, and the closed-form judge says which facts the videos show.

    OUT/curve.json, OUT/curve.png      accuracy over CPU time, every seed
    OUT/seed-N.png                     a contact sheet: each row a prompt, with frames of its video
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.config import build, to_tree, with_overrides
from curate.counter_random import generator
from curate.drawn.describe import describe
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shot import MOVING_SLOTS, tiny_world
from model.codec.base import Codec
from model.codec.pca import fit_pca
from model.dataset import Sample
from model.evaluate import attribute_accuracy, drawn_questions
from model.pixels import to_video
from model.sample import SampleConfig
from model.studio import Studio
from model.text.tiny import TinyTextEncoder
from model.text.vocabulary import learn_vocabulary
from model.train import Trainer
from model.train_config import TrainConfig, completed, tiny
from model.video_files import contact_sheet, write_pictures

FPS = 8.0
SIZES = ((32, 32), (24, 40), (40, 24), (32, 48))
FRAMES, FRAME_SHARES = (1, 5, 9, 17), (0.15, 0.2, 0.4, 0.25)
STRIDE = (4, 8, 8)
HIDDEN = (
    "texture",
    "count",
    "other_shape",
    "other_color",
    "relation",
    "lighting",
    "camera",
    "text",
    "background_pattern",
)
"""Slots that are the same in the whole tiny world: captions say nothing of them."""
MARKS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of a run after which it is judged."""


class DrawnData:
    """Samples in memory."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = list(samples)
        self.sample_ids = [sample.sample_id for sample in samples]
        self.latent_shapes = np.array([sample.latent.shape[1:] for sample in samples])

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]


def draw_clips(num: int, seed: int) -> list[tuple[np.ndarray, str]]:
    """Frames and captions of clips; none shows a combination that is held out."""
    clips = []
    for index in range(num):
        random = generator(seed, "learning", index)
        height, width = SIZES[random.integers(len(SIZES))]
        frames = int(random.choice(FRAMES, p=FRAME_SHARES))
        shot = sample_shot(random, tiny_world(), duration_s=max((frames - 1) / FPS, 0.5))
        untold = (*HIDDEN, *(MOVING_SLOTS if frames == 1 else ()))
        caption = describe(shot, "descriptive", seed=index, hidden=untold)
        clips.append((render_shot(shot, width, height, FPS, num_frames=frames), caption))
    return clips


def encode_clips(clips: Sequence[tuple[np.ndarray, str]], codec: Codec) -> DrawnData:
    samples = []
    for index, (frames, caption) in enumerate(clips):
        height, width = frames.shape[1:3]
        samples.append(
            Sample(
                sample_id=f"drawn-{index}",
                clip_id=f"drawn-{index}",
                latent=codec.encode(to_video(frames))[0],
                logvar=None,
                fps=FPS,
                native_size=(height, width),
                crop=(0, 0, height, width),
                captions={"descriptive": caption},
                scores={},
            )
        )
    return DrawnData(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU minutes of training for each seed")
    parser.add_argument("--steps", type=int, help="a number of steps instead of minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=8000)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--channels", type=int, default=48, help="of the linear codec")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--sampling", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)

    began = time.process_time()
    clips = draw_clips(arguments.clips, seed=0)
    codec = fit_pca([to_video(frames) for frames, _ in clips[:1000]], stride=STRIDE, z_dim=arguments.channels)
    data = encode_clips(clips, codec)
    held_back = max(len(data) // 50, 16)
    train_data, val_data = DrawnData(data.samples[held_back:]), DrawnData(data.samples[:held_back])
    print(f"drew and encoded {len(data)} clips in {time.process_time() - began:.0f} CPU-s", flush=True)

    tree = with_overrides(to_tree(tiny()), arguments.overrides)
    sampling = build(SampleConfig, with_overrides({}, arguments.sampling))
    curves = []
    for seed in arguments.seeds:
        config = replace(build(TrainConfig, tree), seed=seed)
        curves.append(run_seed(config, train_data, val_data, codec, sampling, arguments))
        (arguments.out / "curve.json").write_text(json.dumps(curves, indent=1))
    plot(curves, arguments.out / "curve.png")


def run_seed(
    config: TrainConfig, data: DrawnData, val_data: DrawnData, codec: Codec, sampling: SampleConfig,
    arguments: argparse.Namespace,
) -> dict[str, Any]:  # fmt: skip
    """Train one seed and judge it on the way."""
    vocabulary = learn_vocabulary(sample.captions["descriptive"] for sample in data.samples)

    def make_trainer(steps: int) -> Trainer:
        torch.manual_seed(config.seed)
        text = TinyTextEncoder(config.data.text_encoder, vocabulary)
        full = completed(replace(config, steps=steps), latent_channels=codec.z_dim, text_dim=text.dim)
        return Trainer(data, text, full, arguments.out / "run", stride=STRIDE[0], val_data=val_data)

    steps = arguments.steps or round(60 * arguments.minutes / seconds_per_step(make_trainer(100)))
    trainer = make_trainer(steps)
    questions = drawn_questions(arguments.prompts, sizes=SIZES, frames=(9, 17, 5, 9), fps=FPS, hidden=HIDDEN)
    studio = Studio(trainer.model, codec, sampling, {})
    points, spent, flops, samples = [], 0.0, 0.0, 0
    marks = {max(round(mark * steps), 1) for mark in MARKS}
    stream = trainer.batches.start(None)
    while trainer.step < steps:
        began = time.process_time()
        outcome = trainer.update(next(stream))
        spent += time.process_time() - began
        flops += outcome["flops"]
        samples += outcome["samples"]
        if trainer.step not in marks:
            continue
        loss = trainer.validate()
        with trainer.averaged(trainer.emas[0]):
            facts = attribute_accuracy(studio, questions)
        point = {
            "step": trainer.step,
            "cpu_s": round(spent, 1),
            "operations": flops,
            "samples": samples,
            "held_out_loss": loss["loss"],
            "text_gain_at": loss["text_gain_at"],
            "facts": {name: entry["share"] for name, entry in facts.items()},
        }
        points.append(point)
        shown = "  ".join(f"{name} {share:.2f}" for name, share in point["facts"].items())
        print(
            f"seed {config.seed}  step {trainer.step:>6}  {spent:>6.0f} CPU-s  loss {loss['loss']:.4f}  {shown}",
            flush=True,
        )
    with trainer.averaged(trainer.emas[0]):
        show(studio, questions[:12], arguments.out / f"seed-{config.seed}.png")
    return {
        "seed": config.seed, "parameters": trainer.num_parameters, "prompts": arguments.prompts, "points": points,
        "config": to_tree(trainer.config), "sampling": to_tree(sampling), "torch": torch.__version__,
    }  # fmt: skip


def seconds_per_step(trainer: Trainer) -> float:
    stream = trainer.batches.start(None)
    for _ in range(3):
        trainer.update(next(stream))
    began = time.process_time()
    for _ in range(12):
        trainer.update(next(stream))
    return (time.process_time() - began) / 12


def show(studio: Studio, questions: Sequence[Any], path: Path) -> None:
    """A row of frames for each prompt, the prompts beside it as text."""
    rows = []
    for question, video in zip(questions, studio.draw([q.canvas for q in questions]), strict=True):
        chosen = video[np.linspace(0, len(video) - 1, 6).round().astype(int)]
        framed = np.full((6, 48, 48, 3), 255, np.uint8)
        height, width = video.shape[1:3]
        top, left = (48 - height) // 2, (48 - width) // 2
        framed[:, top : top + height, left : left + width] = chosen
        rows.append(framed)
        print(f"  {question.canvas.prompt}  ->  {question.judge(video)}", flush=True)
    write_pictures(path, [contact_sheet(np.concatenate(rows))[None]], fps=1)


def plot(curves: Sequence[dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    names = list(curves[0]["points"][-1]["facts"])
    for color, name in zip(pyplot.colormaps["tab10"].colors, names, strict=False):  # type: ignore[attr-defined]
        for number, curve in enumerate(curves):
            minutes = [point["cpu_s"] / 60 for point in curve["points"]]
            shares = [point["facts"][name] for point in curve["points"]]
            axes.plot(minutes, shares, color=color, marker="o", ms=3, lw=1, label=name if number == 0 else None)
    axes.set(xlabel="CPU minutes of training", ylabel="share of held-out prompts shown", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
