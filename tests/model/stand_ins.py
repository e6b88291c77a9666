"""Small stand-ins for data and models: random latents with captions, and a transformer that runs in milliseconds."""

from __future__ import annotations

import numpy as np
import torch

from curate.counter_random import generator
from model.dataset import Sample
from model.dit import DiT, DiTConfig
from model.examples import MemoryData
from model.flow import FlowConfig
from model.packed import Segment
from model.text.tiny import TinyTextConfig, TinyTextEncoder
from model.text.vocabulary import learn_vocabulary
from model.tokens import Grid
from model.video_model import VideoModel

CHANNELS, STRIDE = 4, 4
CAPTIONS = ("a red ball rolls to the left", "a blue box", "a green ring falls. the sky is grey.", "two cats")
LATENT_SHAPES = ((3, 4, 4), (1, 4, 4), (2, 4, 6), (3, 2, 6), (5, 2, 2))


def make_sample(index: int, shape: tuple[int, int, int] | None = None, *, logvar: bool = False) -> Sample:
    shape = shape or LATENT_SHAPES[index % len(LATENT_SHAPES)]
    random = generator(0, "stand-in", index)
    latent = torch.from_numpy(random.standard_normal((CHANNELS, *shape), dtype=np.float32))
    height_px, width_px = shape[1] * 8, shape[2] * 8
    return Sample(
        sample_id=f"s{index:03d}",
        clip_id=f"c{index:03d}",
        latent=latent,
        logvar=torch.full_like(latent, -2.0) if logvar else None,
        fps=(8.0, 12.0, 24.0)[index % 3],
        native_size=(height_px, width_px),
        crop=(0, 0, height_px, width_px),
        captions={"descriptive": CAPTIONS[index % len(CAPTIONS)], "alt": "IMG 1234"},
        scores={"motion": float(random.random()), "sharpness": None},
    )


def make_data(num_samples: int = 24) -> MemoryData:
    return MemoryData([make_sample(index) for index in range(num_samples)])


def make_text(dim: int = 12) -> TinyTextEncoder:
    torch.manual_seed(1)
    return TinyTextEncoder(TinyTextConfig(dim=dim, layers=1, heads=2), learn_vocabulary(CAPTIONS, min_count=1))


def tiny_config(**changes: object) -> DiTConfig:
    settings = {
        "width": 24, "depth": 2, "heads": 2, "ffn_width": 48,
        "latent_channels": CHANNELS, "text_dim": 12, "frequency_dim": 16,
    }  # fmt: skip
    return DiTConfig(**{**settings, **changes})  # type: ignore[arg-type]


def make_dit(**changes: object) -> DiT:
    """A transformer whose weights are all random, also those that start at zero."""
    torch.manual_seed(2)
    dit = DiT(tiny_config(**changes))
    with torch.no_grad():
        for parameter in dit.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return dit


def make_model(**changes: object) -> VideoModel:
    return VideoModel(make_dit(**changes), make_text(), FlowConfig())


def make_segment(seed: int, shape: tuple[int, int, int], *, values: int = CHANNELS, pinned: int = 0) -> Segment:
    """A segment of noise; its first `pinned` tokens are given."""
    random = torch.Generator().manual_seed(seed)
    grid = Grid(shape=shape, fps=8.0)
    n = grid.num_tokens
    given = torch.arange(n) < pinned
    return Segment(
        x=torch.randn(n, values, generator=random),
        grid=grid,
        times=torch.tensor([0.2 + 0.1 * (seed % 7), 0.0][: 2 if pinned else 1]),
        time_index=given.long(),
        pinned=given,
        text=CAPTIONS[seed % len(CAPTIONS)] if seed % 5 else None,
        conditions={"fps": 3.0, "motion": float(seed)} if seed % 3 else {},
        target=torch.randn(n, values, generator=random),
        weight=1.0 + seed,
        sample_id=f"segment {seed}",
    )
