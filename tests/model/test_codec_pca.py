"""The linear codec: best of its size, causal, equal in pieces and whole, and the same after saving."""

import copy

import pytest
import torch

from curate.errors import TrainingError, WeightsError
from model.codec.base import RunningStats, latent_shape
from model.codec.files import load_codec, save_codec
from model.codec.patches import from_patches, to_patches
from model.codec.pca import PCACodec, fit_pca
from model.codec.stream import decode_stream, encode_stream

STRIDE = (4, 4, 4)


def smooth_video(frames: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    """Moving waves: close to what few components can hold."""
    noise = torch.Generator().manual_seed(seed)
    t, y, x = torch.meshgrid(*(torch.arange(float(n)) for n in (frames, height, width)), indexing="ij")
    speed = torch.rand(3, 3, generator=noise) * 0.3
    waves = [torch.sin(a * t + b * y + c * x + index) for index, (a, b, c) in enumerate(speed.tolist())]
    return torch.stack(waves)[None] * 0.9


@pytest.fixture(scope="module")
def codec() -> PCACodec:
    return fit_pca([smooth_video(9, 16, 24, seed) for seed in range(6)], stride=STRIDE, z_dim=12)


def test_every_component_kept_reconstructs_exactly():
    video = smooth_video(5, 8, 8)
    full = PCACodec(stride=STRIDE, z_dim=192)
    assert torch.allclose(full.decode(full.encode(video)), video, atol=1e-5)


def test_more_components_reconstruct_better_and_smooth_video_well():
    videos = [smooth_video(9, 16, 24, seed) for seed in range(4)]
    errors = []
    for z_dim in (2, 6, 12):
        codec = fit_pca(videos, stride=STRIDE, z_dim=z_dim)
        errors.append(sum((codec.decode(codec.encode(video)) - video).square().mean().item() for video in videos))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.01


def test_components_are_orthonormal_and_latents_have_one_scale(codec):
    gram = codec.components @ codec.components.T
    assert torch.allclose(gram, torch.eye(12), atol=1e-5)
    stats = RunningStats(12)
    for seed in range(6):
        stats.add(codec.encode(smooth_video(9, 16, 24, seed)))
    pooled = stats.result(per_channel=False)
    assert pooled.std[0] == pytest.approx(1, abs=0.01)
    assert len(set(pooled.std)) == 1
    assert stats.result().std[0] > 3 * stats.result().std[-1]  # in proportion, not whitened


def test_balance_brings_channels_together_and_changes_no_picture(codec):
    videos = [smooth_video(9, 16, 24, seed) for seed in range(6)]
    spreads = []
    for balance in (0.0, 0.5, 1.0):
        balanced = fit_pca(videos, stride=STRIDE, z_dim=12, balance=balance)
        stats = RunningStats(12)
        for video in videos:
            stats.add(balanced.encode(video))
        assert stats.result(per_channel=False).std[0] == pytest.approx(1, abs=0.01)
        spreads.append(stats.result().std[0] / stats.result().std[-1])
        again, plain = (c.decode(c.encode(videos[0])) for c in (balanced, fit_pca(videos, stride=STRIDE, z_dim=12)))
        assert torch.allclose(again, plain, atol=1e-4)
    assert spreads[1] == pytest.approx(spreads[0] ** 0.5, rel=0.05)
    assert spreads[2] == pytest.approx(1, rel=0.05)
    with pytest.raises(ValueError, match="balance is a share"):
        fit_pca(videos, stride=STRIDE, z_dim=12, balance=2.0)


def test_pieces_of_any_length_have_the_bits_of_the_whole(codec):
    video = smooth_video(21, 16, 24, seed=9)
    whole = codec.encode(video)
    for plan in ([1, 4, 4, 12], [5, 16], [3, 3, 3, 12], [1] * 21, [21]):
        pieces = list(encode_stream(codec, video.split(plan, 2)))
        assert torch.equal(torch.cat(pieces, 2), whole), plan
    decoded = codec.decode(whole)
    for plan in ([1, 5], [2, 1, 3], [6]):
        assert torch.equal(torch.cat(list(decode_stream(codec, whole.split(plan, 2))), 2), decoded), plan


def steps(video: torch.Tensor) -> torch.Tensor:
    """Mean distance of each frame to the next."""
    return video.diff(dim=2).abs().mean((0, 1, 3, 4))


def test_the_picture_does_not_jump_where_slots_meet(codec):
    video = smooth_video(21, 16, 24, seed=9)
    latent = codec.encode(video)
    plain = copy.deepcopy(codec)
    plain.missed.zero_()
    jumps = []
    for each in (codec, plain):
        decoded = each.decode(latent)
        between, within = steps(decoded)[4::4].mean(), steps(decoded).mean()
        jumps.append((between / within).item())
        assert (decoded - video).square().mean() < 1.1 * (plain.decode(latent) - video).square().mean()
    assert jumps[0] - 1 < 0.5 * (jumps[1] - 1)
    assert jumps[1] > 1.2


def test_a_cut_stays_a_cut(codec):
    video = torch.cat([smooth_video(5, 16, 24), -torch.ones(1, 3, 4, 16, 24)], dim=2)
    plain = copy.deepcopy(codec)
    plain.missed.zero_()
    eased, hard = (each.decode(each.encode(video)) for each in (codec, plain))
    assert 0 < (eased - hard).abs().max() <= 5 * codec.missed + 1e-6
    assert steps(eased)[4] > 0.9 * steps(hard)[4]


def test_frames_left_over_at_the_end_of_a_stream_are_an_error(codec):
    with pytest.raises(ValueError, match="ends with 2 frames"):
        list(encode_stream(codec, smooth_video(7, 16, 24).split(4, 2)))
    with pytest.raises(ValueError, match="ends with 0 frames"):
        list(encode_stream(codec, []))


def test_an_image_is_the_first_frame_of_a_video(codec):
    video = smooth_video(9, 16, 24)
    assert torch.equal(codec.encode(video)[:, :, :1], codec.encode(video[:, :, :1]))
    assert codec.decode(codec.encode(video[:, :, :1])).shape == (1, 3, 1, 16, 24)


def test_a_still_video_and_an_image_share_their_latent(codec):
    still = smooth_video(1, 16, 24).expand(-1, -1, 9, -1, -1)
    latent = codec.encode(still)
    assert torch.allclose(latent[:, :, 0], latent[:, :, 2], atol=1e-5)


def test_patches_round_trip():
    video = torch.randn(2, 3, 9, 8, 12)
    again = from_patches(to_patches(video, STRIDE, is_start=True), STRIDE, is_start=True)
    assert torch.allclose(again, video, atol=1e-6)
    later = video[:, :, 1:]
    assert torch.equal(from_patches(to_patches(later, STRIDE, is_start=False), STRIDE, is_start=False), later)


def test_too_little_footage_is_refused():
    with pytest.raises(TrainingError, match="give more or larger footage"):
        fit_pca([smooth_video(1, 8, 8)], stride=STRIDE, z_dim=12)


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((6, 8, 8), "5 frames of 8x8"),
        ((5, 9, 8), "5 frames of 8x8"),
        ((5, 8, 13), "5 frames of 12x8"),
        ((0, 8, 8), "1 \\+ a multiple"),
    ],
)
def test_a_size_that_does_not_divide_is_an_error_that_names_the_nearest(codec, size, message):
    with pytest.raises(ValueError, match=message):
        codec.encode(torch.zeros(1, 3, *size))


def test_the_shape_of_a_latent():
    assert latent_shape((4, 8, 8), 17, 32, 48) == (5, 4, 6)


def test_a_saved_codec_is_the_same(codec, tmp_path):
    save_codec(codec, tmp_path / "run")
    again = load_codec(tmp_path / "run")
    video = smooth_video(5, 16, 24)
    assert again.fingerprint() == codec.fingerprint()
    assert torch.equal(again.encode(video), codec.encode(video))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["codec.safetensors"]


def test_the_fingerprint_follows_weights_statistics_and_configuration(codec, tmp_path):
    prints = {codec.fingerprint()}
    for change in ("components", "latent_std"):
        other = load_codec(save_codec(codec, tmp_path))
        getattr(other, change).view(-1)[0] += 1e-6
        prints.add(other.fingerprint())
    prints.add(PCACodec(stride=(4, 2, 8), z_dim=12).fingerprint())
    prints.add(PCACodec(stride=STRIDE, z_dim=12).fingerprint())
    assert len(prints) == 5


def test_missing_foreign_and_damaged_files_are_named(codec, tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(WeightsError, match="no codec here"):
        load_codec(tmp_path / "nothing")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="its format is 'not named'"):
        load_codec(tmp_path / "foreign.safetensors")
    file = save_codec(codec, tmp_path / "codec.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="not those that were saved"):
        load_codec(file)
    file.write_bytes(content[:100])
    with pytest.raises(WeightsError, match="not a safetensors file"):
        load_codec(file)


def test_running_statistics_equal_those_of_all_values_at_once():
    pieces = [torch.randn(2, 3, 2, 3, 4) * 2 + 5, torch.randn(1, 3, 1, 5, 5) - 3, torch.randn(1, 3, 4, 2, 2)]
    stats = RunningStats(3)
    for piece in pieces:
        stats.add(piece)
    values = torch.cat([piece.double().transpose(0, 1).flatten(1) for piece in pieces], 1)
    assert torch.tensor(stats.result().mean).allclose(values.mean(1).float(), atol=1e-6)
    assert torch.tensor(stats.result().std).allclose(values.std(1, correction=0).float(), atol=1e-6)
    with pytest.raises(ValueError, match="at least two"):
        RunningStats(3).result()
