"""What a small transformer learns from each codec: equal latent size, steps and compute, only the codec differs.

python -m benchmarks.codec --runs runs/codecs --only 4x8x8z16                                       makes the codecs
python -m benchmarks.codec_learning --codecs runs/codecs/drawn-4x8x8z16-w32-1500 --out runs/learn --steps 1000

Trains the tiny preset on drawn clips through the linear and the trained codec of a run, from the same seeds, and asks a
judge which facts the samples show, on combinations that were never trained on. Times are CPU time of one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.codec import FPS, SIZES, DrawnFootage
from curate.drawn.describe import describe
from curate.drawn.shot import MOVING_SLOTS, TINY_UNTOLD
from model.codec.files import load_codec
from model.codec.units import UnitCodec
from model.codec_train import LINEAR_NAME
from model.dataset import Sample
from model.evaluate import attribute_accuracy, drawn_questions
from model.examples import MemoryData
from model.frame_bank import whole_video
from model.sample import SampleConfig
from model.studio import Studio
from model.text.tiny import TinyTextConfig, TinyTextEncoder
from model.text.vocabulary import learn_vocabulary
from model.train import Trainer
from model.train_config import TrainConfig, completed, tiny


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--codecs", type=Path, required=True, help="a run of benchmarks.codec: both codecs are in it")
    parser.add_argument("--out", type=Path, required=True, help="folder of the training runs")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--clips", type=int, default=4000)
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--json", type=Path, help="write the figures there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    footage = DrawnFootage("learning", options.clips, held_out=False)
    rows = []
    for seed in options.seeds:
        for name, file in (("linear", options.codecs / LINEAR_NAME), ("trained", options.codecs)):
            codec = load_codec(file)
            assert isinstance(codec, UnitCodec)
            config = replace(tiny(), steps=options.steps, seed=seed, checkpoint_every=options.steps)
            row = learn(codec, footage, config, options.out / f"{name}-{seed}", options.prompts)
            rows.append({"codec": name, "seed": seed, **row})
            print(json.dumps(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def learn(codec: UnitCodec, footage: DrawnFootage, config: TrainConfig, out: Path, prompts: int) -> dict[str, Any]:
    """Train on the footage through a codec; the share of facts that samples show, and the CPU seconds of training."""
    samples = [_sample(codec, footage, index) for index in range(len(footage))]
    torch.manual_seed(config.seed)
    words = learn_vocabulary(sample.captions["descriptive"] for sample in samples)
    text = TinyTextEncoder(TinyTextConfig(), words)
    config = completed(config, latent_channels=codec.z_dim, text_dim=text.dim)
    trainer = Trainer(MemoryData(samples), text, config, out, stride=codec.stride[0])
    start = time.process_time()
    trainer.run()
    spent = time.process_time() - start
    sizes = [(height, width) for width, height in SIZES]
    questions = drawn_questions(prompts, sizes=sizes, frames=(9, 17), fps=FPS, hidden=TINY_UNTOLD)
    with trainer.averaged(trainer.emas[0]), torch.no_grad():
        found = attribute_accuracy(Studio(trainer.model, codec, SampleConfig(steps=20), {}), questions)
    return {"cpu_s": round(spent), **{name: round(answer["share"], 3) for name, answer in found.items()}}


def _sample(codec: UnitCodec, footage: DrawnFootage, index: int) -> Sample:
    video = whole_video(footage[index], codec.stride)
    untold = (*TINY_UNTOLD, *(MOVING_SLOTS if video.shape[2] == 1 else ()))
    mean, logvar = codec.moments(video)
    size = (video.shape[3], video.shape[4])
    return Sample(
        sample_id=str(index),
        clip_id=str(index),
        latent=mean[0],
        logvar=None if logvar is None else logvar[0],
        fps=FPS,
        native_size=size,
        crop=(0, 0, *size),
        captions={"descriptive": describe(footage.shots[index], "descriptive", seed=index, hidden=untold)},
        scores={},
    )


if __name__ == "__main__":
    main()
