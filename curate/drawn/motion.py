"""Paths of subjects and of the camera over time, in closed form, so that the frame rate changes nothing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curate.drawn.shapes import BOTTOM, EXTENT
from curate.drawn.shot import FLOOR_MOTIONS, Shot, Subject

FLOOR_Y = 0.31
"""Where the floor of falling and bouncing subjects begins, in world coordinates."""

PILLAR_WIDTH = 2.6
"""Width of the pillar that hides a subject, in its radii: wide enough for any shape. It stands in the middle."""

SPACING = 2.7
"""Distance between the copies of a subject, in radii."""

ORBIT = 0.13
"""Radius of the path of what circles."""

_RESTITUTION = 0.8  # share of its speed that a bouncing subject keeps
_DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "hides": (1, 0)}
_CAMERA_DIRECTIONS = {"pan_left": (-1, 0), "pan_right": (1, 0), "tilt_up": (0, -1), "tilt_down": (0, 1)}
_SHAKE = ((0.016, 2.3, 0.4), (0.012, 3.7, 2.1))  # amplitude, Hz, phase


class Track(NamedTuple):
    """A moving point: arrays over time."""

    x: np.ndarray
    y: np.ndarray
    scale: np.ndarray
    turns: np.ndarray


def subject_track(subject: Subject, time_s: np.ndarray) -> Track:
    """Path of a subject in the world, from (subject.x, subject.y) at time 0."""
    zero, one = np.zeros_like(time_s), np.ones_like(time_s)
    motion, done = subject.motion, subject.speed * time_s
    if motion in _DIRECTIONS:
        across, down = _DIRECTIONS[motion]
        return Track(subject.x + across * done, subject.y + down * done, one, zero)
    x, y = subject.x + zero, subject.y + zero
    if motion == "grows":
        return Track(x, y, np.exp(done), zero)
    if motion == "shrinks":
        return Track(x, y, np.exp(-done), zero)
    if motion == "spins":
        return Track(x, y, one, done)
    if motion == "circles":  # clockwise as seen, from the top of its path
        angle = 2 * np.pi * done
        return Track(x + ORBIT * np.sin(angle), y + ORBIT * (1 - np.cos(angle)), one, zero)
    if motion in FLOOR_MOTIONS:
        height = rest_y(subject) - subject.y
        return Track(x, rest_y(subject) - _height(height, subject.speed, time_s, motion == "bounces"), one, zero)
    return Track(x, y, one, zero)


def rest_y(subject: Subject) -> float:
    """Centre of a subject that lies on the floor."""
    return FLOOR_Y - BOTTOM[subject.shape] * subject.radius


def _height(drop: float, gravity: float, time_s: np.ndarray, bounces: bool) -> np.ndarray:
    """Height above the floor of what is let go at `drop`."""
    landed_s = (2 * drop / gravity) ** 0.5
    height = np.maximum(drop - gravity * time_s**2 / 2, 0.0)
    launch = gravity * landed_s * _RESTITUTION
    while bounces and launch > 0.1 * gravity * landed_s:
        flight = time_s - landed_s
        height = np.maximum(height, np.where(flight > 0, launch * flight - gravity * flight**2 / 2, 0.0))
        landed_s += 2 * launch / gravity
        launch *= _RESTITUTION
    return height


def formation(count: int, spacing: float) -> tuple[tuple[float, float], ...]:
    """Offsets of the copies of a subject: one or two side by side, three as a triangle, four as a square."""
    half = spacing / 2
    if count == 3:
        return (0.0, -half), (-half, half), (half, half)
    if count == 4:
        return (-half, -half), (half, -half), (-half, half), (half, half)
    return side_by_side(count, spacing)


def side_by_side(count: int, spacing: float) -> tuple[tuple[float, float], ...]:
    return tuple(((index - (count - 1) / 2) * spacing, 0.0) for index in range(count))


def copies(shot: Shot) -> tuple[tuple[float, float], ...]:
    """Offsets of the copies of the subject of a shot, far enough apart that they never touch."""
    growth = np.exp(shot.subject.speed * shot.duration_s) if shot.subject.motion == "grows" else 1.0
    spacing = SPACING * shot.subject.radius * float(growth)
    return (side_by_side if shot.subject.motion in FLOOR_MOTIONS else formation)(shot.count, spacing)


def camera_track(shot: Shot, time_s: np.ndarray) -> Track:
    """Where the camera looks: the world point at the middle of the frame, and the zoom as scale."""
    zero, one = np.zeros_like(time_s), np.ones_like(time_s)
    done = shot.camera_speed * time_s
    if shot.camera in _CAMERA_DIRECTIONS:
        across, down = _CAMERA_DIRECTIONS[shot.camera]
        return Track(across * done, down * done, one, zero)
    if shot.camera in ("zoom_in", "zoom_out"):
        return Track(zero, zero, np.exp(done if shot.camera == "zoom_in" else -done), zero)
    if shot.camera == "shaky":
        x, y = (
            zero
            + sum(amplitude * np.sin(2 * np.pi * hertz * ratio * time_s + phase) for amplitude, hertz, phase in _SHAKE)
            for ratio in (1.0, 1.27)
        )
        return Track(x, y, one, zero)
    return Track(zero, zero, one, zero)


def reach(shot: Shot, time_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bounds (left, right, top, bottom) over time, in the world, of the subject, its copies and the other object."""
    track = subject_track(shot.subject, time_s)
    margin = EXTENT * shot.subject.radius * track.scale
    offsets = copies(shot)
    left = track.x + min(dx for dx, _ in offsets) - margin
    right = track.x + max(dx for dx, _ in offsets) + margin
    top = track.y + min(dy for _, dy in offsets) - margin
    bottom = track.y + max(dy for _, dy in offsets) + margin
    if shot.other:
        x, y, extent = shot.other.x, shot.other.y, EXTENT * shot.other.radius
        left, right = np.minimum(left, x - extent), np.maximum(right, x + extent)
        top, bottom = np.minimum(top, y - extent), np.maximum(bottom, y + extent)
    return left, right, top, bottom
