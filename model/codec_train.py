"""Training of the codec: fit the linear one, then let the autoencoder learn what it misses.

footage ──▶ principal components (seconds) ──▶ start of the autoencoder ──▶ steps on mixed batches ──▶ statistics

RUN/codec.safetensors      the codec, with statistics of its latents
RUN/linear.safetensors     the linear codec of equal latent size: its floor
RUN/training.safetensors   what goes on when the run is called again; a run that is killed loses little
RUN/codec.json             what was measured, on footage that was not trained on
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from curate.config import nearest, to_toml
from curate.counter_random import generator
from curate.errors import ConfigError, DatasetError
from model.codec.base import RunningStats
from model.codec.files import FILE_NAME, load_codec, save_codec
from model.codec.pca import PCACodec, fit_pca
from model.codec.units import UnitCodec
from model.codec.vae import CausalVAE, VAEConfig
from model.device import autocast, pick_device
from model.frame_bank import BatchConfig, Footage, FrameBank, whole_video
from model.windows import WindowConfig

LINEAR_NAME = "linear.safetensors"
_STATE_NAME = "training.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecTrainConfig:
    """How a codec is trained."""

    kind: Literal["vae", "pca"] = "vae"
    """The autoencoder, or the linear codec alone, which takes seconds."""
    vae: VAEConfig = field(default_factory=VAEConfig)
    """Size of the codec; `stride` and `z_dim` hold for the linear one, too."""
    batches: BatchConfig = field(default_factory=BatchConfig)
    windows: WindowConfig = field(default_factory=lambda: WindowConfig(max_area_px=256 * 256, max_frames=33))
    """What is taken of the clips of a dataset."""
    steps: int = 4000
    lr: float = 2e-3
    """Peak rate of AdamW, for all but matrices."""
    muon_lr: float = 0.02
    """Peak rate of Muon, for matrices. It learns in 300 steps what AdamW alone learns in 500."""
    warmup_steps: int = 50
    cooldown_share: float = 0.4
    """Share of the steps, at the end, over which the rate falls to zero."""
    edge_weight: float = 0.25
    """Weight of the squared error of differences between neighbouring pixels, beside that of the pixels."""
    kl_weight: float = 1e-6
    """Weight of the pull of latents towards a standard normal distribution."""
    latent_noise: float = 0.5
    """Most noise, in deviations of all latents, that the decoder learns to see through; each clip gets from none to
    this. It makes room for what a sampler gets wrong, and gives the most variance to what matters most."""
    per_channel: bool = False
    """Whether latents are normalised channel by channel, and not by one deviation for all."""
    save_every_steps: int = 500
    device: str = "auto"
    """Where it trains: cpu, cuda, or auto for a GPU where there is one."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Number format of the convolutions; bf16 is for GPUs."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.save_every_steps < 1 or self.warmup_steps < 0:
            raise ValueError("steps and save_every_steps must be at least 1, warmup_steps at least 0")
        if not self.latent_noise >= 0 or not math.isfinite(self.latent_noise):
            raise ValueError(f"latent_noise is a share of the latents' deviation, from 0 up, got {self.latent_noise}")
        if not 0 <= self.cooldown_share <= 1:
            raise ValueError(f"cooldown_share is a share of the steps, from 0 to 1, got {self.cooldown_share}")


def codec_preset(name: str) -> CodecTrainConfig:
    """A size of codec: tiny, small or base. Raises ConfigError for another name.

    tiny    1M parameters; 30 CPU-minutes for footage of about 64 pixels
    small   8M; a GPU-hour for footage of up to 256 pixels
    base    60M; GPU-days for real footage
    """
    if name == "tiny":
        return CodecTrainConfig()
    if name == "small":
        batches = BatchConfig(batch_pixels=8 * 17 * 128 * 128, crops_px=(64, 128), bank_windows=1024)
        vae = VAEConfig(width=64, blocks=2, decoder_blocks=3)
        return CodecTrainConfig(vae=vae, batches=batches, steps=40_000, lr=5e-4, warmup_steps=500)
    if name == "base":
        batches = BatchConfig(batch_pixels=8 * 17 * 256 * 256, crops_px=(128, 256), bank_windows=4096)
        vae = VAEConfig(width=128, blocks=3, decoder_blocks=5)
        windows = WindowConfig(max_area_px=512 * 512, max_frames=33)
        return CodecTrainConfig(vae=vae, batches=batches, windows=windows, steps=200_000, lr=3e-4, warmup_steps=2000)
    raise ConfigError(f"no codec preset {name!r}; {nearest(name, ('tiny', 'small', 'base'))}")


@dataclass(frozen=True, slots=True)
class Step:
    """What is told about a step while training goes on."""

    step: int
    steps: int
    loss: float
    psnr_db: float  # of the batch


def train_codec(
    footage: Footage,
    held_out: Footage,
    config: CodecTrainConfig,
    out: str | Path,
    *,
    on_step: Callable[[Step], None] | None = None,
) -> dict[str, Any]:
    """Train a codec into the folder `out`, going on where an earlier call stopped; return what was measured.

    Raises ConfigError when the folder holds a run with other settings, and DatasetError when no footage can be used.
    """
    out = Path(out)
    _claim(out, config)
    if (out / FILE_NAME).is_file() and (out / "codec.json").is_file():
        return json.loads((out / "codec.json").read_text())
    bank = FrameBank(footage, config.batches, config.vae.stride, seed=config.seed)
    began = time.process_time()
    pca = _linear(bank, config, out)
    codec: UnitCodec = pca
    if config.kind == "vae":
        codec = _train(bank, pca, config, out, on_step)
        stats = RunningStats(codec.z_dim)
        for video in _videos(bank):
            stats.add(codec.encode(video.to(codec.latent_mean.device)))
        codec.set_stats(stats.result(per_channel=config.per_channel))
    measured = {
        "codec": measure(codec, held_out),
        "linear": measure(pca, held_out),
        "fingerprint": codec.fingerprint(),
        "parameters": sum(parameter.numel() for parameter in codec.parameters()),
        "windows": len(footage),
        "unreadable": bank.unreadable,
        "cpu_s": round(time.process_time() - began, 1),
    }
    save_codec(codec, out / FILE_NAME)
    (out / "codec.json").write_text(json.dumps(measured, indent=1))
    return measured


def measure(codec: UnitCodec, footage: Footage) -> dict[str, float]:
    """Mean PSNR in dB over windows, of all frames and of first frames alone, and the number of windows."""
    totals = []
    for index in range(len(footage)):
        video = whole_video(footage[index], codec.stride).to(codec.latent_mean.device)
        error = (codec.decode(codec.encode(video)) - video).square()
        totals.append([_psnr(error.mean().item()), _psnr(error[:, :, :1].mean().item())])
    if not totals:
        raise DatasetError("no held-out footage to measure the codec on")
    every, first = np.mean(totals, 0)
    return {"psnr_db": round(float(every), 3), "first_frame_psnr_db": round(float(first), 3), "windows": len(totals)}


def reconstruction_loss(found: Tensor, video: Tensor, edge_weight: float) -> Tensor:
    """Squared error of pixels, and of their differences along rows and columns."""
    error = found - video
    loss = error.square().mean()
    if edge_weight:
        loss = loss + edge_weight * (error.diff(dim=-1).square().mean() + error.diff(dim=-2).square().mean())
    return loss


def _train(
    bank: FrameBank, pca: PCACodec, config: CodecTrainConfig, out: Path, on_step: Callable[[Step], None] | None
) -> CausalVAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        codec = CausalVAE(config.vae)
    codec.start_from(pca)
    device = pick_device(config.device)
    codec.to(device)
    named = {name: parameter for name, parameter in codec.named_parameters() if parameter.requires_grad}
    matrices = codec.matrices()
    others = [parameter for parameter in named.values() if all(parameter is not matrix for matrix in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=0.01),
        torch.optim.AdamW(others, lr=config.lr, betas=(0.9, 0.99), weight_decay=0.01),
    ]
    start = _resume(out, optimizers, named)
    codec.train()
    for step in range(start, config.steps):
        for optimizer, rate in zip(optimizers, (config.muon_lr, config.lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * _schedule(step, config)
        video = bank.batch(step).to(device)
        with autocast(config.precision, device):
            mean, logvar, _ = codec.latent(video)
            found, _ = codec.reconstruct(_noisy(mean, logvar, config, step))
        mean, logvar, found = mean.float(), logvar.float(), found.float()
        # Kingma and Welling 2013, appendix B.
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
        loss = reconstruction_loss(found, video, config.edge_weight) + config.kl_weight * kl
        codec.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
        if not torch.isfinite(norm):
            raise DatasetError(
                f"step {step}: the gradient of the codec is not finite; try a smaller lr than {config.lr}"
            )
        for optimizer in optimizers:
            optimizer.step()
        if on_step is not None:
            on_step(Step(step + 1, config.steps, loss.item(), _psnr((found - video).square().mean().item())))
        if (step + 1) % config.save_every_steps == 0 or step + 1 == config.steps:
            _save(out, step + 1, optimizers, named)
    return codec.eval().requires_grad_(False)


def _noisy(mean: Tensor, logvar: Tensor, config: CodecTrainConfig, step: int) -> Tensor:
    """A draw of the latents, with noise of a strength of its own for each clip."""
    random = generator(config.seed, "codec noise", step)
    strength = torch.from_numpy(random.random((len(mean), 1, 1, 1, 1), np.float32)) * config.latent_noise
    noise = torch.from_numpy(random.standard_normal(tuple(mean.shape), np.float32)).to(mean.device)
    # In shares of the deviation as it is: making all latents larger must not help against it.
    variance = (strength.to(mean.device) * mean.square().mean().sqrt()) ** 2
    return mean + (variance + logvar.exp()).sqrt() * noise


def _linear(bank: FrameBank, config: CodecTrainConfig, out: Path) -> PCACodec:
    if (out / LINEAR_NAME).is_file():
        codec = load_codec(out / LINEAR_NAME)
        assert isinstance(codec, PCACodec)
        return codec
    codec = fit_pca(_videos(bank), stride=config.vae.stride, z_dim=config.vae.z_dim, balance=0.5)
    save_codec(codec, out / LINEAR_NAME)
    return codec


def _videos(bank: FrameBank) -> Iterator[Tensor]:
    return (whole_video(window, bank.stride) for window in bank.windows(0))


def _schedule(step: int, config: CodecTrainConfig) -> float:
    rise = min(1.0, (step + 1) / max(1, config.warmup_steps))
    fall = (config.steps - step) / max(1.0, config.cooldown_share * config.steps)
    return rise * min(1.0, fall)


def _claim(out: Path, config: CodecTrainConfig) -> None:
    """Make the run folder, or check that it is a run with these settings."""
    text = to_toml(config)
    file = out / "config.toml"
    if file.is_file() and file.read_text() != text:
        raise ConfigError(f"{out}: holds a codec run with other settings; choose another folder or remove it")
    if not file.is_file() and (out / FILE_NAME).is_file():
        raise ConfigError(f"{out}: holds a codec that no run made; choose another folder")
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _save(out: Path, step: int, optimizers: list[torch.optim.Optimizer], named: dict[str, torch.nn.Parameter]) -> None:
    from safetensors.torch import save_file

    tensors = {f"weight/{name}": parameter.detach() for name, parameter in named.items()}
    for name, parameter in named.items():
        for optimizer in optimizers:
            tensors |= {f"{key}/{name}": value for key, value in optimizer.state.get(parameter, {}).items()}
    partial = out / f".{_STATE_NAME}.{os.getpid()}.partial"
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"step": str(step)})
    os.replace(partial, out / _STATE_NAME)


@torch.no_grad()
def _resume(out: Path, optimizers: list[torch.optim.Optimizer], named: dict[str, torch.nn.Parameter]) -> int:
    """Take up the state of an earlier call, if there is one; return the first step to do."""
    from safetensors import safe_open

    if not (out / _STATE_NAME).is_file():
        return 0
    with safe_open(out / _STATE_NAME, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
        metadata = opened.metadata()
    owner = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for key, tensor in tensors.items():
        kind, _, name = key.partition("/")
        if kind == "weight":
            named[name].copy_(tensor)
        else:
            owner[named[name]].state[named[name]][kind] = tensor
    return int(metadata["step"])


def _psnr(mean_square: float) -> float:
    return -10 * math.log10(max(mean_square, 1e-12) / 4)  # values span 2
