"""Does the tiny preset learn? Drawn footage of mixed sizes, and prompts whose combinations were never trained on.

    python -m benchmarks.learning --out learning --minutes 10 --seeds 0 1 2
    python -m benchmarks.learning --out learning --minutes 60 --seeds 0
    python -m benchmarks.learning --out learning --figures docs/images

Draws clips of the tiny world (6 colours, 3 backgrounds, 3 shapes, 2 sizes, 5 motions; images and videos of four
sizes), fits the linear codec, and trains `model.train_config.tiny` for so many minutes of CPU time per seed. On the way
it samples held-out prompts with the averaged weights, and the closed-form judge says which facts the videos show.
Run again, it goes on where it was stopped.

    OUT/MINUTES-min-seed-N/            the run: `reelwright sample` makes videos from it
    OUT/MINUTES-min-seed-N/curve.json  accuracy over CPU time
    FIGURES/learning.png, samples.png  all curves under OUT; samples of the longest run; prints a table
"""

from __future__ import annotations

import argparse
import json
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.config import build, to_toml, to_tree, with_overrides
from curate.counter_random import generator
from curate.drawn.describe import describe
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shot import MOVING_SLOTS, TINY_UNTOLD, tiny_world
from model.codec.files import load_codec, save_codec
from model.codec.pca import fit_pca
from model.codec.units import UnitCodec
from model.dataset import Sample
from model.evaluate import Question, attribute_accuracy, drawn_questions
from model.examples import MemoryData
from model.pixels import to_video
from model.run import load_studio
from model.sample import SampleConfig
from model.studio import Studio
from model.text.tiny import TinyTextEncoder
from model.text.vocabulary import learn_vocabulary
from model.train import Trainer
from model.train_config import DataConfig, TrainConfig, completed, tiny

FPS = 8.0
SIZES = ((32, 32), (24, 40), (40, 24), (32, 48))
FRAMES, FRAME_SHARES = (1, 9, 17), (0.3, 0.4, 0.3)
USUAL = {"frames": 17, "height": 32, "width": 48, "fps": FPS}
MARKS = (0.1, 0.25, 0.5, 0.75, 1.0)
"""Shares of a run after which it is judged."""


def draw_clips(num: int, seed: int) -> list[tuple[np.ndarray, str]]:
    """Frames and captions of clips; none shows a combination that is held out."""
    clips = []
    for index in range(num):
        random = generator(seed, "learning", index)
        height, width = SIZES[random.integers(len(SIZES))]
        frames = int(random.choice(FRAMES, p=FRAME_SHARES))
        shot = sample_shot(random, tiny_world(), duration_s=max((frames - 1) / FPS, 0.5))
        untold = (*TINY_UNTOLD, *(MOVING_SLOTS if frames == 1 else ()))
        caption = describe(shot, "descriptive", seed=index, hidden=untold)
        clips.append((render_shot(shot, width, height, FPS, num_frames=frames), caption))
    return clips


def fit_codec(clips: Sequence[tuple[np.ndarray, str]], config: DataConfig) -> UnitCodec:
    videos = [to_video(frames) for frames, _ in clips[:1000]]
    return fit_pca(videos, stride=config.linear_stride, z_dim=config.linear_z_dim, balance=config.linear_balance)


def encode_clips(clips: Sequence[tuple[np.ndarray, str]], codec: UnitCodec) -> MemoryData:
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
    return MemoryData(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10.0, help="CPU minutes of training for each seed")
    parser.add_argument("--steps", type=int, help="a number of steps instead of minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=8000)
    parser.add_argument("--codec", type=Path, help="a run of train-codec instead of the linear codec")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE")
    parser.add_argument("--sampling", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--figures", type=Path, help="draw curves and samples of what is under OUT, into this folder")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sampling = build(SampleConfig, with_overrides({}, arguments.sampling))
    if arguments.figures is not None:
        draw_figures(arguments.out, sampling, arguments.figures)
        return
    config = build(TrainConfig, with_overrides(to_tree(tiny()), arguments.overrides))

    began = time.process_time()
    clips = draw_clips(arguments.clips, seed=0)
    codec = fit_codec(clips, config.data) if arguments.codec is None else load_codec(arguments.codec)
    assert isinstance(codec, UnitCodec)
    data = encode_clips(clips, codec)
    held_back = max(len(data) // 50, 16)
    print(f"drew and encoded {len(data)} clips in {time.process_time() - began:.0f} CPU-s", flush=True)
    for seed in arguments.seeds:
        name = f"{arguments.minutes:g}-min-seed-{seed}"
        run = LearningRun(replace(config, seed=seed), data, held_back, codec, sampling, arguments.out / name)
        run.go(arguments.minutes, arguments.steps, arguments.prompts)


class LearningRun:
    """One seed, in a run folder of its own."""

    def __init__(
        self, config: TrainConfig, data: MemoryData, held_back: int, codec: UnitCodec, sampling: SampleConfig, out: Path
    ) -> None:
        self.config, self.data, self.held_back = config, data, held_back
        self.codec, self.sampling, self.out = codec, sampling, out
        self.vocabulary = learn_vocabulary(sample.captions["descriptive"] for sample in data.samples)

    def go(self, minutes: float, steps: int | None, num_prompts: int) -> None:
        """Train to the end, from where it was stopped, and judge on the way."""
        curve_file = self.out / "curve.json"
        curve = json.loads(curve_file.read_text()) if curve_file.exists() else None
        if curve is None:
            steps = steps or round(60 * minutes / seconds_per_step(self._trainer(100)))
            curve = {"seed": self.config.seed, "minutes": minutes, "steps": steps, "points": []}
        trainer = self._trainer(curve["steps"])
        if not trainer.resume():
            self._store_parts(trainer)
        (self.out / "config.toml").write_text(to_toml(trainer.config), encoding="utf-8")
        questions = drawn_questions(num_prompts, sizes=SIZES, frames=(9, 17), fps=FPS, hidden=TINY_UNTOLD)
        marks = {max(round(mark * curve["steps"]), 1) for mark in MARKS}
        stream = trainer.batches.start(trainer.cursor)
        while trainer.step < curve["steps"]:
            began = time.process_time()
            step = next(stream)
            trainer.update(step)
            trainer.cursor = step.cursor
            trainer.counts["cpu_s"] += time.process_time() - began
            if trainer.step in marks:
                curve["points"].append(self._judge(trainer, questions))
            if trainer.step in marks or trainer.step % trainer.config.checkpoint_every == 0:
                trainer.save()
                curve |= {
                    "parameters": trainer.num_parameters, "prompts": num_prompts, "clips": len(self.data),
                    "config": to_tree(trainer.config), "sampling": to_tree(self.sampling), "torch": torch.__version__,
                }  # fmt: skip
                curve_file.write_text(json.dumps(curve, indent=1))

    def _trainer(self, steps: int) -> Trainer:
        torch.manual_seed(self.config.seed)
        text = TinyTextEncoder(self.config.data.text_encoder, self.vocabulary)
        config = completed(replace(self.config, steps=steps), latent_channels=self.codec.z_dim, text_dim=text.dim)
        train, held_out = (
            MemoryData(self.data.samples[self.held_back :]),
            MemoryData(self.data.samples[: self.held_back]),
        )
        made_of = {"source": "benchmarks.learning", "codec": self.codec.fingerprint(), "text": None, "usual": USUAL}
        return Trainer(
            train, text, config, self.out, stride=self.codec.stride[0], val_data=held_out, provenance=made_of
        )

    def _store_parts(self, trainer: Trainer) -> None:
        """What a run folder holds beside its checkpoints."""
        self.out.mkdir(parents=True, exist_ok=True)
        save_codec(self.codec, self.out)
        text = trainer.model.text
        assert isinstance(text, TinyTextEncoder)
        (self.out / "text.json").write_text(json.dumps({"built_in": text.config_tree()}, indent=1))

    def _judge(self, trainer: Trainer, questions: Sequence[Question]) -> dict[str, Any]:
        loss = trainer.validate()
        with trainer.averaged(trainer.emas[0]):
            facts = attribute_accuracy(Studio(trainer.model, self.codec, self.sampling, {}), questions)
        shares = {name: entry["share"] for name, entry in facts.items()}
        cpu_s = trainer.counts["cpu_s"]
        shown = "  ".join(f"{name} {share:.2f}" for name, share in shares.items())
        head = f"seed {self.config.seed}  step {trainer.step:>6}  {cpu_s:>6.0f} CPU-s  loss {loss['loss']:.4f}"
        print(f"{head}  {shown}", flush=True)
        return {
            "step": trainer.step,
            "cpu_s": round(cpu_s, 1),
            "operations": trainer.counts["flops"],
            "samples": trainer.counts["samples"],
            "held_out_loss": loss["loss"],
            "held_out_loss_at": loss["loss_at"],
            "text_gain_at": loss["text_gain_at"],
            "facts": shares,
        }


def seconds_per_step(trainer: Trainer) -> float:
    stream = trainer.batches.start(None)
    for _ in range(3):
        trainer.update(next(stream))
    began = time.process_time()
    for _ in range(12):
        trainer.update(next(stream))
    return (time.process_time() - began) / 12


# Figures


def draw_figures(out: Path, sampling: SampleConfig, figures: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    curves = [json.loads(file.read_text()) for file in sorted(out.glob("*/curve.json"))]
    figures.mkdir(parents=True, exist_ok=True)
    plot(curves, figures / "learning.png")
    print(table(curves))
    longest = max(curves, key=lambda curve: curve["minutes"])
    studio = load_studio(out / f"{longest['minutes']:g}-min-seed-{longest['seed']}", config=sampling)
    questions = drawn_questions(12, sizes=SIZES, frames=(9, 17), fps=FPS, hidden=TINY_UNTOLD, seed=1)
    show(studio, questions, figures / "samples.png")


def table(curves: Sequence[dict[str, Any]]) -> str:
    """A row for each time that a run was judged."""
    names = list(curves[0]["points"][-1]["facts"])
    heads = ["seed", "steps in all", "step", "CPU min", "clips seen", "operations", "held-out loss", *names]
    rows = [heads, ["---"] * len(heads)]
    for curve in curves:
        for point in curve["points"]:
            spent = [f"{point['cpu_s'] / 60:.1f}", f"{point['samples']:,.0f}", f"{point['operations']:.2g}"]
            shares = [f"{point['facts'][name]:.2f}" for name in names]
            place = [str(curve["seed"]), str(curve["steps"]), str(point["step"])]
            rows.append([*place, *spent, f"{point['held_out_loss']:.3f}", *shares])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def plot(curves: Sequence[dict[str, Any]], path: Path) -> None:
    """A panel for each length of run, a colour for each fact, a line for each seed."""
    from matplotlib import pyplot

    lengths = sorted({curve["minutes"] for curve in curves})
    figure, panels = pyplot.subplots(1, len(lengths), figsize=(5.2 * len(lengths), 4), sharey=True, squeeze=False)
    for minutes, axes in zip(lengths, panels[0], strict=True):
        some = [curve for curve in curves if curve["minutes"] == minutes and curve["points"]]
        for index, name in enumerate(some[0]["points"][-1]["facts"]):
            color = "black" if name == "all" else f"C{index}"
            for number, curve in enumerate(some):
                x = [point["cpu_s"] / 60 for point in curve["points"]]
                y = [point["facts"][name] for point in curve["points"]]
                axes.plot(x, y, color=color, marker="o", ms=3, lw=1.2, label=None if number else name)
        seeds = ", ".join(str(curve["seed"]) for curve in some)
        axes.set(
            xlabel="CPU minutes of training (one core)", ylim=(0, 1.02), title=f"{minutes:g} minutes, seed {seeds}"
        )
        axes.grid(alpha=0.3)
    panels[0][0].set_ylabel("share of held-out prompts whose video shows it")
    panels[0][-1].legend(loc="center right", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def show(studio: Studio, questions: Sequence[Question], path: Path) -> None:
    """A row for each prompt: the prompt, frames of its video over time, and what the judge misses in it."""
    from matplotlib import pyplot

    columns = 5
    figure, rows = pyplot.subplots(
        len(questions), columns + 1, figsize=(8.6, 0.92 * len(questions)), width_ratios=[3.4] + [1] * columns
    )
    videos = studio.draw([question.canvas for question in questions])
    for row, question, video in zip(rows, questions, videos, strict=True):
        missed = [name.removesuffix("_color") for name, holds in question.judge(video).items() if not holds]
        text = "\n".join(textwrap.wrap(question.canvas.prompt or "", 44))
        verdict = f"not shown: {', '.join(missed)}" if missed else "all facts shown"
        row[0].text(0, 0.62, text, fontsize=7.5, va="center")
        row[0].text(0, 0.08, verdict, fontsize=7, va="center", color="firebrick" if missed else "seagreen")
        for axes, index in zip(row[1:], np.linspace(0, len(video) - 1, columns).round().astype(int), strict=True):
            axes.imshow(video[index], interpolation="nearest")
            for spine in axes.spines.values():
                spine.set(visible=True, color="0.8", lw=0.5)
        for axes in row:
            axes.set(xticks=[], yticks=[])
        row[0].axis("off")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.995, bottom=0.005, hspace=0.08, wspace=0.06)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
