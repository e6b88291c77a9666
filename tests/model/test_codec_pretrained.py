"""Every adapter on a tiny random instance: shapes, normalisation, determinism, and what it declares about time."""

import json

import pytest
import torch
from torch import nn

diffusers = pytest.importorskip("diffusers")

from curate.errors import WeightsError  # noqa: E402
from model.codec.base import latent_shape  # noqa: E402
from model.codec.files import load_codec  # noqa: E402
from model.codec.pretrained import FAMILIES, PretrainedCodec  # noqa: E402
from model.codec.stream import decode_stream, encode_stream  # noqa: E402

_WAN = {
    "base_dim": 8,
    "z_dim": 4,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.1, 0.2, 0.3, 0.4],
    "latents_std": [2.0, 1.0, 1.0, 0.5],
}
_WAN_22 = {"decoder_base_dim": 8, "is_residual": True, "in_channels": 12, "out_channels": 12, "patch_size": 2}
_FOUR = (8, 8, 8, 8)
_ONES = (1, 1, 1, 1, 1)

TINY = {
    "wan21": lambda: diffusers.AutoencoderKLWan(**_WAN),
    "wan22": lambda: diffusers.AutoencoderKLWan(**_WAN, **_WAN_22, scale_factor_spatial=16),
    "hunyuan": lambda: diffusers.AutoencoderKLHunyuanVideo(
        latent_channels=4, block_out_channels=_FOUR, layers_per_block=1, norm_num_groups=4
    ),
    "ltx": lambda: diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=_FOUR,
        decoder_block_out_channels=_FOUR,
        layers_per_block=_ONES,
        decoder_layers_per_block=_ONES,
    ),
    "ltx_timestep": lambda: diffusers.AutoencoderKLLTXVideo(
        latent_channels=8,
        block_out_channels=_FOUR,
        decoder_block_out_channels=_FOUR,
        layers_per_block=_ONES,
        decoder_layers_per_block=_ONES,
        timestep_conditioning=True,
    ),
    "cogvideox": lambda: diffusers.AutoencoderKLCogVideoX(
        block_out_channels=_FOUR, latent_channels=4, layers_per_block=1, norm_num_groups=4
    ),
    "mochi": lambda: diffusers.AutoencoderKLMochi(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        latent_channels=4,
        layers_per_block=_ONES,
        latents_mean=(0.1,) * 4,
        latents_std=(0.9,) * 4,
    ),
    "cosmos": lambda: diffusers.AutoencoderKLCosmos(
        latent_channels=4,
        encoder_block_out_channels=_FOUR,
        decode_block_out_channels=_FOUR,
        attention_resolutions=(8,),
        resolution=64,
        num_layers=1,
        latents_mean=[0.1, 0.2] * 4,  # two frames of four channels
        latents_std=[0.9, 0.8] * 4,
    ),
    "sd": lambda: diffusers.AutoencoderKL(**_image_sizes(), scaling_factor=0.18215),
    "flux": lambda: diffusers.AutoencoderKL(**_image_sizes(), scaling_factor=0.3611, shift_factor=0.1159),
}
STRIDES = {
    "wan21": (4, 8, 8),
    "wan22": (4, 16, 16),
    "hunyuan": (4, 8, 8),
    "ltx": (8, 32, 32),
    "ltx_timestep": (8, 32, 32),
    "cogvideox": (4, 8, 8),
    "mochi": (6, 8, 8),
    "cosmos": (8, 8, 8),
    "sd": (1, 8, 8),
    "flux": (1, 8, 8),
}


def _image_sizes() -> dict:
    return {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": _FOUR,
        "latent_channels": 4,
        "norm_num_groups": 4,
    }


def video_for(codec: PretrainedCodec, seed: int = 0) -> torch.Tensor:
    side = max(16, codec.stride[1])
    noise = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, 1 + 2 * codec.stride[0], side, 2 * side, generator=noise) * 2 - 1


@pytest.fixture(scope="module", params=TINY)
def named(request) -> tuple[str, PretrainedCodec]:
    torch.manual_seed(0)
    return request.param, PretrainedCodec(TINY[request.param]())


def test_shapes_follow_the_stride_and_come_back(named):
    name, codec = named
    assert codec.stride == STRIDES[name]
    video = video_for(codec)
    latent = codec.encode(video)
    assert tuple(latent.shape[1:]) == (codec.z_dim, *latent_shape(codec.stride, *video.shape[2:]))
    decoded = codec.decode(latent)
    assert decoded.shape == video.shape
    assert decoded.abs().max() <= 1
    with pytest.raises(ValueError, match="does not divide"):
        codec.encode(video[..., :-1])


def test_results_are_deterministic_and_draws_follow_their_generator(named):
    _, codec = named
    video = video_for(codec)
    mean, logvar = codec.moments(video)
    assert torch.equal(codec.encode(video), mean)
    if logvar is None:
        assert type(codec.autoencoder).__name__ == "AutoencoderKLCosmos"
        return
    draw = codec.encode(video, torch.Generator().manual_seed(1))
    assert torch.equal(draw, codec.encode(video, torch.Generator().manual_seed(1)))
    assert ((draw - mean) / (0.5 * logvar).exp()).std().item() == pytest.approx(1, abs=0.25)


def test_a_codec_is_causal_exactly_if_it_says_so(named):
    _, codec = named
    video = video_for(codec)
    latent = codec.encode(video)
    later = video.clone()
    later[:, :, 1:] = video_for(codec, seed=1)[:, :, 1:]
    image = codec.encode(video[:, :, :1])
    same = torch.equal(codec.encode(later)[:, :, 0], latent[:, :, 0])
    assert same == codec.causal
    assert torch.allclose(image, latent[:, :, :1], atol=1e-4) == codec.causal


def test_streams_give_what_the_whole_gives(named):
    _, codec = named
    assert not codec.exact_chunks  # so a stream takes the whole at once
    video = video_for(codec)
    latent = torch.cat(list(encode_stream(codec, video.split(2, 2))), 2)
    assert torch.equal(latent, codec.encode(video))
    assert torch.equal(torch.cat(list(decode_stream(codec, latent.split(1, 2))), 2), codec.decode(latent))


def test_latents_are_normalised_as_the_pipelines_of_the_library_do(named):
    """The formulas of diffusers' own pipelines, written out for each family."""
    name, codec = named
    video = video_for(codec)
    config, autoencoder = codec.autoencoder.config, codec.autoencoder
    pixels = video.transpose(1, 2).flatten(0, 1) if name in ("sd", "flux") else video
    raw = autoencoder.encode(pixels).latent_dist.mode()
    if name in ("wan21", "wan22"):
        expected = (raw - torch.tensor(config.latents_mean).view(1, 4, 1, 1, 1)) / torch.tensor(
            config.latents_std
        ).view(1, 4, 1, 1, 1)
    elif name.startswith("ltx"):
        mean, std = autoencoder.latents_mean.view(1, -1, 1, 1, 1), autoencoder.latents_std.view(1, -1, 1, 1, 1)
        expected = (raw - mean) * config.scaling_factor / std
    elif name == "mochi":
        expected = (raw - 0.1) / 0.9 * config.scaling_factor
    elif name == "cosmos":
        mean, std = (
            torch.tensor(x).view(1, 4, 2, 1, 1)[:, :, [0, 1, 1]] for x in (config.latents_mean, config.latents_std)
        )
        expected = (raw - mean) / std
    elif name == "flux":
        expected = ((raw - 0.1159) * 0.3611).unflatten(0, (1, -1)).transpose(1, 2)
    else:
        expected = raw * config.scaling_factor
        expected = expected.unflatten(0, (1, -1)).transpose(1, 2) if name == "sd" else expected
    assert torch.allclose(codec.encode(video), expected, atol=1e-5)


def test_decoding_undoes_the_normalisation(named):
    """The decoder sees the very latent that the encoder gave."""
    _, codec = named
    seen = []
    decode = codec.autoencoder.decode
    try:
        codec.autoencoder.decode = lambda latent, *rest: seen.append(latent) or decode(latent, *rest)
        video = video_for(codec)
        codec.decode(codec.encode(video))
    finally:
        del codec.autoencoder.decode
    pixels = video.transpose(1, 2).flatten(0, 1) if codec.family.images_only else video
    assert torch.allclose(seen[0], codec.autoencoder.encode(pixels).latent_dist.mode(), atol=1e-4)


def test_the_fingerprint_follows_the_weights():
    torch.manual_seed(0)
    first, second = PretrainedCodec(TINY["flux"]()), PretrainedCodec(TINY["flux"]())
    assert first.fingerprint() != second.fingerprint()
    second.autoencoder.load_state_dict(first.autoencoder.state_dict())
    assert first.fingerprint() == PretrainedCodec(second.autoencoder).fingerprint()


def test_codecs_load_from_safetensors_folders_and_from_nothing_else(tmp_path):
    torch.manual_seed(0)
    autoencoder = TINY["wan21"]()
    autoencoder.save_pretrained(tmp_path / "model" / "vae")
    codec = PretrainedCodec(autoencoder)
    for name in ("model", "model/vae"):
        assert load_codec(f"diffusers:{tmp_path / name}").fingerprint() == codec.fingerprint()
    autoencoder.save_pretrained(tmp_path / "pickled", safe_serialization=False)
    with pytest.raises(WeightsError, match="cannot load this codec"):
        load_codec(f"diffusers:{tmp_path / 'pickled'}")


def test_unknown_classes_and_missing_folders_are_named(tmp_path):
    with pytest.raises(WeightsError, match="no adapter for Linear"):
        PretrainedCodec(nn.Linear(1, 1))
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "AutoencoderOobleck"}))
    with pytest.raises(WeightsError, match=r"no adapter for AutoencoderOobleck.*AutoencoderKLWan"):
        load_codec(f"diffusers:{tmp_path}")
    with pytest.raises(WeightsError, match="no such folder"):
        load_codec(f"diffusers:{tmp_path / 'nothing'}")
    assert len(FAMILIES) == 7
