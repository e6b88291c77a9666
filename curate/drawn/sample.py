"""Drawing shots at random: every slot even, and no fact that could not be seen.

combination   shape, colour, motion: evenly from those of the world (or from those held out); then size and camera
other slots   one after the other, evenly from the values that can be seen beside what is already chosen
geometry      speeds that show, and a place where nothing leaves the frame or meets the text; else draw again
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeVar

import numpy as np

from curate.drawn.motion import PILLAR_WIDTH, camera_track, reach, rest_y, subject_track
from curate.drawn.shapes import EXTENT
from curate.drawn.shot import EVENTS, FLOOR_MOTIONS, Shot, Subject, World, is_held_out

T = TypeVar("T")

TEXT_BAND = 0.2
"""Height at the top or bottom of the frame that a word has to itself."""

# Camera moves that would hide, or be hidden by, the subject's own motion.
_CONFLICTS = {
    "pan_left": ("left", "right", "circles"),
    "pan_right": ("left", "right", "circles"),
    "tilt_up": ("up", "down", "circles"),
    "tilt_down": ("up", "down", "circles"),
    "zoom_in": ("grows", "shrinks", "circles"),
    "zoom_out": ("grows", "shrinks", "circles"),
}
# Backgrounds before which a camera move cannot be seen: featureless ones, and stripes that slide along themselves.
_FEATURELESS = ("plain", "gradient")
_MARGIN = 0.01
_GAP = 0.05
_OTHER_RADIUS = 0.1


@lru_cache(maxsize=16)
def _combinations(world: World, held_out: bool) -> tuple[tuple[str, str, str], ...]:
    return world.combinations(held_out=held_out)


def sample_shot(
    rng: np.random.Generator, world: World | None = None, *, held_out: bool = False, duration_s: float | None = None
) -> Shot:
    """Draw a shot. `held_out` draws from the combinations that are never drawn otherwise.

    `duration_s` is the time from the first frame that is to be rendered to the last; by default the world decides.
    Raises ValueError when the world has no combination on that side, or no room for its subjects.
    """
    world = world or World()
    combinations = _combinations(world, held_out)
    if not combinations:
        raise ValueError(
            f"this world has no combination that is {'' if held_out else 'not '}held out; add values to it"
        )
    combination = _pick(rng, combinations)
    size = _pick(rng, world.sizes_for(combination[0], combination[2]))
    camera = _pick(rng, _cameras_for(world, combination[2]))
    seconds = duration_s or rng.uniform(world.min_duration_s, world.max_duration_s)
    for _ in range(500):
        shot = _place(_draw_slots(rng, world, combination, size, camera, seconds), rng)
        if shot is not None:
            return shot
    radius = world.small_radius if size == "small" else world.large_radius
    raise ValueError(
        f"no room for a {size} {' '.join(combination)} of radius {radius:g} with camera {camera}; reduce it"
    )


def _pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    return values[int(rng.integers(len(values)))]


def _draw_slots(
    rng: np.random.Generator, world: World, combination: tuple[str, str, str], size: str, camera: str, seconds: float
) -> Shot:
    shape, color, motion = combination
    background = _pick(rng, world.backgrounds_for(color))
    radius = (world.small_radius if size == "small" else world.large_radius) * rng.uniform(0.95, 1.05)
    shot = Shot(
        subject=Subject(
            shape=shape,
            color=color,
            size=size,
            texture=_pick(rng, world.textures_for(shape, size, motion)),
            motion=motion,
            radius=radius,
        ),
        background_color=background,
        background_pattern=_draw_pattern(rng, world, camera),
        pattern_period=rng.uniform(0.26, 0.36),
        pattern_x=rng.uniform(-0.5, 0.5),
        pattern_y=rng.uniform(-0.5, 0.5),
        lighting=_pick(rng, _lightings_for(world, background)),
        camera=camera,
        duration_s=seconds,
        shift=0.0 if camera.startswith("zoom") else rng.uniform(-1, 1),  # a zoom is about the middle
        style=world.style,
    )
    if world.texts and rng.random() < world.text_share:
        place = "bottom" if motion in FLOOR_MOTIONS else _pick(rng, ("top", "bottom"))
        shot = replace(shot, text=_pick(rng, world.texts), text_place=place)
    if motion == "hides":
        return shot
    if world.relations and motion not in EVENTS and rng.random() < world.other_share:
        other = _draw_other(rng, world, shot)
        return replace(shot, other=other, relation=_pick(rng, world.relations)) if other else shot
    return replace(shot, count=_pick(rng, world.counts))


def _cameras_for(world: World, motion: str) -> tuple[str, ...]:
    """Camera moves that can be seen beside a motion, before some pattern of this world."""
    if motion in EVENTS:
        return ("static",)
    return tuple(
        camera
        for camera in world.cameras
        if motion not in _CONFLICTS.get(camera, ()) and (camera == "static" or _patterns_for(world, camera))
    ) or ("static",)


def _patterns_for(world: World, camera: str) -> tuple[str, ...]:
    if camera == "static":
        return world.background_patterns
    hidden_by = (*_FEATURELESS, "striped") if camera.startswith(("pan", "tilt")) else _FEATURELESS
    return tuple(pattern for pattern in world.background_patterns if pattern not in hidden_by)


def _draw_pattern(rng: np.random.Generator, world: World, camera: str) -> str:
    patterns = _patterns_for(world, camera)
    featureless = tuple(pattern for pattern in patterns if pattern in _FEATURELESS)
    # Only a camera at rest can have these, so it has them half of the time: all patterns stay about even.
    return _pick(rng, featureless if featureless and rng.random() < 0.5 else patterns)


def _lightings_for(world: World, background: str) -> tuple[str, ...]:
    # Uneven light does not show on black, where a subject in the dark part would only look dim.
    even = tuple(lighting for lighting in world.lightings if lighting in ("bright", "dim"))
    return even if background == "black" and even else world.lightings


def _draw_other(rng: np.random.Generator, world: World, shot: Shot) -> Subject | None:
    subject = shot.subject
    choices = [
        (shape, color)
        for shape in world.shapes
        for color in world.colors
        if shape != subject.shape
        and color != subject.color
        and shot.background_color in world.backgrounds_for(color)
        and not is_held_out(shape, color, "still")
    ]
    if not choices:
        return None
    shape, color = _pick(rng, choices)
    return Subject(shape=shape, color=color, size="small", radius=_OTHER_RADIUS)


def _place(shot: Shot, rng: np.random.Generator) -> Shot | None:
    """Give speeds and positions to a shot; None when there is no room for it."""
    time_s = np.linspace(0.0, shot.duration_s, 49)
    for boost in (1.0, 0.5, 0.0):
        placed = _with_place(_with_speeds(shot, rng, boost), rng, time_s)
        if placed is not None:
            return placed
    return None


def _with_speeds(shot: Shot, rng: np.random.Generator, boost: float) -> Shot:
    """Speeds that show within the duration; `boost` 1 gives the full range, less keeps to its slow end."""
    seconds, motion = shot.duration_s, shot.subject.motion

    def between(low: float, high: float) -> float:
        return rng.uniform(low, low + (high - low) * boost)

    speed = 0.0
    if motion in ("left", "right", "up", "down"):
        speed = float(np.clip(between(0.15, 0.4) * seconds, 0.25, 0.25 + 0.3 * boost)) / seconds
    elif motion in ("grows", "shrinks"):
        speed = float(np.log(between(1.7, 2.1))) / seconds
    elif motion == "spins":  # at four frames per second, still less than half of the symmetry of a star per frame
        speed = between(0.2, 0.35) if seconds > 1 else between(0.3, 0.35)
    elif motion == "circles":
        speed = max(between(0.8, 1.2) / seconds, 0.3)
    elif motion == "hides":
        speed = between(0.58, 0.72) / seconds * (1 if rng.random() < 0.5 else -1)
    camera_speed = 0.0
    if shot.camera.startswith(("pan", "tilt")):
        camera_speed = between(0.22, 0.42) / seconds
    elif shot.camera.startswith("zoom"):
        camera_speed = float(np.log(between(1.35, 1.75))) / seconds
    return replace(shot, subject=replace(shot.subject, speed=speed), camera_speed=camera_speed)


def _with_place(shot: Shot, rng: np.random.Generator, time_s: np.ndarray) -> Shot | None:
    top, bottom = -0.5 + _MARGIN, 0.5 - _MARGIN
    if shot.text and shot.text_place == "top":
        top += TEXT_BAND
    elif shot.text and shot.subject.motion not in FLOOR_MOTIONS:
        bottom -= TEXT_BAND
    if shot.subject.motion in FLOOR_MOTIONS:
        shot = _above_floor(shot, rng, top)
    elif shot.subject.motion == "hides":
        subject = replace(shot.subject, x=-shot.subject.speed * shot.duration_s / 2)
        shot = replace(shot, subject=subject)
        clear = abs(subject.x) - (PILLAR_WIDTH / 2 + EXTENT) * subject.radius
        if clear < _GAP / 2:
            return None
    elif shot.other:
        beside = _beside(shot, rng, time_s)
        if beside is None:
            return None
        shot = beside
    left, right, up, down = reach(shot, time_s)
    camera = camera_track(shot, time_s)
    free_x = _room(left, right, camera.x, camera.scale, (-0.5 + _MARGIN, 0.5 - _MARGIN))
    free_y = _room(up, down, camera.y, camera.scale, (top, bottom))
    fixed_x, fixed_y = shot.subject.motion == "hides", shot.subject.motion in FLOOR_MOTIONS
    x = _somewhere(rng, free_x, fixed_x)
    y = _somewhere(rng, free_y, fixed_y)
    return None if x is None or y is None else _moved(shot, x, y)


def _room(
    low: np.ndarray, high: np.ndarray, camera: np.ndarray, zoom: np.ndarray, frame: tuple[float, float]
) -> tuple[float, float]:
    """Shifts of the world that keep [low, high] inside the frame at all times, along one axis."""
    return float((frame[0] / zoom + camera - low).max()), float((frame[1] / zoom + camera - high).min())


def _somewhere(rng: np.random.Generator, free: tuple[float, float], fixed: bool) -> float | None:
    low, high = free
    if fixed:
        return 0.0 if low <= 0 <= high else None
    return rng.uniform(low, high) if low <= high else None


def _moved(shot: Shot, x: float, y: float) -> Shot:
    def move(subject: Subject) -> Subject:
        return replace(subject, x=subject.x + x, y=subject.y + y)

    return replace(shot, subject=move(shot.subject), other=move(shot.other) if shot.other else None)


def _above_floor(shot: Shot, rng: np.random.Generator, top: float) -> Shot:
    """Let go near the top, with a gravity that shows the whole event within the shot."""
    subject = shot.subject
    y = top + EXTENT * subject.radius + rng.uniform(0.0, 0.06)
    drop = rest_y(subject) - y
    landing_s = shot.duration_s * (rng.uniform(0.6, 0.8) if subject.motion == "falls" else rng.uniform(0.22, 0.3))
    return replace(shot, subject=replace(subject, y=y, speed=2 * max(drop, 0.05) / landing_s**2))


def _beside(shot: Shot, rng: np.random.Generator, time_s: np.ndarray) -> Shot | None:
    """Put the other object next to the path of the subject, so that their relation holds at all times."""
    assert shot.other is not None
    left, right, top, bottom = reach(replace(shot, other=None), time_s)
    track = subject_track(shot.subject, time_s)
    away = _GAP + EXTENT * shot.other.radius + rng.uniform(0, 0.05)
    x = (track.x.min() + track.x.max()) / 2 + rng.uniform(-0.04, 0.04)
    y = (track.y.min() + track.y.max()) / 2 + rng.uniform(-0.04, 0.04)
    if shot.relation == "left_of":
        x = left.min() - away
    elif shot.relation == "right_of":
        x = right.max() + away
    elif shot.relation == "above":
        y = top.min() - away
    else:
        y = bottom.max() + away
    dx, dy = np.abs(track.x - x), np.abs(track.y - y)
    along, across = (dx, dy) if shot.relation in ("left_of", "right_of") else (dy, dx)
    if np.any(along < 1.25 * across):
        return None
    return replace(shot, other=replace(shot.other, x=float(x), y=float(y)))
