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


def test_padding_keeps_the_whole_picture_and_its_shape():
    wide = np.zeros((2, 90, 160, 3), np.uint8)
    wide[:, :, :80] = 255  # left half white
    fitted = fit_frames(wide, FrameConfig(num_frames=2, size_px=32))
    assert fitted.shape == (2, 32, 32, 3)
    assert (fitted[:, :7] == 128).all()  # margin
    assert (fitted[:, 7:25, :15] == 255).all()
    assert (fitted[:, 7:25, 17:] == 0).all()


def test_cropping_keeps_the_middle():
    tall = np.zeros((1, 64, 32, 3), np.uint8)
    tall[:, 16:48] = 200
    assert (fit_frames(tall, FrameConfig(num_frames=1, size_px=32, fit="crop")) == 200).all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (3, 7, 200, 3), (20, 33, 31, 3)])
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_any_size_fits(shape, fit):
    assert fit_frames(np.zeros(shape, np.uint8), FrameConfig(fit=fit)).shape == (8, 64, 64, 3)


def test_other_arrays_are_refused():
    with pytest.raises(ValueError, match=r"uint8 \[T, H, W, 3\], got float64 \[4, 8, 8, 3\]"):
        fit_frames(np.zeros((4, 8, 8, 3)), FrameConfig())


def test_the_margin_is_the_mean():
    config = FrameConfig(num_frames=1, size_px=32, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    fitted = fit_frames(np.zeros((1, 16, 32, 3), np.uint8), config)
    pixels = normalise(torch.from_numpy(fitted)[None], config)
    assert pixels.shape == (1, 1, 3, 32, 32)
    assert pixels[0, 0, :, 0].abs().max() < 0.01
