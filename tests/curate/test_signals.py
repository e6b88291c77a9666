"""Signals are what they say: PySceneDetect's arithmetic, known movements, and nulls where nothing can be said."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest
from pictures import frame_of, texture

from curate.evidence import EVIDENCE
from curate.signals import CONTEXT_S, FLOATS, SignalExtractor
from curate.video import to_bgr


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
        assert [x for x in ours[1:] if x is not None] == pytest.approx(
            [y for x, y in zip(ours[1:], theirs, strict=True) if x is not None], abs=1e-4
        )
        assert sum(x is not None for x in ours) >= (8 if name != "edges" else 4)


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


def test_parts_that_overlap_by_the_context_give_the_same_rows():
    pictures = [np.roll(texture(seed // 50), seed, axis=0) for seed in range(240)]
    overlap = round(CONTEXT_S * 25) + 1
    whole = measure(pictures)
    part = measure(pictures[120 - overlap :], pts=range(120 - overlap, 240))
    assert part.slice(overlap).equals(whole.slice(120))


@pytest.mark.parametrize(
    ("column", "move", "expected"),
    [
        ("pan", np.array([[1, 0, -5.12], [0, 1, 0]]), 5.12 / 256 * 25),
        ("tilt", np.array([[1, 0, 0], [0, 1, 2.88]]), 2.88 / 144 * 25),
        ("zoom", np.array([[1.02, 0, -2.56], [0, 1.02, -1.44]]), np.log(1.02) * 25),
    ],
)
def test_the_movement_of_the_camera_is_measured_per_second(column, move, expected):
    pictures = [texture(1)]
    for _ in range(12):
        pictures.append(
            cv2.warpAffine(pictures[-1], move.astype(np.float32), (256, 144), borderMode=cv2.BORDER_REFLECT)
        )
    measured = measure(pictures).column(column).drop_null().to_numpy()
    others = {"pan", "tilt", "zoom"} - {column}
    assert np.median(measured) == pytest.approx(expected, rel=0.35)
    for other in others:
        assert abs(np.median(measure(pictures).column(other).drop_null().to_numpy())) < 0.2 * expected


def test_motion_does_not_depend_on_the_frame_rate():
    wide = texture(1, 1024, 144)
    speeds = []
    for fps in (8, 25, 50):
        pictures = [wide[:, round(60 * index / fps) :][:, :256] for index in range(2 * fps)]
        speeds.append(np.median(measure(pictures, time_base=Fraction(1, fps)).column("motion").drop_null().to_numpy()))
    assert max(speeds) < 1.2 * min(speeds)


def test_black_bars_are_told_from_the_picture():
    picture = texture(1)
    picture[:18] = picture[-18:] = 0
    signals = measure([picture] * 25)
    box = {side: signals.column(f"box_{side}").drop_null().to_numpy() for side in ("left", "top", "bottom")}
    assert len(box["top"]) == 8
    assert box["top"] == pytest.approx(18 / 144, abs=0.01)
    assert box["bottom"] == pytest.approx(126 / 144, abs=0.01)
    assert box["left"] == pytest.approx(0, abs=0.01)
    black = measure([np.zeros_like(picture)] * 3)
    assert black.column("box_top").null_count == 3
    assert black.column("luma").to_numpy() == pytest.approx(0, abs=0.5)


def test_hashes_of_like_pictures_are_near_and_of_others_far():
    def distance(a: int, b: int) -> int:
        return ((a ^ b) & (2**64 - 1)).bit_count()

    picture = texture(1)
    hashes = measure(
        [picture, cv2.GaussianBlur(picture, (5, 5), 0), cv2.convertScaleAbs(picture, alpha=0.8), texture(2)]
    )
    first, blurred, darker, other = hashes.column("hash").to_pylist()
    assert distance(first, blurred) <= 6
    assert distance(first, darker) <= 6
    assert distance(first, other) >= 16


def test_a_frame_of_another_size_is_measured_at_the_size_of_the_video():
    extractor = SignalExtractor(256, 144, Fraction(1, 25))
    for index, size in enumerate([(256, 144), (128, 72), (256, 256)]):
        extractor.push(frame_of(cv2.resize(texture(1), size, interpolation=cv2.INTER_AREA), index))
    signals = extractor.finish()
    assert signals.num_rows == 3
    assert max(signals.column("change_luma").drop_null().to_pylist()) < 10


def test_every_column_says_what_it_is():
    schema = measure([texture(1)]).schema
    assert all(field.metadata[b"doc"].endswith(b".") for field in schema)
    assert set(EVIDENCE) <= set(schema.names)
    assert schema.metadata[b"time_base"] == b"1/25"
