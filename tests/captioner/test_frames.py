import numpy as np
import pytest
import torch

from captioner.frames import FrameConfig, fit_frames, normalise, spread_indices


@pytest.mark.parametrize(
    ("frames", "samples", "indices"),
    [
        (9, 3, [1, 4, 7]),
        (4, 4, [0, 1, 2, 3]),
        (2, 4, [0, 0, 1, 1]),  # a short clip repeats
        (1, 3, [0, 0, 0]),
    ],
)
def test_frames_are_the_middles_of_equal_parts(frames, samples, indices):
    assert spread_indices(frames, samples) == indices


def test_stretching_keeps_the_whole_picture():
    wide = np.zeros((2, 90, 160, 3), np.uint8)
    wide[:, :, :80] = 255  # left half white
    fitted = fit_frames(wide, FrameConfig(num_frames=2, size_px=32))
    assert fitted.shape == (2, 32, 32, 3)
    assert (fitted[:, :, :14] == 255).all()
    assert (fitted[:, :, 18:] == 0).all()


def test_cropping_keeps_the_middle():
    tall = np.zeros((1, 64, 32, 3), np.uint8)
    tall[:, 16:48] = 200
    assert (fit_frames(tall, FrameConfig(num_frames=1, size_px=32, fit="crop")) == 200).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (3, 7, 200, 3), (20, 33, 31, 3)])
@pytest.mark.parametrize("fit", ["stretch", "crop"])
def test_any_size_fits(shape, fit):
    assert fit_frames(np.zeros(shape, np.uint8), FrameConfig(fit=fit)).shape == (8, 64, 64, 3)


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \[T, H, W, 3\], got float64 \[4, 8, 8, 3\]"):
        fit_frames(np.zeros((4, 8, 8, 3)), FrameConfig())


def test_numbers_have_the_mean_and_spread_of_the_encoder():
    config = FrameConfig(num_frames=1, size_px=16, mean=(0.2, 0.4, 0.6), std=(0.2, 0.4, 0.5))
    frames = torch.full((1, 1, 16, 16, 3), 255, dtype=torch.uint8)
    pixels = normalise(frames, config)
    assert pixels.shape == (1, 1, 3, 16, 16)
    torch.testing.assert_close(pixels[0, 0, :, 0, 0], torch.tensor([4.0, 1.5, 0.8]))
