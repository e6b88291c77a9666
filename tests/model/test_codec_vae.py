"""The trained codec: causal, equal in pieces and whole, an image is a frame, and it starts as the linear codec."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.codec.files import load_codec, save_codec
from model.codec.pca import fit_pca
from model.codec.stream import decode_stream, encode_stream
from model.codec.vae import CausalVAE, VAEConfig

STRIDES = [(4, 8, 8), (4, 4, 4), (1, 8, 8), (2, 4, 4)]


def make_codec(stride=(4, 8, 8)) -> CausalVAE:
    """A small codec whose every weight counts, as after training."""
    torch.manual_seed(0)
    codec = CausalVAE(VAEConfig(stride=stride, z_dim=6, width=8, blocks=1, decoder_blocks=1)).eval()
    for parameter in codec.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return codec


def noise_video(frames: int, height: int = 16, width: int = 24, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def codec() -> CausalVAE:
    return make_codec()


@pytest.mark.parametrize("stride", STRIDES)
def test_shapes_of_every_stride(stride):
    codec = make_codec(stride)
    frames = 1 + 2 * stride[0]
    latent = codec.encode(noise_video(frames))
    assert latent.shape == (1, 6, 3, 16 // stride[1], 24 // stride[2])
    assert codec.decode(latent).shape == (1, 3, frames, 16, 24)


@settings(deadline=None, max_examples=15)
@given(cuts=st.sets(st.integers(1, 20)), latent_cuts=st.sets(st.integers(1, 5)), stride=st.sampled_from(STRIDES[:3]))
def test_pieces_of_any_length_have_the_bits_of_the_whole(cuts, latent_cuts, stride):
    codec = make_codec(stride)
    video = noise_video(21, 16, 16)
    whole = codec.encode(video)
    assert torch.equal(torch.cat(list(encode_stream(codec, split(video, cuts))), 2), whole)
    pieces = list(decode_stream(codec, split(whole, latent_cuts)))
    assert torch.equal(torch.cat(pieces, 2), codec.decode(whole))


def split(tensor: torch.Tensor, cuts: set[int]) -> list[torch.Tensor]:
    places = [0, *sorted(cut for cut in cuts if cut < tensor.shape[2]), tensor.shape[2]]
    return list(tensor.split([end - start for start, end in itertools.pairwise(places)], 2))


def test_a_later_frame_changes_nothing_before_it(codec):
    video = noise_video(17)
    latent, decoded = codec.encode(video), codec.decode(codec.encode(video))
    for frame in (1, 5, 16):
        changed = video.clone()
        changed[:, :, frame:] = noise_video(17 - frame, seed=1)
        cell = 0 if frame == 0 else 1 + (frame - 1) // 4
        other = codec.encode(changed)
        assert torch.equal(other[:, :, :cell], latent[:, :, :cell])
        assert not torch.equal(other[:, :, cell], latent[:, :, cell])
        again = codec.decode(torch.cat([latent[:, :, :cell], other[:, :, cell:]], 2))
        first = 1 + (cell - 1) * 4
        assert torch.equal(again[:, :, :first], decoded[:, :, :first])


def test_frames_see_their_past_across_chunks(codec):
    """The state matters: a chunk alone is not what it is after its past."""
    video = noise_video(9)
    assert not torch.allclose(codec.encode(video)[:, :, 2], codec.encode(video[:, :, 4:])[:, :, 1], atol=1e-3)


def test_an_image_is_the_first_frame_of_a_video(codec):
    video = noise_video(9)
    latent = codec.encode(video)
    assert torch.equal(codec.encode(video[:, :, :1]), latent[:, :, :1])
    assert torch.equal(codec.decode(latent[:, :, :1]), codec.decode(latent)[:, :, :1])


@pytest.mark.parametrize("stride", STRIDES)
def test_the_path_for_training_equals_the_path_by_units(stride):
    codec = make_codec(stride)
    video = noise_video(1 + 3 * stride[0])
    mean, logvar, _ = codec.latent(video)
    found_mean, found_logvar = codec.moments(video)
    assert torch.allclose(mean, found_mean, atol=1e-5)
    assert torch.allclose(logvar, found_logvar, atol=1e-5)
    assert torch.allclose(codec.reconstruct(mean)[0].clamp(-1, 1), codec.decode(mean), atol=1e-5)


def test_before_training_it_is_the_linear_codec():
    videos = [noise_video(9, seed=seed) for seed in range(4)]
    pca = fit_pca(videos, stride=(4, 8, 8), z_dim=6)
    codec = CausalVAE(VAEConfig(z_dim=6, width=8))
    codec.start_from(pca)
    latent = codec.encode(videos[0])
    assert torch.allclose(latent, pca.encode(videos[0]), atol=1e-5)
    pca.missed.zero_()  # it eases nothing then
    assert torch.allclose(codec.decode(latent), pca.decode(latent), atol=1e-5)


def test_every_weight_but_the_floor_learns():
    codec = make_codec()
    mean, logvar, _ = codec.latent(noise_video(9))
    loss = codec.reconstruct(mean)[0].square().mean() + logvar.mean()
    loss.backward()
    without = {name.partition(".")[0] for name, parameter in codec.named_parameters() if parameter.grad is None}
    assert without == {"to_latent", "to_patch"}  # the floor stays


def test_draws_follow_the_posterior_and_their_generator(codec):
    video = noise_video(5)
    mean, logvar = codec.moments(video)
    draw = codec.encode(video, torch.Generator().manual_seed(1))
    assert torch.equal(draw, codec.encode(video, torch.Generator().manual_seed(1)))
    assert not torch.equal(draw, codec.encode(video, torch.Generator().manual_seed(2)))
    spread = ((draw - mean) / (0.5 * logvar).exp()).std().item()
    assert spread == pytest.approx(1, abs=0.1)


def test_statistics_change_the_scale_of_latents_and_their_spread_but_not_the_video(codec, tmp_path):
    from model.codec.base import LatentStats

    scaled = load_codec(save_codec(codec, tmp_path))
    scaled.set_stats(LatentStats(mean=(0.5,) * 6, std=(2.0,) * 6))
    video = noise_video(5)
    (mean, logvar), (mean2, logvar2) = codec.moments(video), scaled.moments(video)
    assert torch.allclose((mean - 0.5) / 2, mean2, atol=1e-6)
    assert torch.allclose(logvar - 2 * torch.tensor(2.0).log(), logvar2, atol=1e-6)
    assert torch.allclose(codec.decode(mean), scaled.decode(mean2), atol=1e-5)
    assert scaled.fingerprint() != codec.fingerprint()


def test_a_saved_codec_is_the_same(codec, tmp_path):
    again = load_codec(save_codec(codec, tmp_path))
    assert again.fingerprint() == codec.fingerprint()
    assert torch.equal(again.encode(noise_video(5)), codec.encode(noise_video(5)))


@pytest.mark.parametrize("stride", [(3, 8, 8), (4, 8, 4), (4, 1, 1), (4, 8)])
def test_strides_that_it_cannot_have_are_refused(stride):
    with pytest.raises(ValueError, match="stride must"):
        VAEConfig(stride=stride)


def test_encoding_a_long_video_takes_constant_memory(codec):
    """What is carried from unit to unit has the same size after 2 units and after 200."""

    def carried(units: int) -> int:
        _, _, state = codec.encode_chunk(noise_video(1, 8, 8))
        for _ in range(units):
            _, _, state = codec.encode_chunk(noise_video(4, 8, 8), state)
        return sum(part.numel() for part in state if isinstance(part, torch.Tensor))

    assert carried(200) == carried(2)
