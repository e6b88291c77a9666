"""Shots to pictures: uint8 `[H, W, 3]` RGB, smooth-edged, any size and aspect, the same to the bit every time.

    backdrop    pattern, floor and light: once for a camera at rest, else per frame
    subjects    shadow, shape, texture, shading: only the pixels around each
    pillar, text

One world unit is the short side of the frame. Only numpy is needed, so that a training machine can draw its own data.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from curate.counter_random import generator
from curate.drawn.letters import text_distance
from curate.drawn.motion import FLOOR_Y, PILLAR_WIDTH, camera_track, copies, subject_track
from curate.drawn.palette import BACKGROUNDS, COLORS, RGB, mix, pattern_tone, prop_tone, second_tone
from curate.drawn.shapes import DISTANCES, EXTENT, square_wave, texture_distance
from curate.drawn.shot import FLOOR_MOTIONS, Shot, Subject

TEXT_HEIGHT = 0.12
"""Height of the letters of a word, in short sides of the frame."""

_DIM = 0.42
_SHADOW_OFFSET, _SHADOW_SOFTNESS, _SHADOW_DEPTH = (0.16, 0.2), 0.35, 0.4
_STILL_CAMERAS = ("static",)


def render_shot(
    shot: Shot, width: int, height: int, fps: float, num_frames: int | None = None, *, seed: int = 0, grain: float = 0.0
) -> np.ndarray:
    """All frames of a shot, uint8 `[T, H, W, 3]` RGB; frame i shows the time i / fps.

    By default as many frames as fit into its duration. `grain` is the standard deviation of film grain in grey levels,
    which `seed` decides. Raises ValueError for more frames than the shot lasts, because its facts end there.
    """
    longest = round(shot.duration_s * fps) + 1  # the end of a shot is shown, too: 2 s at 4 fps are 8 frames, or 9
    num_frames = max(longest - 1, 1) if num_frames is None else num_frames
    if not 1 <= num_frames <= longest:
        raise ValueError(
            f"{num_frames} frames of a shot of {shot.duration_s:g} s at {fps:g} fps; it has 1 to {longest}"
        )
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for frame, picture in zip(frames, draw_frames(shot, width, height, np.arange(num_frames) / fps), strict=True):
        frame[:] = picture
    return add_grain(frames, grain, generator(seed, "grain")) if grain else frames


def add_grain(pictures: np.ndarray, grain: float, rng: np.random.Generator) -> np.ndarray:
    """Pictures with Gaussian noise of that standard deviation, in grey levels."""
    noise = rng.standard_normal(pictures.shape, np.float32)
    return np.clip(pictures + noise * grain + 0.5, 0, 255).astype(np.uint8)


def draw_frames(
    shot: Shot, width: int, height: int, time_s: np.ndarray, aside: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """The picture at each time. `aside` turns the camera to the right by so much, on top of its own movement."""
    camera = camera_track(shot, time_s)
    camera_x = camera.x if aside is None else camera.x + aside
    track = subject_track(shot.subject, time_s)
    stage = _Stage(shot, width, height)
    for i in range(len(time_s)):
        view = (float(camera_x[i]), float(camera.y[i]), float(camera.scale[i]))
        picture = stage.backdrop(view)
        if shot.other:
            stage.paint(picture, shot.other, view, (shot.other.x, shot.other.y), 1.0, 0.0)
        pose = (float(track.scale[i]), float(track.turns[i]))
        for dx, dy in copies(shot):
            stage.paint(picture, shot.subject, view, (float(track.x[i]) + dx, float(track.y[i]) + dy), *pose)
        stage.paint_foreground(picture)
        yield picture


class _Stage:
    """What stays the same during a shot: sizes, colours, light. A view is the camera's (x, y, zoom)."""

    def __init__(self, shot: Shot, width: int, height: int) -> None:
        self.shot, self.width, self.height = shot, width, height
        self.unit = min(width, height)
        # The action may be anywhere along the long side.
        self.middle_x = width / 2 + shot.shift * (width - self.unit) / 2
        self.middle_y = height / 2 + shot.shift * (height - self.unit) / 2
        self.light = _light_map(shot.lighting, width, height)
        base = BACKGROUNDS[shot.background_color]
        self.tones = _ramp(self._lit(base), self._lit(pattern_tone(base)))
        self.prop = self._lit(prop_tone(base))
        self.fixed: np.ndarray | None = None
        self.text = _text_patch(shot.text, self.unit) if shot.text else None

    def backdrop(self, view: tuple[float, float, float]) -> np.ndarray:
        if self.fixed is not None:
            return self.fixed.copy()
        picture = np.take(self.tones, self._pattern(view), axis=0)
        if self.shot.subject.motion in FLOOR_MOTIONS:
            floor_px = self.middle_y + FLOOR_Y * self.unit
            cover = np.clip(np.arange(self.height) + 1 - floor_px, 0, 1)[:, None, None]
            picture = _blend(picture, np.array(self.prop, np.float32), cover)
        if self.light is not None:
            picture = (picture * self.light + np.float32(0.5)).astype(np.uint8)
        if self.shot.camera in _STILL_CAMERAS:
            self.fixed = picture
            return picture.copy()
        return picture

    def paint(
        self,
        picture: np.ndarray,
        subject: Subject,
        view: tuple[float, float, float],
        place: tuple[float, float],
        scale: float,
        turns: float,
    ) -> None:
        """Paint a subject whose centre is at a place of the world."""
        zoom = view[2]
        radius = subject.radius * scale * zoom * self.unit  # in pixels from here on
        x = self.middle_x + (place[0] - view[0]) * zoom * self.unit
        y = self.middle_y + (place[1] - view[1]) * zoom * self.unit
        soft = self.shot.style == "soft"
        before = EXTENT * radius + 1
        after = before + (max(_SHADOW_OFFSET) + _SHADOW_SOFTNESS) * radius * soft
        columns = slice(max(int(x - before), 0), min(int(x + after) + 1, self.width))
        rows = slice(max(int(y - before), 0), min(int(y + after) + 1, self.height))
        if columns.start >= columns.stop or rows.start >= rows.stop:
            return
        u = ((np.arange(columns.start, columns.stop) + 0.5 - x) / radius).astype(np.float32)[None, :]
        v = ((np.arange(rows.start, rows.stop) + 0.5 - y) / radius).astype(np.float32)[:, None]
        patch = picture[rows, columns].astype(np.float32)
        distance = DISTANCES[subject.shape]
        if soft:
            shadow = distance(*_turned(u - _SHADOW_OFFSET[0], v - _SHADOW_OFFSET[1], turns))
            patch *= (1 - _SHADOW_DEPTH * np.clip(0.5 - shadow / _SHADOW_SOFTNESS, 0, 1))[..., None]
        across, down = _turned(u, v, turns)
        depth = distance(across, down) * np.float32(radius)
        color = self._color(subject, across, down, radius)
        if soft:
            edge = np.clip(depth / np.float32(0.1 * radius) + 1, 0, 1)
            shade = 1.06 - 0.12 * v - 0.08 * u - 0.4 * edge
            color = color * shade[..., None]
        if self.light is not None:
            color = color * self.light[rows, columns]
        patch += (color - patch) * np.clip(np.float32(0.5) - depth, 0, 1)[..., None]
        picture[rows, columns] = np.clip(patch + np.float32(0.5), 0, 255)

    def paint_foreground(self, picture: np.ndarray) -> None:
        """The pillar, and the text, which no light falls on."""
        if self.shot.subject.motion == "hides":
            half = PILLAR_WIDTH / 2 * self.shot.subject.radius * self.unit
            columns = slice(max(int(self.middle_x - half), 0), min(int(self.middle_x + half) + 2, self.width))
            u = (np.arange(columns.start, columns.stop) + 0.5 - self.middle_x) / half
            color = np.array(self.prop, np.float32) * (1 - 0.3 * (self.shot.style == "soft") * u**2)[None, :, None]
            if self.light is not None:
                color = color * self.light[:, columns]
            picture[:, columns] = _blend(
                picture[:, columns], color, np.clip((1 - np.abs(u)) * half + 0.5, 0, 1)[:, None]
            )
        if self.text is not None:
            ink, cover = self.text
            height, width = ink.shape
            top = round(0.03 * self.unit)
            top = self.height - height - top if self.shot.text_place == "bottom" else top
            left = (self.width - width) // 2
            rows, columns = slice(max(top, 0), top + height), slice(max(left, 0), left + width)
            area = picture[rows, columns]
            shown = (slice(0, area.shape[0]), slice(max(-left, 0), max(-left, 0) + area.shape[1]))
            picture[rows, columns] = _blend(area, ink[shown][..., None], cover[shown][..., None])

    def _lit(self, color: RGB) -> RGB:
        return mix(color, (0, 0, 0), 1 - _DIM) if self.shot.lighting == "dim" else color

    def _color(self, subject: Subject, u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
        base = np.array(self._lit(COLORS[subject.color]), np.float32)
        distance = texture_distance(subject.texture, u, v)
        if distance is None:
            return base
        second = np.array(self._lit(second_tone(COLORS[subject.color])), np.float32)
        share = np.clip(distance * np.float32(radius) + np.float32(0.5), 0, 1)
        share = np.broadcast_to(share, np.broadcast_shapes(u.shape, v.shape))  # stripes vary along one axis only
        return base + (second - base) * share[..., None]

    def _pattern(self, view: tuple[float, float, float]) -> np.ndarray:
        """Share of the second tone, 0 to 255, `[H, W]`."""
        shot, width, height = self.shot, self.width, self.height
        pixel = 1 / (self.unit * view[2])
        x = ((np.arange(width) + 0.5 - self.middle_x) * pixel + view[0] + shot.pattern_x).astype(np.float32)
        y = ((np.arange(height) + 0.5 - self.middle_y) * pixel + view[1] + shot.pattern_y).astype(np.float32)
        return _PATTERNS[shot.background_pattern](x, y, np.float32(shot.pattern_period), np.float32(pixel))


def _turned(u: np.ndarray, v: np.ndarray, turns: float) -> tuple[np.ndarray, np.ndarray]:
    if turns == 0.0:
        return u, v
    cos, sin = np.float32(np.cos(2 * np.pi * turns)), np.float32(np.sin(2 * np.pi * turns))
    return cos * u + sin * v, cos * v - sin * u


def _blend(below: np.ndarray, above: np.ndarray, cover: np.ndarray) -> np.ndarray:
    return (below + (above - below.astype(np.float32)) * cover + 0.5).astype(np.uint8)


def _ramp(first: RGB, second: RGB) -> np.ndarray:
    share = np.linspace(0, 1, 256)[:, None]
    return np.round(np.array(first) * (1 - share) + np.array(second) * share).astype(np.uint8)


def _covered(distance: np.ndarray, pixel: np.float32) -> np.ndarray:
    return np.clip(distance / pixel + np.float32(0.5), 0, 1)


def _to_index(share: np.ndarray) -> np.ndarray:
    return (share * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def _plain(x: np.ndarray, y: np.ndarray, period: np.float32, pixel: np.float32) -> np.ndarray:
    return np.zeros((len(y), len(x)), np.uint8)


def _gradient(x: np.ndarray, y: np.ndarray, period: np.float32, pixel: np.float32) -> np.ndarray:
    return np.repeat(np.linspace(0, 255, len(y)).astype(np.uint8)[:, None], len(x), axis=1)


def _striped(x: np.ndarray, y: np.ndarray, period: np.float32, pixel: np.float32) -> np.ndarray:
    # Diagonal: the same for all pixels with the same sum of row and column.
    diagonal = (x[0] + y[0] + np.arange(len(x) + len(y) - 1) * pixel) * np.float32(0.70710678)
    profile = _to_index(_covered(square_wave(diagonal, float(period)), pixel))
    return np.lib.stride_tricks.sliding_window_view(profile, len(x))


def _checkered(x: np.ndarray, y: np.ndarray, period: np.float32, pixel: np.float32) -> np.ndarray:
    across, down = (_covered(square_wave(side, 1.4 * float(period)), pixel) for side in (x, y))
    return _to_index(down[:, None] * (1 - 2 * across) + across)


def _dotted(x: np.ndarray, y: np.ndarray, period: np.float32, pixel: np.float32) -> np.ndarray:
    across, down = (side - period * np.floor(side / period + np.float32(0.5)) for side in (x, y))
    return _to_index(_covered(0.25 * period - np.sqrt((across**2) + (down**2)[:, None]), pixel))


def _grid(x: np.ndarray, y: np.ndarray, period: np.float32, pixel: np.float32) -> np.ndarray:
    across, down = (
        _covered(0.06 * period - np.abs(side - period * np.floor(side / period + np.float32(0.5))), pixel)
        for side in (x, y)
    )
    return _to_index(np.maximum(across, down[:, None]))


def _cloudy(x: np.ndarray, y: np.ndarray, period: np.float32, pixel: np.float32) -> np.ndarray:
    # Two egg-box waves that never fall into step: soft blobs of changing size.
    waves = [
        np.outer(np.cos(ratio * y / period + phase), np.sin(1.31 * ratio * x / period + 2 * phase))
        for ratio, phase in ((np.float32(4.1), np.float32(0.3)), (np.float32(2.3), np.float32(1.7)))
    ]
    return _to_index(np.clip(0.5 + 0.55 * (waves[0] + waves[1]), 0, 1))


_PATTERNS = {
    "plain": _plain,
    "gradient": _gradient,
    "striped": _striped,
    "checkered": _checkered,
    "dotted": _dotted,
    "grid": _grid,
    "cloudy": _cloudy,
}


@lru_cache(maxsize=32)
def _light_map(lighting: str, width: int, height: int) -> np.ndarray | None:
    """Brightness of each pixel, float32 `[H, W, 1]`; None for light that is the same everywhere."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    if lighting == "spotlight":
        return 0.3 + 0.72 * np.exp(-((x**2 + y**2) / np.float32(0.45)))
    if lighting == "sidelight":
        return np.repeat(np.clip(0.68 - 0.36 * x, 0.3, 1.05), height, axis=0)
    return None


@lru_cache(maxsize=64)
def _text_patch(text: str, unit: int) -> tuple[np.ndarray, np.ndarray]:
    """Brightness and coverage of a word in white with a dark rim, float32 `[h, w]`."""
    stroke, rim = max(0.011 * unit, 0.5), max(0.01 * unit, 0.8)
    distance = text_distance(text, TEXT_HEIGHT * unit, int(stroke + rim) + 1)
    white = np.clip(stroke + 0.5 - distance, 0, 1).astype(np.float32)
    return white * 240 + 10, np.clip(stroke + rim + 0.5 - distance, 0, 1).astype(np.float32)
