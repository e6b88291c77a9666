import pytest
import torch

from model.rope import index_frequencies, metric_frequencies, rotate, rotation
from model.tokens import Grid, edge_positions, grid_shape, metric_positions, patchify, unpatchify


@pytest.mark.parametrize(
    ("shape", "patch"), [((3, 4, 6), (1, 2, 2)), ((1, 1, 1), (1, 1, 1)), ((4, 3, 5), (2, 1, 5)), ((5, 7, 9), (1, 1, 3))]
)
def test_patches_can_be_put_together_again(shape, patch):
    latent = torch.randn(5, *shape)
    tokens = patchify(latent, patch)
    grid = grid_shape(shape, patch)
    assert tokens.shape == (grid[0] * grid[1] * grid[2], 5 * patch[0] * patch[1] * patch[2])
    assert torch.equal(unpatchify(tokens, grid, patch), latent)


def test_a_latent_that_does_not_divide_is_refused_with_the_nearest_that_does():
    with pytest.raises(ValueError, match=r"patches of \(1, 2, 2\); the nearest that can is \(3, 4, 6\)"):
        patchify(torch.zeros(4, 3, 5, 6), (1, 2, 2))


def test_a_slot_lies_in_the_middle_of_its_pictures():
    times = metric_positions(Grid(shape=(3, 1, 1), fps=10.0, stride=4))[:, 0]
    assert times.tolist() == pytest.approx([0.0, 0.25, 0.65])  # pictures 0 | 1 to 4 | 5 to 8
    window = metric_positions(Grid(shape=(3, 1, 1), fps=10.0, stride=4, single=False))[:, 0]
    assert window.tolist() == pytest.approx([0.0, 0.4, 0.8])


def test_twice_the_size_covers_the_same_extent():
    small = metric_positions(Grid(shape=(1, 4, 6), fps=8)).reshape(4, 6, 3)
    large = metric_positions(Grid(shape=(1, 8, 12), fps=8)).reshape(4, 2, 6, 2, 3).mean(dim=(1, 3))
    torch.testing.assert_close(small, large)
    assert small.reshape(-1, 3).mean(0).abs().max() < 1e-6


def test_a_wide_picture_reaches_further_to_the_sides_than_a_tall_one():
    wide = metric_positions(Grid(shape=(1, 4, 16), fps=8)).amax(0)
    tall = metric_positions(Grid(shape=(1, 16, 4), fps=8)).amax(0)
    assert wide[2] == tall[1]
    assert wide[2] > tall[2]


def test_edges_are_at_one_whatever_the_size():
    edges = edge_positions(Grid(shape=(4, 2, 5), fps=8))
    assert edges[:, 0].unique().tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert edges[:, 1].unique().tolist() == [-0.5, 0.5]
    assert edges[:, 2].max() == pytest.approx(0.8)


@pytest.mark.parametrize("frequencies", [metric_frequencies(32), index_frequencies(32)])
def test_products_of_rotated_tokens_depend_on_differences_of_positions_alone(frequencies):
    torch.manual_seed(0)
    q, k = torch.randn(2, 6, 1, 32).double()
    positions = torch.rand(2, 6, 3).double() * 4
    moved = positions + torch.tensor([7.0, -3.0, 2.0])

    def product(at):
        (cos_q, sin_q), (cos_k, sin_k) = (rotation(p, frequencies) for p in at)
        return (rotate(q, cos_q, sin_q) * rotate(k, cos_k, sin_k)).sum(-1)

    torch.testing.assert_close(product(positions), product(moved), atol=3e-6, rtol=0)
    assert (product(positions) - (q * k).sum(-1)).abs().max() > 0.1


def test_every_axis_turns_some_channels():
    for head_dim in (6, 24, 32, 64, 128):
        table = metric_frequencies(head_dim)
        assert ((table != 0).sum(0) == 1).all()
        assert (table.abs().sum(1) > 0).all()
