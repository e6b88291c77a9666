"""Training of a codec: mixed batches by step alone, resumable to the bit, better than the linear floor."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from curate.counter_random import generator
from curate.errors import ConfigError, DatasetError, VideoError
from model.codec.files import load_codec
from model.codec.vae import VAEConfig
from model.codec_train import CodecTrainConfig, _noisy, measure, reconstruction_loss, train_codec
from model.frame_bank import BatchConfig, FrameBank

STRIDE = (4, 8, 8)
PALETTE = np.array([[230, 40, 40], [40, 200, 60], [50, 70, 220], [240, 230, 60]], np.uint8)
SIZES = ((1, 16, 16), (9, 16, 24), (5, 24, 16), (17, 32, 32))


def squares(count: int, seed: int = 0) -> list[np.ndarray]:
    """Windows of several lengths and sizes in which a square of one colour of the palette moves over another."""
    windows = []
    for index in range(count):
        random = generator(seed, "squares", index)
        frames, height, width = SIZES[index % len(SIZES)]
        window = np.empty((frames, height, width, 3), np.uint8)
        ground, color = random.permutation(len(PALETTE))[:2]
        window[:] = PALETTE[ground]
        y, x = random.integers(0, height - 6), random.integers(0, width - 6)
        for frame in range(frames):
            shift = (x + frame) % (width - 6)
            window[frame, y : y + 6, shift : shift + 6] = PALETTE[color]
        windows.append(window)
    return windows


TINY = CodecTrainConfig(
    vae=VAEConfig(stride=STRIDE, z_dim=4, width=8, blocks=1, decoder_blocks=1),
    batches=BatchConfig(batch_pixels=4 * 5 * 16 * 16, frames=(1, 5, 9), crops_px=(16, 24)),
    steps=6,
    warmup_steps=2,
    save_every_steps=3,
)


def test_a_batch_depends_on_seed_and_step_alone():
    footage = squares(12)
    bank, again = (FrameBank(footage, TINY.batches, STRIDE, seed=0) for _ in range(2))
    for _ in range(3):
        again.batch(7)  # whatever was drawn before
    assert torch.equal(bank.batch(2), again.batch(2))
    assert not torch.equal(bank.batch(2), FrameBank(footage, TINY.batches, STRIDE, seed=1).batch(2))


def test_batches_mix_images_and_videos_of_several_sizes_that_all_divide():
    bank = FrameBank(squares(12), TINY.batches, STRIDE, seed=0)
    shapes = {tuple(bank.batch(step).shape[1:]) for step in range(40)}
    assert {frames for _, frames, _, _ in shapes} == {1, 5, 9}
    assert len({(height, width) for _, _, height, width in shapes}) >= 3
    assert all((frames - 1) % 4 == height % 8 == width % 8 == 0 for _, frames, height, width in shapes)
    sizes = [bank.batch(step).numel() / 3 for step in range(40)]
    assert max(sizes) <= 2 * TINY.batches.batch_pixels


def test_a_small_bank_comes_by_all_footage_in_time():
    config = BatchConfig(bank_windows=3, refill_steps=10)
    footage = [np.full((1, 8, 8, 3), index, np.uint8) for index in range(10)]
    bank = FrameBank(footage, config, STRIDE, seed=0)
    seen = [window[0, 0, 0, 0].item() for generation in range(10) for window in bank.windows(generation)]
    assert sorted(seen) == sorted(list(range(10)) * 3)
    assert sorted(seen[:10]) == list(range(10))  # once each before any comes again


def test_broken_windows_are_named_and_passed_over():
    class Broken(list):
        def __getitem__(self, index):
            if index == 1:
                raise VideoError("corrupt", "v1: broken")
            return super().__getitem__(index)

    bank = FrameBank(Broken([*squares(3), np.zeros((3, 4, 4, 3), np.uint8)]), TINY.batches, STRIDE, seed=0)
    assert len(bank.windows(0)) == 2
    assert bank.unreadable == {1: "v1: broken", 3: "a picture of 4x4 px is smaller than a latent cell"}
    with pytest.raises(DatasetError, match="none of 1 windows of footage could be used: a picture of 4x4"):
        FrameBank([np.zeros((3, 4, 4, 3), np.uint8)], TINY.batches, STRIDE, seed=0).batch(0)


def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path):
    footage, held_out = squares(8), squares(3, seed=1)
    whole = train_codec(footage, held_out, TINY, tmp_path / "whole")

    def stop(step):
        if step.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_codec(footage, held_out, TINY, tmp_path / "cut", on_step=stop)
    assert not (tmp_path / "cut" / "codec.safetensors").exists()
    steps = []
    resumed = train_codec(footage, held_out, TINY, tmp_path / "cut", on_step=lambda step: steps.append(step.step))
    assert steps == [4, 5, 6]  # from the last save
    assert resumed["fingerprint"] == whole["fingerprint"]
    again = train_codec(footage, held_out, TINY, tmp_path / "cut", on_step=lambda step: steps.append(step.step))
    assert len(steps) == 3  # done: nothing is trained again
    assert again == json.loads((tmp_path / "cut" / "codec.json").read_text())


def test_noise_on_latents_goes_with_their_size_and_differs_from_clip_to_clip():
    logvar = torch.full((64, 4, 2, 6, 6), -100.0)
    mean = torch.full_like(logvar, 10.0)
    noise = _noisy(mean, logvar, TINY, step=3) - mean
    strengths = noise.flatten(1).std(1) / 10
    assert strengths.max() < TINY.latent_noise * 1.15
    assert strengths.max() > 4 * strengths.min()
    assert torch.allclose(_noisy(100 * mean, logvar, TINY, step=3), 100 * (mean + noise), atol=0.01)
    still = replace(TINY, latent_noise=0.0)
    assert torch.equal(_noisy(mean, logvar, still, step=3), mean)
    assert (_noisy(mean, torch.zeros_like(logvar), still, step=3) - mean).std() == pytest.approx(1, rel=0.05)
    with pytest.raises(ValueError, match="latent_noise is a share of the latents' deviation"):
        replace(TINY, latent_noise=-0.1)


def test_a_folder_of_another_run_is_not_touched(tmp_path):
    train_codec(squares(4), squares(2, seed=1), replace(TINY, kind="pca"), tmp_path)
    before = (tmp_path / "codec.safetensors").read_bytes()
    with pytest.raises(ConfigError, match="other settings"):
        train_codec(squares(4), squares(2, seed=1), TINY, tmp_path)
    assert (tmp_path / "codec.safetensors").read_bytes() == before


def test_the_trained_codec_beats_the_linear_one_of_equal_latent_size(tmp_path):
    vae = VAEConfig(stride=STRIDE, z_dim=2, width=16, blocks=1, decoder_blocks=1)
    batches = replace(TINY.batches, batch_pixels=8 * 5 * 16 * 16)
    config = replace(
        TINY, vae=vae, batches=batches, steps=120, warmup_steps=10, save_every_steps=1000, muon_lr=0.05, lr=5e-3
    )
    footage = squares(160)
    found = train_codec(footage, squares(8, seed=1), config, tmp_path)
    assert found["codec"]["psnr_db"] > found["linear"]["psnr_db"] + 1
    codec = load_codec(tmp_path)
    assert codec.fingerprint() == found["fingerprint"]
    latents = torch.cat(
        [codec.encode(torch.from_numpy(w).movedim(-1, 0)[None] / 127.5 - 1).flatten() for w in squares(40)]
    )
    assert latents.std().item() == pytest.approx(1, abs=0.15)


def test_the_loss_is_nothing_for_equal_videos_and_sees_edges():
    video = torch.zeros(1, 3, 1, 8, 8)
    stripes = video.clone()
    stripes[..., ::2] = 0.2
    flat = torch.full_like(video, 0.1)
    assert reconstruction_loss(video, video, 0.5) == 0
    flat, stripes = (reconstruction_loss(found, video, 0.5).item() for found in (flat, stripes))
    assert stripes == pytest.approx(0.02 + 0.5 * 0.04)
    assert flat == pytest.approx(0.01)


def test_measuring_needs_footage(tmp_path):
    codec = load_codec_of(tmp_path)
    assert measure(codec, squares(2))["windows"] == 2
    with pytest.raises(DatasetError, match="no held-out footage"):
        measure(codec, [])


def load_codec_of(folder):
    train_codec(squares(4), squares(2, seed=1), replace(TINY, kind="pca"), folder)
    return load_codec(folder)
