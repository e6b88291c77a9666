"""The judge reads every fact of the tiny world back, and does not see what is not there."""

from collections import Counter
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest

from curate.counter_random import generator
from curate.drawn.judge import JUDGED_SLOTS, judge, score
from curate.drawn.render import render_shot
from curate.drawn.sample import sample_shot
from curate.drawn.shot import Shot, World, facts, tiny_world
from curate.errors import ConfigError


@lru_cache
def shots(num_frames: int) -> list[Shot]:
    seconds = max(num_frames - 1, 4) / 8
    return [sample_shot(generator(31, "judge", index), tiny_world(), duration_s=seconds) for index in range(80)]


def accuracy(width: int, height: int, num_frames: int, spoil=lambda frames, seed: frames) -> dict[str, float]:
    right: Counter[str] = Counter()
    for seed, shot in enumerate(shots(num_frames)):
        right.update(score(spoil(render_shot(shot, width, height, 8, num_frames), seed), facts(shot)))
    return {slot: right[slot] / len(shots(num_frames)) for slot in JUDGED_SLOTS}


def noisy(frames, seed):
    noise = generator(seed, "noise").normal(0, 12, frames.shape)
    return np.clip(frames + noise, 0, 255).astype(np.uint8)


def blurred(frames, seed):
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 1.0) for frame in frames])


def faded(frames, seed):
    return (frames * 0.8 + 30).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (24, 40), (40, 24), (48, 32), (64, 48)])
@pytest.mark.parametrize("num_frames", [5, 9])
def test_it_reads_clean_pictures(width, height, num_frames):
    assert min(accuracy(width, height, num_frames).values()) >= 0.99


@pytest.mark.parametrize("spoil", [noisy, blurred, faded, lambda frames, seed: noisy(blurred(frames, seed), seed)])
@pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 48)])
def test_it_reads_spoiled_pictures(width, height, spoil):
    assert min(accuracy(width, height, 9, spoil).values()) >= 0.95


def test_a_still_has_every_fact_but_motion():
    for shot in shots(5)[:20]:
        frames = render_shot(shot, 48, 32, 8, 1)
        seen = judge(frames).facts()
        assert seen == facts(shot, hidden=set(facts(shot)) - (set(JUDGED_SLOTS) - {"motion"}))
        assert "motion" not in score(frames, facts(shot))


def test_it_measures_where_the_subject_is():
    for shot in shots(9)[:20]:
        shot = replace(shot, shift=0.0)
        judged = judge(render_shot(shot, 64, 64, 8, 9))
        offset = 0.0 if shot.subject.shape != "triangle" else 0.01
        assert judged.x[0] == pytest.approx(shot.subject.x, abs=0.01 + offset)
        assert judged.y[0] == pytest.approx(shot.subject.y, abs=0.01 + offset)
        assert judged.radius == pytest.approx(shot.subject.radius, rel=0.05)


def test_played_backwards_or_mirrored_the_motion_turns_around():
    opposite = {"left": "right", "right": "left", "up": "down", "down": "up", "still": "still"}
    for shot in shots(9)[:30]:
        frames, motion = render_shot(shot, 32, 32, 8, 9), shot.subject.motion
        assert judge(frames[::-1]).motion == opposite[motion]
        mirrored = opposite[motion] if motion in ("left", "right") else motion
        assert judge(frames[:, :, ::-1]).motion == mirrored


def test_nothing_is_seen_where_nothing_is():
    rng = np.random.default_rng(0)
    empty = np.full((4, 32, 32, 3), 136, np.uint8)
    noise = rng.integers(0, 255, (4, 32, 32, 3), np.uint8)
    clouds = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in noise])
    for frames in (empty, noise, clouds):
        seen = judge(frames).facts()
        assert {seen[slot] for slot in ("shape", "color", "size", "motion")} == {None}


def test_a_subject_that_is_gone_for_a_frame_is_still_followed():
    shot = next(shot for shot in shots(9) if shot.subject.motion == "up")
    frames = render_shot(shot, 48, 48, 8, 9)
    frames[4] = frames[4, 0, 0]
    judged = judge(frames)
    assert judged.facts() == judge(render_shot(shot, 48, 48, 8, 9)).facts()
    assert judged.x[4] is None
    frames[2:6] = frames[4, 0, 0]
    assert judge(frames).shape is None  # half of the time is too long


def test_strange_colours_shapes_sizes_and_directions_are_none_of_the_known():
    shot = next(shot for shot in shots(9) if shot.subject.motion == "right" and shot.subject.size == "small")
    star = replace(shot, subject=replace(shot.subject, shape="star"))
    assert judge(render_shot(star, 64, 64, 8, 9)).shape is None
    dot = replace(shot, subject=replace(shot.subject, radius=0.07))
    assert judge(render_shot(dot, 64, 64, 8, 9)).size is None
    brown = replace(shot, background_color="brown")
    assert judge(
        render_shot(brown, 64, 64, 8, 9), replace(tiny_world(), background_colors=("white",))
    ).facts() == dict.fromkeys(JUDGED_SLOTS)
    orange = replace(shot, background_color="black", subject=replace(shot.subject, color="orange"))
    only_blue = replace(tiny_world(), colors=("blue",))
    assert judge(render_shot(orange, 64, 64, 8, 9), only_blue).color is None
    frames = render_shot(replace(shot, subject=replace(shot.subject, x=-0.2, y=0.0)), 64, 64, 8, 9)
    slanted = np.stack([np.roll(frame, 2 * index, axis=0) for index, frame in enumerate(frames)])
    assert judge(slanted).motion is None


def test_what_it_cannot_judge_is_refused():
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(ConfigError, match="more background_patterns, textures"):
        judge(frames, World())
    with pytest.raises(ValueError, match="expected uint8"):
        judge(frames.astype(np.float32))
    with pytest.raises(ValueError, match="expected uint8"):
        judge(frames[0])
