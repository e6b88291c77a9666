"""Scores say what is in the picture: checked on drawn shots whose facts are known."""

from fractions import Fraction

import cv2
import numpy as np
import pyarrow as pa
import pytest

from curate.counter_random import generator
from curate.drawn.defects import Defect
from curate.drawn.film import Film, Take, render_film
from curate.drawn.sample import sample_shot
from curate.drawn.shot import World
from curate.scores import SCORED, camera_label, clip_scores
from curate.shots import analyse_shots
from curate.signals import SignalExtractor
from curate.video import ReducedFrame, work_size

FPS = 24
SIZE = (320, 180)


def scores_of(pictures, size=SIZE) -> dict:
    """Scores of RGB pictures, as if they had been decoded."""
    width, height = work_size(*size)
    extractor = SignalExtractor(width, height, Fraction(1, FPS))
    for index, picture in enumerate(pictures):
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        planes = cv2.cvtColor(small, cv2.COLOR_RGB2YUV_I420)
        chroma = planes[height:].reshape(2, height // 2, width // 2)
        extractor.push(ReducedFrame(index, 1, planes[:height], chroma[0], chroma[1], False, False))
    signals = extractor.finish()
    signals = signals.append_column("damaged", pa.array([False] * signals.num_rows))
    values = {name: signals.column(name).to_numpy() for name in SCORED}
    shots = analyse_shots(signals)
    video = {"width_px": size[0], "height_px": size[1], "fps": FPS, "bitrate_bps": 1e6}
    return clip_scores(values, shots.inner_change(0, signals.num_rows), len(shots.flashes), video)


def film(world: World, *defects: str | Defect, seed: int = 0, seconds: float = 3.0, **film_settings):
    shot = sample_shot(generator(seed, "scores"), world)
    found = tuple(defect if isinstance(defect, Defect) else Defect(kind=defect) for defect in defects)
    take = Take(shot=shot, num_frames=round(seconds * FPS), defects=found)
    return render_film(Film(takes=(take,), width=SIZE[0], height=SIZE[1], seed=seed, **film_settings))


def plain(**settings) -> World:
    """Shots of one large subject that stays where it is, before a pattern, without a word."""
    usual = {"motions": ("still",), "sizes": ("large",), "counts": (1,), "lightings": ("bright",)}
    usual |= {"cameras": ("static",), "background_patterns": ("checkered",), "other_share": 0.0, "text_share": 0.0}
    return World(**(usual | settings))


CAMERAS = ("static", "pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out")


@pytest.mark.parametrize("camera", CAMERAS)
def test_camera_movement_is_measured_and_named(camera):
    for seed in range(3):
        scores = scores_of(film(plain(cameras=(camera,)), seed=seed))
        assert scores["camera_motion"] == camera, (seed, scores)


def test_what_moves_before_a_still_camera_is_the_subjects_motion():
    still = scores_of(film(plain()))
    moving = scores_of(film(plain(motions=("right",))))
    panning = scores_of(film(plain(cameras=("pan_left",))))
    assert still["motion"] < 0.002
    assert moving["motion"] > 5 * still["motion"] + 0.002
    assert moving["subject_motion"] > 0.7 * moving["motion"]
    assert panning["motion"] > 0.02
    assert panning["subject_motion"] < 0.5 * panning["motion"]


def test_shake_is_told_from_a_smooth_pan():
    def shaken():
        rng = np.random.default_rng(0)
        for picture in film(plain()):
            move = np.float32([[1, 0, rng.normal(0, 5)], [0, 1, rng.normal(0, 5)]])
            yield cv2.warpAffine(picture, move, SIZE, borderMode=cv2.BORDER_REFLECT)

    scores = scores_of(shaken())
    assert scores["camera_motion"] == "shaky"
    assert scores["shake"] > 10 * scores_of(film(plain(cameras=("pan_left",))))["shake"]


def test_light_colour_and_sharpness():
    grey = scores_of(np.full((24, 180, 320, 3), 128, np.uint8))
    red = scores_of(np.full((24, 180, 320, 3), (200, 0, 0), np.uint8))
    assert grey["luma"] == pytest.approx(128, abs=1)
    assert grey["contrast"] == pytest.approx(0, abs=0.5)
    assert grey["saturation"] == pytest.approx(0, abs=2)
    assert red["saturation"] > 60
    sharp, blurred = scores_of(film(plain())), scores_of(film(plain(), "blur"))
    assert blurred["sharpness"] < 0.2 * sharp["sharpness"]
    assert scores_of(film(plain(), "low_light"))["luma"] < 0.4 * sharp["luma"]


def test_frozen_and_black_stretches_are_shares():
    world = plain(motions=("right",), cameras=("pan_left",))
    assert scores_of(film(world))["frozen_fraction"] == 0
    frozen = scores_of(film(world, Defect(kind="frozen", start=18, end=54)))
    assert frozen["frozen_fraction"] == pytest.approx(35 / 71, abs=0.03)
    black = scores_of(film(world, Defect(kind="black", start=18, end=54)))
    assert black["black_fraction"] == pytest.approx(0.5, abs=0.05)
    stars = np.zeros((24, 180, 320, 3), np.uint8)
    stars[:, ::20, ::20] = 255
    assert scores_of(stars)["black_fraction"] == 0  # dark, but not all over


def test_a_flash_is_counted_and_is_no_change_of_the_shot():
    scores = scores_of(film(plain(), Defect(kind="flash", start=30, end=32)))
    assert scores["flashes"] == 1
    assert scores["inner_change"] < 1
    assert scores_of(film(plain()))["flashes"] == 0


def test_a_picture_below_video_black_is_black():
    extractor = SignalExtractor(64, 48, Fraction(1, FPS))
    chroma = np.full((24, 32), 128, np.uint8)
    extractor.push(ReducedFrame(0, 1, np.full((48, 64), 3, np.uint8), chroma, chroma, False, False))
    assert extractor.finish().column("luma").to_pylist() == [0.0]


@pytest.mark.parametrize(
    ("kind", "box"), [("letterbox", (0, 22, 320, 136)), ("pillarbox", (48, 0, 224, 180)), (None, (0, 0, 320, 180))]
)
def test_bars_are_found_to_the_pixel_of_the_reduced_frame(kind, box):
    defects = (Defect(kind=kind),) if kind else ()
    scores = scores_of(film(plain(), defects=defects))
    found = [scores[f"content_{name}_px"] for name in ("x", "y", "width", "height")]
    assert found == pytest.approx(box, abs=3)
    assert scores["letterbox_fraction"] == pytest.approx(1 - box[2] * box[3] / (320 * 180), abs=0.02)


def test_what_cannot_be_computed_is_none():
    one = scores_of(np.zeros((1, 180, 320, 3), np.uint8))
    assert {name for name, value in one.items() if value is None} == {
        *("motion", "motion_p95", "subject_motion", "pan", "tilt", "zoom", "shake", "camera_motion"),
        *("content_x_px", "content_y_px", "content_width_px", "content_height_px", "letterbox_fraction"),
        *("frozen_fraction", "inner_change"),
    }
    assert one["black_fraction"] == 1


@pytest.mark.parametrize(
    ("speeds", "label"),
    [
        ((0.0, 0.0, 0.0, 0.0), "static"),
        ((0.1, 0.0, 0.0, 0.01), "pan_right"),
        ((-0.1, 0.04, 0.0, 0.0), "pan_left"),
        ((0.1, 0.09, 0.0, 0.0), "mixed"),
        ((0.0, 0.1, 0.0, 0.0), "tilt_up"),
        ((0.0, 0.0, -0.1, 0.0), "zoom_out"),
        ((0.02, 0.0, 0.0, 0.1), "shaky"),
        ((0.3, 0.0, 0.0, 0.1), "pan_right"),  # a whip pan is no shake
    ],
)
def test_labels_follow_the_strongest_movement(speeds, label):
    assert camera_label(*speeds) == label
