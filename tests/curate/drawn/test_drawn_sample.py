"""Drawn shots: even slots, nothing held out leaks, and every fact can be seen."""

from collections import Counter
from functools import lru_cache
from itertools import product

import numpy as np
import pytest

from curate.config import build, to_tree
from curate.counter_random import generator
from curate.drawn.motion import camera_track, reach, subject_track
from curate.drawn.palette import CLASHES
from curate.drawn.sample import TEXT_BAND, sample_shot
from curate.drawn.shot import FLOOR_MOTIONS, SLOTS, Shot, World, facts, is_held_out, tiny_world
from curate.errors import ConfigError


@lru_cache
def shots(count: int = 1500, held_out: bool = False) -> list[Shot]:
    return [sample_shot(generator(1, "test", index), held_out=held_out) for index in range(count)]


def combination(shot: Shot) -> tuple[str, str, str]:
    return shot.subject.shape, shot.subject.color, shot.subject.motion


def test_a_shot_survives_json():
    for shot in shots()[:50]:
        assert build(Shot, to_tree(shot)) == shot


def test_held_out_combinations_appear_only_when_asked_for():
    assert not any(is_held_out(*combination(shot)) for shot in shots())
    assert all(is_held_out(*combination(shot)) for shot in shots(300, held_out=True))
    others = [shot.other for shot in shots() + shots(300, held_out=True) if shot.other]
    assert others
    assert not any(is_held_out(other.shape, other.color, "still") for other in others)


@pytest.mark.parametrize("world", [World(), tiny_world()], ids=["full", "tiny"])
def test_one_combination_in_ten_is_held_out_and_each_pair_of_values_is_mostly_seen(world):
    everything = list(product(world.shapes, world.colors, world.motions))
    held_out = [values for values in everything if is_held_out(*values)]
    assert 0.09 < len(held_out) / len(everything) < 0.11
    for first, second in ((0, 1), (0, 2), (1, 2)):
        pairs = Counter((values[first], values[second]) for values in everything)
        lost = Counter((values[first], values[second]) for values in held_out)
        assert max(lost[pair] / pairs[pair] for pair in pairs) <= 1 / 3
    for position, values in enumerate((world.shapes, world.colors, world.motions)):
        assert {combination[position] for combination in held_out} == set(values)


@pytest.mark.parametrize("slot", ["shape", "color", "motion", "size"])
def test_the_values_of_the_main_slots_are_even(slot):
    counts = Counter(facts(shot)[slot] for shot in shots())
    assert set(counts) == set(SLOTS[slot])
    assert max(counts.values()) < 1.7 * min(counts.values())


def test_every_value_of_every_slot_occurs():
    for slot, values in SLOTS.items():
        seen = Counter(facts(shot)[slot] for shot in shots())
        assert set(values) <= set(seen), slot
        assert min(seen[value] for value in values) >= 0.01 * len(shots()), slot


def test_nothing_leaves_the_frame_or_meets_the_text():
    for shot in shots():
        time_s = np.linspace(0, shot.duration_s, 40)
        camera = camera_track(shot, time_s)
        left, right, top, bottom = reach(shot, time_s)
        sides = [(side - camera.x) * camera.scale for side in (left, right)]
        sides += [(side - camera.y) * camera.scale for side in (top, bottom)]
        assert np.abs(sides).max() <= 0.502, shot
        if shot.text and shot.subject.motion not in FLOOR_MOTIONS:
            clear = sides[2].min() + 0.5 if shot.text_place == "top" else 0.5 - sides[3].max()
            assert clear >= TEXT_BAND - 0.002, shot


def test_the_relation_to_the_other_object_holds_during_the_whole_shot():
    for shot in (shot for shot in shots() if shot.other):
        track = subject_track(shot.subject, np.linspace(0, shot.duration_s, 40))
        dx, dy = shot.other.x - track.x, shot.other.y - track.y
        along, across = (dx, dy) if shot.relation in ("left_of", "right_of") else (dy, dx)
        assert np.all(along < 0) if shot.relation in ("left_of", "above") else np.all(along > 0)
        assert np.all(np.abs(along) > np.abs(across))


def test_no_fact_is_drawn_that_cannot_be_seen():
    for shot in shots():
        subject = shot.subject
        if subject.motion == "spins" and subject.shape in ("circle", "ring"):
            assert subject.texture != "plain"
        if subject.size == "small":
            assert subject.texture == "plain"
        if shot.camera != "static":
            assert shot.background_pattern not in ("plain", "gradient")
        if shot.camera.startswith(("pan", "tilt")):
            assert shot.background_pattern != "striped"
        if shot.background_color == "black":
            assert shot.lighting in ("bright", "dim")
        assert (subject.color, shot.background_color) not in CLASHES
        if shot.other:
            assert (shot.other.color, shot.background_color) not in CLASHES
            assert shot.other.color != subject.color


def test_a_given_duration_is_kept_and_motion_still_shows():
    for index in range(60):
        shot = sample_shot(generator(2, "short", index), tiny_world(), duration_s=0.5)
        track = subject_track(shot.subject, np.array([0.0, 0.5]))
        travel = np.hypot(*(np.diff(side)[0] for side in (track.x, track.y)))
        assert shot.duration_s == 0.5
        assert travel == 0 if shot.subject.motion == "still" else travel > 0.24


def test_wrong_values_of_a_world_are_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean triangle"):
        World(shapes=("triangel",))
    with pytest.raises(ConfigError, match="motions is empty"):
        World(motions=())
    with pytest.raises(ConfigError, match="0 < min <= max"):
        World(min_duration_s=3, max_duration_s=2)


def test_a_world_without_room_or_without_combinations_says_so():
    with pytest.raises(ValueError, match="no room for"):
        sample_shot(generator(0), World(sizes=("large",), large_radius=0.6))
    with pytest.raises(ValueError, match="no combination that is held out"):
        sample_shot(generator(0), World(shapes=("circle",), colors=("red",), motions=("still",)), held_out=True)
