import pytest
import torch

from model.dit import DiT
from model.packed import Segment, pack_segments
from model.tokens import Grid, patchify, unpatchify
from model.wan import config_from_wan, from_wan, to_wan

TEXT_TOKENS = 7


@pytest.fixture(scope="module")
def wan():
    from diffusers import WanTransformer3DModel

    torch.manual_seed(0)
    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=24, in_channels=4, out_channels=4, text_dim=20,
        freq_dim=32, ffn_dim=96, num_layers=3, cross_attn_norm=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ours(wan):
    config = config_from_wan(wan.config)
    model = DiT(config)
    model.load_state_dict(from_wan(wan.state_dict(), config))
    return model


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 4, 8), (2, 10, 6)])
def test_layout_wan_computes_what_the_diffusers_model_computes(wan, ours, shape):
    torch.manual_seed(1)
    latents = torch.randn(2, 4, *shape)
    times = torch.tensor([0.137, 0.951])
    text = torch.randn(2, TEXT_TOKENS, 20)
    text[0, 4:] = 0  # Wan attends to its padding
    with torch.no_grad():
        expected = wan(latents, 1000 * times, text).sample
        grid = Grid(shape=(shape[0], shape[1] // 2, shape[2] // 2), fps=16)
        tokens = [patchify(latent, (1, 2, 2)) for latent in latents]
        n = grid.num_tokens
        segments = [
            Segment(x=x, grid=grid, times=t[None], time_index=torch.zeros(n).long(), pinned=torch.zeros(n).bool())
            for x, t in zip(tokens, times, strict=True)
        ]
        batch = pack_segments(segments, budget=2 * n + 5)
        context = ours.read([*text, None])
        output = batch.split(ours(batch, context))
    for actual, wanted in zip(output, expected, strict=True):
        torch.testing.assert_close(unpatchify(actual, grid.shape, (1, 2, 2)), wanted, atol=1e-5, rtol=1e-5)


def test_weights_survive_the_way_to_wan_and_back(wan, ours):
    weights = to_wan(ours.state_dict(), ours.config)
    assert weights.keys() == wan.state_dict().keys()
    for name, tensor in wan.state_dict().items():
        assert torch.equal(weights[name], tensor), name


def test_image_to_video_weights_are_refused(wan):
    with pytest.raises(ValueError, match="only text-to-video"):
        config_from_wan({**wan.config, "added_kv_proj_dim": 48})
