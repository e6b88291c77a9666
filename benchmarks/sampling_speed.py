"""How long a video takes: every request of a list with a preset's shape and random weights, alone and together.

    python -m benchmarks.sampling_speed --preset base --json benchmarks/results/base-sampling.json

Weights do not change the time. Requests are decoded by the linear codec, which costs next to nothing; a trained one
adds its own time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.training_speed import CAPTION, CHANNELS, device_name, finish
from curate.config import build, with_overrides
from model.canvas import Canvas, Layout
from model.codec.pca import PCACodec
from model.dit import PRESETS, DiT
from model.flow import FlowConfig
from model.sample import SampleConfig
from model.studio import Studio
from model.text.tiny import TinyTextConfig, TinyTextEncoder
from model.text.vocabulary import learn_vocabulary
from model.video_model import VideoModel

FPS = 16.0
REQUESTS = {
    "image 1920x1080": (1, 1080, 1920),
    "image 1080x1920": (1, 1920, 1080),
    "49 frames 384x384": (49, 384, 384),
    "81 frames 832x480": (81, 480, 832),
    "17 frames 1920x1080": (17, 1080, 1920),
}
"""Frames, height, width."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=sorted(PRESETS), default="base")
    parser.add_argument("--requests", nargs="+", choices=list(REQUESTS), default=list(REQUESTS))
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="KEY=VALUE", help="of sampling")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    config = build(SampleConfig, with_overrides({}, arguments.overrides))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    studio = random_studio(arguments.preset, config, device)
    requests = {name: REQUESTS[name] for name in arguments.requests}
    rows = [measure(studio, name, [canvas(*shape)], device) for name, shape in requests.items()]
    rows.append(measure(studio, "all of them in one batch", [canvas(*shape) for shape in requests.values()], device))
    print(f"{arguments.preset}, {config.steps} steps, guidance {config.guidance:g}, on {device_name(device)}")
    for row in rows:
        print(
            f"  {row['request']:26} {row['tokens']:>7} tokens  {row['seconds']:>7.2f} s  "
            f"{row['memory_bytes'] / 2**30:>5.1f} GiB"
        )
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        figures = {"preset": arguments.preset, "device": device_name(device), "torch": torch.__version__, "rows": rows}
        arguments.json.write_text(json.dumps(figures, indent=1))


def random_studio(preset: str, config: SampleConfig, device: torch.device) -> Studio:
    text = TinyTextEncoder(TinyTextConfig(), learn_vocabulary([CAPTION], min_count=1))
    shape = replace(PRESETS[preset](), latent_channels=CHANNELS, text_dim=text.dim)
    torch.manual_seed(0)
    model = VideoModel(DiT(shape), text, FlowConfig(shift=3.0, base_tokens=4096)).to(device).eval()
    codec = PCACodec(stride=(4, 8, 8), z_dim=CHANNELS).to(device)
    return Studio(model, codec, config, {})


def canvas(frames: int, height: int, width: int) -> Canvas:
    return Canvas(frames=frames, height=height, width=width, fps=FPS, prompt=CAPTION)


def measure(studio: Studio, name: str, canvases: Sequence[Canvas], device: torch.device) -> dict[str, Any]:
    """Seconds of the second time: in the first, kernels are chosen and memory is taken."""
    for _ in range(2):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        finish(device)
        began = time.perf_counter()
        studio.draw(canvases)
        finish(device)
        seconds = time.perf_counter() - began
    return {
        "request": name,
        "tokens": sum(Layout.of(each, studio.codec.stride, studio.patch).grid.num_tokens for each in canvases),
        "seconds": seconds,
        "memory_bytes": torch.cuda.max_memory_allocated() if device.type == "cuda" else 0,
    }


if __name__ == "__main__":
    main()
