"""Pictures of shots: exact, repeatable, and every fact shows."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from curate.counter_random import generator
from curate.drawn.motion import camera_track, subject_track
from curate.drawn.palette import BACKGROUNDS, CLASHES, COLORS
from curate.drawn.render import draw_frames, render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shapes import BOTTOM, DISTANCES, EXTENT
from curate.drawn.shot import SLOTS, Shot, Subject

SPEEDS = {
    "still": 0.0,
    "spins": 0.3,
    "circles": 0.5,
    "falls": 0.6,
    "bounces": 4.0,
    "hides": 0.3,
    "grows": 0.3,
    "shrinks": 0.3,
}


def a_shot(**changes: object) -> Shot:
    subject = Subject(shape="triangle", color="red", size="large", texture="plain", motion="left", speed=0.15)
    parts = {name: changes.pop(name) for name in list(changes) if name in Subject.__slots__}
    base = Shot(subject=replace(subject, **parts), background_pattern="checkered", camera_speed=0.15)
    return replace(base, **changes)


def with_value(slot: str, value: str) -> Shot:
    if slot == "count":
        return a_shot(count=int(value), radius=0.1)
    if slot == "relation":
        x, y = {"left_of": (-0.3, 0.0), "right_of": (0.3, 0.0), "above": (0.0, -0.3), "below": (0.0, 0.3)}[value]
        return a_shot(other=Subject(shape="circle", color="blue", size="small", radius=0.1, x=x, y=y), relation=value)
    if slot == "size":
        return a_shot(size=value, radius=0.085 if value == "small" else 0.15)
    if slot == "motion":
        return a_shot(motion=value, speed=SPEEDS.get(value, 0.15), x=-0.3 if value == "hides" else 0.0, y=-0.1)
    return a_shot(**{slot: value})


@pytest.mark.parametrize("slot", SLOTS)
def test_every_value_of_a_slot_looks_different(slot):
    clips = [render_shot(with_value(slot, value), 64, 64, 4).astype(float) for value in SLOTS[slot]]
    for index, first in enumerate(clips):
        for second in clips[:index]:
            # In some frame, at least one per cent of the picture differs clearly.
            changed = (np.abs(first - second).max(axis=-1) > 24).mean(axis=(1, 2)).max()
            assert changed > 0.01


def test_the_same_shot_gives_the_same_bits():
    shot = sample_shot(generator(3, "render"))
    first, second = (render_shot(shot, 96, 54, 8, seed=5, grain=4.0) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, render_shot(shot, 96, 54, 8, seed=6, grain=4.0))


def test_the_frame_rate_changes_nothing_but_how_often_one_looks():
    for index in range(10):
        shot = sample_shot(generator(3, "rate", index), duration_s=2.0)
        assert np.array_equal(render_shot(shot, 48, 48, 12)[::3], render_shot(shot, 48, 48, 4))


def test_a_frame_does_not_depend_on_the_others():
    shot = sample_shot(generator(3, "alone"), duration_s=2.0)
    (alone,) = draw_frames(shot, 48, 48, np.array([1.25]))
    assert np.array_equal(alone, render_shot(shot, 48, 48, 4)[5])


@pytest.mark.parametrize(("width", "height"), [(64, 64), (33, 47), (108, 192), (256, 108), (320, 180), (9, 7)])
def test_any_size_and_aspect(width, height):
    for index in range(6):
        frames = render_shot(sample_shot(generator(4, "size", index)), width, height, 4, 3)
        assert frames.shape == (3, height, width, 3)
        assert frames.dtype == np.uint8
        assert frames.std() > 1


def test_a_shot_is_as_long_as_it_says():
    shot = replace(a_shot(), duration_s=1.5)
    assert len(render_shot(shot, 16, 16, 8)) == 12
    assert len(render_shot(shot, 16, 16, 8, 13)) == 13
    with pytest.raises(ValueError, match="it has 1 to 13"):
        render_shot(shot, 16, 16, 8, 14)


@pytest.mark.parametrize("shape", DISTANCES)
def test_shapes_keep_to_their_stated_extent_and_floor_and_area(shape):
    side = np.linspace(-1.5, 1.5, 601)
    u, v = np.meshgrid(side, side)
    inside = DISTANCES[shape](u, v) < 0
    assert np.hypot(u, v)[inside].max() <= EXTENT
    assert v[inside].max() == pytest.approx(BOTTOM[shape], abs=0.01)
    assert 1.8 < inside.mean() * 9 < 2.65


@pytest.mark.parametrize(("width", "height"), [(64, 64), (160, 90), (90, 160)])
def test_the_subject_is_drawn_where_its_path_says(width, height):
    for motion in ("left", "right", "up", "down", "circles", "falls", "bounces"):
        shot = a_shot(shape="square", motion=motion, speed=SPEEDS.get(motion, 0.15), y=-0.1, radius=0.1, style="flat")
        shot = replace(shot, background_pattern="plain", background_color="black", shift=0.4)
        frames = render_shot(shot, width, height, 4)
        track = subject_track(shot.subject, np.arange(len(frames)) / 4)
        unit = min(width, height)
        for index, frame in enumerate(frames):
            rows, columns = np.nonzero((frame[..., 0] > 150) & (frame[..., 1] < 80))
            x = (columns.mean() + 0.5 - width / 2 - 0.4 * (width - unit) / 2) / unit
            y = (rows.mean() + 0.5 - height / 2 - 0.4 * (height - unit) / 2) / unit
            assert abs(x - track.x[index]) < 0.02
            assert abs(y - track.y[index]) < 0.02


@pytest.mark.parametrize("camera", SLOTS["camera"])
def test_the_camera_moves_the_world_as_it_says(camera):
    shot = a_shot(camera=camera, camera_speed=0.18, motion="still", shape="square", radius=0.1, style="flat", x=0.05)
    shot = replace(shot, background_pattern="plain", background_color="black")
    frames = render_shot(shot, 192, 192, 4)
    seen = camera_track(shot, np.arange(len(frames)) / 4)
    red = [np.nonzero(frame[..., 0] > 120) for frame in frames]
    x = np.array([columns.mean() + 0.5 for _, columns in red]) / 192 - 0.5
    area = np.array([len(rows) for rows, _ in red]) / 192**2
    assert np.abs(x - (0.05 - seen.x) * seen.scale).max() < 0.01
    assert np.abs(np.sqrt(area / area[0]) - seen.scale).max() < 0.04


@pytest.mark.parametrize("lighting", SLOTS["lighting"])
def test_subjects_stand_out_from_every_background_that_they_may_have(lighting):
    for color in COLORS:
        for background in BACKGROUNDS:
            if (color, background) in CLASHES:
                continue
            shot = a_shot(color=color, background_color=background, lighting=lighting, motion="still", shape="circle")
            (frame,) = render_shot(shot, 64, 64, 4, 1).astype(float)
            (empty,) = render_shot(replace(shot, subject=replace(shot.subject, x=9.0)), 64, 64, 4, 1).astype(float)
            inside = np.abs(frame - empty)[28:36, 28:36].max(axis=-1)
            assert inside.min() > (25 if lighting == "dim" else 45), (color, background)


def test_what_passes_behind_a_pillar_is_gone_for_a_while_and_comes_back():
    shot = a_shot(motion="hides", shape="star", radius=0.09, x=-0.3, speed=0.3, style="flat")
    red = [((frame[..., 0] > 180) & (frame[..., 1] < 80)).sum() for frame in render_shot(shot, 96, 96, 8)]
    assert red[0] > 100
    assert min(red) == 0
    assert red[-1] > 100


def test_the_action_can_be_anywhere_along_the_long_side():
    middles = []
    for shift in (-1.0, 0.0, 1.0):
        (frame,) = render_shot(replace(a_shot(motion="still"), shift=shift), 160, 90, 4, 1)
        middles.append(np.nonzero((frame[..., 0] > 180) & (frame[..., 1] < 80))[1].mean() + 0.5)
    assert middles == pytest.approx([45, 80, 115], abs=1)


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_words_are_white_with_a_dark_rim_before_every_background(background):
    shot = replace(a_shot(motion="still"), text="HELLO", background_color=background, background_pattern="plain")
    (frame,) = render_shot(shot, 128, 128, 4, 1)
    band = frame[:24].astype(int)
    assert (band.min(axis=-1) > 235).sum() > 100 + (24 * 128 * 0.6 if background == "white" else 0)
    assert (band.max(axis=-1) < 40).sum() > 100


def test_shots_are_drawn_and_described_with_numpy_alone():
    program = (
        "import sys, curate.drawn.sample, curate.drawn.render, curate.drawn.describe, curate.drawn.judge\n"
        "heavy = {'cv2', 'av', 'torch', 'pyarrow', 'scenedetect', 'ray'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def place(frame: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero((frame[..., 0] > 150) & (frame[..., 1] < 80))
    return float(columns.mean()), float(rows.mean())


@pytest.mark.parametrize(
    ("names", "step"),
    [  # a subject goes where it is said to go; when the camera does, everything goes the other way
        ({"motion": "left"}, (-1, 0)),
        ({"motion": "right"}, (1, 0)),
        ({"motion": "up"}, (0, -1)),
        ({"motion": "down"}, (0, 1)),
        ({"camera": "pan_left"}, (1, 0)),
        ({"camera": "pan_right"}, (-1, 0)),
        ({"camera": "tilt_up"}, (0, 1)),
        ({"camera": "tilt_down"}, (0, -1)),
    ],
)
def test_directions_are_as_the_eye_sees_them(names, step):
    shot = a_shot(**{"motion": "still", "style": "flat", "background_pattern": "plain", **names})
    frames = render_shot(shot, 64, 64, 4)
    (x, y), (later_x, later_y) = place(frames[0]), place(frames[-1])
    assert np.allclose((later_x - x, later_y - y), np.array(step) * 0.15 * 1.75 * 64, atol=1)


def test_a_quarter_turn_turns_the_picture_clockwise():
    for shape in DISTANCES:
        shot = a_shot(shape=shape, motion="spins", speed=0.25, style="flat", background_pattern="plain", color="red")
        frames = render_shot(shot, 65, 65, 4).astype(int)
        assert np.abs(frames[4] - np.rot90(frames[0], -1)).max() <= 2
