"""Signals are what they say: PySceneDetect's arithmetic, known movements, and nulls where nothing can be said."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from curate.signals import FLOATS, SignalExtractor
from curate.video import ReducedFrame, to_bgr


def frame_of(picture: np.ndarray, pts: int) -> ReducedFrame:
    """A reduced frame of an RGB picture with even sides."""
    height, width = picture.shape[:2]
    planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    y, u, v = np.split(planes, [height * width, height * width * 5 // 4])
    half = (height // 2, width // 2)
    return ReducedFrame(pts, None, y.reshape(height, width), u.reshape(half), v.reshape(half), False, False)


def texture(seed: int, width: int = 256, height: int = 144) -> np.ndarray:
    """A picture with structure at several scales."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (4, 9, 24):
        part = rng.uniform(0, 255, (max(1, cells * height // width), cells, 3)).astype(np.float32)
        picture += cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(picture / 3, 0, 255).astype(np.uint8)


def measure(pictures, pts=None, time_base=Fraction(1, 25)):
    height, width = pictures[0].shape[:2]
    extractor = SignalExtractor(width, height, time_base)
    for index, picture in enumerate(pictures):
        extractor.push(frame_of(picture, index if pts is None else pts[index]))
    return extractor.finish()


def test_change_columns_are_the_components_of_the_content_score_of_pyscenedetect():
    from scenedetect.common import FrameTimecode
    from scenedetect.detectors import ContentDetector
    from scenedetect.stats_manager import StatsManager

    pictures = [np.roll(texture(seed // 4), 3 * seed, axis=1) for seed in range(9)]
    detector = ContentDetector()
    detector.stats_manager = stats = StatsManager()
    for index, picture in enumerate(pictures):
        detector.process_frame(FrameTimecode(index, fps=25.0), to_bgr(frame_of(picture, index)))
    signals = measure(pictures)
    for name, key in [
        ("hue", "delta_hue"),
        ("saturation", "delta_sat"),
        ("luma", "delta_lum"),
        ("edges", "delta_edges"),
    ]:
        ours = signals.column(f"change_{name}").to_pylist()
        theirs = [stats.get_metrics(FrameTimecode(index, fps=25.0), [key])[0] for index in range(1, 9)]
        assert ours[0] is None
        assert ours[1:] == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("size", [(2, 2), (4, 2), (2, 64), (30, 16), (256, 2)])
@pytest.mark.parametrize("count", [1, 2, 40])
def test_any_size_and_any_number_of_frames_gives_a_row_each_and_no_nan(size, count):
    signals = measure([texture(seed, *size) for seed in range(count)])
    assert signals.num_rows == count
    for name in FLOATS:
        assert np.isfinite(signals.column(name).drop_null().to_numpy()).all(), name


def test_a_chunked_measurement_equals_one_in_a_single_piece(monkeypatch):
    pictures = [np.roll(texture(seed // 50), seed, axis=0) for seed in range(260)]
    whole = measure(pictures)
    monkeypatch.setattr("curate.signals._CHUNK_FRAMES", 32)
    assert measure(pictures).equals(whole)
