from dataclasses import replace

import pytest
import torch

from captioner.frames import FrameConfig
from captioner.grid_encoder import GridConfig, GridEncoder

CONFIG = GridConfig(channels=(8, 16), blocks=(0, 1), hidden=32, scene_tokens=4)


def encoder(num_frames=4, size_px=16, pooled=False):
    torch.manual_seed(0)
    frames = FrameConfig(num_frames=num_frames, size_px=size_px)
    return GridEncoder(replace(CONFIG, pooled=pooled), frames, width=32, embed_dim=8).eval()


def clip():
    return torch.randint(0, 256, (2, 4, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pooled", [False, True])
def test_every_frame_counts_and_so_does_their_order(pooled):
    look, frames = encoder(pooled=pooled), clip()
    embedding, tokens = look(frames)
    assert embedding.shape == (2, 8)
    for changed in (frames.flip(1), frames.clone()):
        if torch.equal(changed, frames):
            changed[:, -1] = 0
        other_embedding, other_tokens = look(changed)
        assert (embedding - other_embedding).abs().max() > 1e-3
        assert (tokens - other_tokens).abs().max() > 1e-3


def test_a_clip_is_seen_alike_in_every_batch():
    look, frames = encoder(), clip()
    torch.testing.assert_close(look(frames)[0][:1], look(frames[:1])[0])


@pytest.mark.parametrize("pooled", [False, True])
def test_a_still_is_a_clip_in_which_nothing_moves(pooled):
    look, frames = encoder(pooled=pooled), clip()[:, :1]
    torch.testing.assert_close(look(frames), look(frames.expand(-1, 4, -1, -1, -1)))


@pytest.mark.parametrize(("num_frames", "size_px"), [(3, 16), (4, 20)])
def test_frames_that_it_cannot_pair_or_halve_are_refused(num_frames, size_px):
    with pytest.raises(ValueError, match="even number of frames, and a size that can be halved 3 times"):
        encoder(num_frames, size_px)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="equally many"):
        GridConfig(channels=(8, 16), blocks=(1,))
