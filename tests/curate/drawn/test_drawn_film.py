"""Films: the truth about them is what their frames show."""

import json
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from curate.config import build, to_tree
from curate.counter_random import generator
from curate.drawn.defects import FILM_DEFECTS, HIDES, Defect, text_box
from curate.drawn.film import Film, FilmTruth, Join, Take, film_truth, render_film
from curate.drawn.render import draw_frames
from curate.drawn.sample import sample_shot
from curate.drawn.sample_film import sample_film
from curate.drawn.shot import Shot, World
from curate.drawn.transitions import TRANSITIONS, blend
from curate.errors import ConfigError

BRIGHT = World(lightings=("bright",), texts=(), background_colors=("white", "beige"))
SIZE = {"width": 64, "height": 48, "fps": Fraction(10)}


def shot(index: int, world: World = BRIGHT) -> Shot:
    return sample_shot(generator(21, "film", index), world, duration_s=2.0)


def film_of(join: Join, frames: int = 20) -> Film:
    takes = (
        Take(shot=shot(0), num_frames=frames),
        Take(shot=shot(1, World(background_colors=("navy",))), num_frames=frames),
    )
    return Film(takes=takes, joins=(join,), **SIZE)


def rendered(film: Film) -> np.ndarray:
    return np.stack(list(render_film(film)))


def alone(film: Film, index: int) -> np.ndarray:
    take = film.takes[index]
    times = np.arange(take.num_frames) / float(film.fps)
    return np.stack(list(draw_frames(take.shot, film.width, film.height, times)))


@pytest.mark.parametrize("kind", TRANSITIONS)
def test_a_boundary_is_where_its_truth_says(kind):
    film = film_of(Join(kind, 0 if kind == "cut" else 7))
    frames, truth = rendered(film), film_truth(film)
    (boundary,) = truth.boundaries
    assert len(frames) == truth.num_frames == (40 if kind == "cut" else 33)
    assert (boundary.kind, boundary.style) == (TRANSITIONS[kind], kind)
    first, second = alone(film, 0), alone(film, 1)
    gradual = boundary.end - boundary.start
    assert np.array_equal(frames[: boundary.start], first[: boundary.start])
    assert np.array_equal(frames[boundary.end :], second[gradual:])
    for index in range(boundary.start, boundary.end):  # every frame between is neither the one nor the other
        assert not np.array_equal(frames[index], first[index])
        assert not np.array_equal(frames[index], second[index - boundary.start])
    assert boundary.start <= boundary.frame <= boundary.end
    assert [(scene.start, scene.end) for scene in truth.scenes] == [(0, boundary.start), (boundary.end, len(frames))]


@pytest.mark.parametrize("kind", [kind for kind in TRANSITIONS if kind != "cut"])
def test_a_transition_leads_from_the_old_picture_to_the_new(kind):
    old, new = np.full((30, 40, 3), 80, np.uint8), np.full((30, 40, 3), 200, np.uint8)
    assert np.array_equal(blend(kind, old, new, 0.0), old) or kind == "black"
    assert np.abs(blend(kind, old, new, 1.0).astype(int) - new).mean() < 1 or kind == "black"
    middle = blend(kind, old, new, 0.5).mean()
    assert {"fade_black": middle == 0, "fade_white": middle == 255}.get(TRANSITIONS[kind], 80 < middle < 200)


def test_wipes_and_pushes_go_where_their_names_say():
    old, new = np.zeros((30, 40, 3), np.uint8), np.full((30, 40, 3), 255, np.uint8)
    assert blend("wipe_right", old, new, 0.25)[:, :10].all()
    assert blend("wipe_left", old, new, 0.25)[:, 30:].all()
    assert blend("wipe_down", old, new, 0.2)[:6].all()
    assert blend("wipe_up", old, new, 0.2)[24:].all()
    ramp = np.repeat(np.arange(40, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert blend("push_left", ramp, ramp + 100, 0.25)[0, :, 0].tolist() == [*range(10, 40), *range(100, 110)]
    assert blend("push_right", ramp, ramp + 100, 0.25)[0, :, 0].tolist() == [*range(130, 140), *range(30)]


def test_a_long_film_agrees_with_its_truth():
    film = sample_film(generator(22), seconds=25, **SIZE)
    frames, truth = rendered(film), film_truth(film)
    assert len(frames) == truth.num_frames
    assert abs(len(frames) - 250) <= 15
    covered = np.zeros(len(frames), int)
    for scene in truth.scenes:
        covered[scene.start : scene.end] += 1
    for boundary in truth.boundaries:
        covered[boundary.start : boundary.end] += 1
    assert np.all(covered == 1)
    colors = [scene.shot.background_color for scene in truth.scenes]
    assert all(before != after for before, after in pairwise(colors))
    assert len({boundary.kind for boundary in truth.boundaries}) > 1


def test_the_same_plan_gives_the_same_frames_and_its_truth_survives_json():
    film = sample_film(generator(23), seconds=6, defects=("noise", "flash", "low_light"), defect_share=1.0, **SIZE)
    assert np.array_equal(rendered(film), rendered(film))
    truth = film_truth(film)
    assert build(FilmTruth, json.loads(json.dumps(to_tree(truth)))) == truth


def spoiled(kind: str, **settings: object) -> tuple[np.ndarray, np.ndarray, FilmTruth]:
    """Frames with a defect, the same without it, and the truth."""
    defect = Defect(kind=kind, **settings)
    take = Take(shot=shot(2), num_frames=20)
    clean = rendered(Film(takes=(take,), **SIZE))
    if kind in FILM_DEFECTS:
        film = Film(takes=(take,), defects=(defect,), **SIZE)
    else:
        film = Film(takes=(Take(shot=take.shot, num_frames=20, defects=(defect,)),), **SIZE)
    return rendered(film).astype(float), clean.astype(float), film_truth(film)


@pytest.mark.parametrize("kind", ["black", "exposure", "flash", "frozen", "whip"])
def test_a_defect_of_some_frames_leaves_the_others_alone(kind):
    frames, clean, truth = spoiled(kind, start=5, end=9)
    touched = [index for index in range(20) if not np.array_equal(frames[index], clean[index])]
    assert set(touched) <= set(range(0 if kind == "whip" else 5, 9))
    assert len(touched) >= 3
    (defect,) = truth.scenes[0].defects
    assert (defect.start, defect.end) == (5, 9)
    traps = {"flash": [(5, 9)], "whip": [(5, 9)], "exposure": [(5, 6), (9, 10)]}.get(kind, [])
    assert [(trap.start, trap.end) for trap in truth.traps] == traps
    assert [boundary.required for boundary in truth.boundaries] == ([False] if kind == "black" else [])


def test_defects_do_what_they_say():
    assert not spoiled("black", start=5, end=9)[0][5:9].any()
    frames, clean, _ = spoiled("flash", start=5, end=7)
    assert frames[5:7].mean() > clean[5:7].mean() + 10
    frames, _, _ = spoiled("frozen", start=5, end=9)
    assert np.array_equal(frames[5], frames[8])
    frames, _, truth = spoiled("still")
    assert all(np.array_equal(frames[0], frame) for frame in frames)
    assert truth.scenes[0].hidden == ("camera", "motion")
    frames, clean, _ = spoiled("low_light")
    assert frames.mean() < 0.25 * clean.mean()
    frames, clean, _ = spoiled("noise")
    assert 10 < np.abs(frames - clean).mean() < 40
    frames, clean, _ = spoiled("blur")
    assert np.abs(np.diff(frames, axis=2)).max() < 0.7 * np.abs(np.diff(clean, axis=2)).max()


@pytest.mark.parametrize("kind", ["subtitle", "watermark"])
def test_marks_stay_within_their_box(kind):
    frames, clean, truth = spoiled(kind)
    x, y, width, height = text_box(kind, 64, 48)
    changed = np.abs(frames - clean).max(axis=(0, 3)) > 0
    assert changed[y : y + height, x : x + width].mean() > 0.2
    changed[y : y + height, x : x + width] = False
    assert not changed.any()
    assert "text" in truth.scenes[0].hidden


@pytest.mark.parametrize(("kind", "box"), [("letterbox", (0, 6, 64, 36)), ("pillarbox", (10, 0, 44, 48))])
def test_bars_surround_a_whole_picture(kind, box):
    frames, _, truth = spoiled(kind)
    x, y, width, height = truth.content_box
    assert truth.content_box == box
    inside = frames[:, y : y + height, x : x + width].copy()
    assert np.array_equal(inside[0], next(draw_frames(truth.scenes[0].shot, width, height, np.zeros(1))))
    frames[:, y : y + height, x : x + width] = 0
    assert not frames.any()


def test_captions_of_a_scene_do_not_tell_what_its_defects_hide():
    film = sample_film(
        generator(24),
        seconds=40,
        defects=tuple(kind for kind in HIDES if kind not in FILM_DEFECTS),
        defect_share=1.0,
        **SIZE,
    )
    truth = film_truth(film)
    assert len({defect.kind for scene in truth.scenes for defect in scene.defects}) > 4
    for scene in truth.scenes:
        assert ("camera" in scene.hidden) == ("camera" not in scene.descriptive)
        if "text" in scene.hidden:
            assert "text" not in scene.descriptive
            assert "screen" not in scene.descriptive


def test_a_film_fades_in_and_out():
    film = Film(takes=(Take(shot=shot(3), num_frames=30),), fade_in=5, fade_out=6, **SIZE)
    frames, truth = rendered(film), film_truth(film)
    assert not frames[0].any()
    assert not frames[-1].any()
    assert np.array_equal(frames[5:24], alone(film, 0)[5:24])
    assert [(b.kind, b.start, b.end, b.required) for b in truth.boundaries] == [
        ("fade_black", 0, 5, False),
        ("fade_black", 24, 30, False),
    ]


def test_impossible_plans_are_refused():
    with pytest.raises(ConfigError, match="did you mean dissolve"):
        Join("disolve", 5)
    with pytest.raises(ConfigError, match="a cut has none"):
        Join("cut", 5)
    with pytest.raises(ConfigError, match="did you mean letterbox"):
        Defect(kind="leterbox")
    with pytest.raises(ConfigError, match="all transition"):
        film_of(Join("dissolve", 20))
    with pytest.raises(ConfigError, match="need 0 joins"):
        Film(takes=(Take(shot=shot(0), num_frames=5),), joins=(Join(),))
    with pytest.raises(ConfigError, match="belongs to a take"):
        Film(takes=(Take(shot=shot(0), num_frames=5),), defects=(Defect(kind="blur"),))
