"""A judge in closed form: reads the facts of the tiny world back from pictures, to score generated videos.

    judged = judge(frames)                  frames uint8 [T, H, W, 3]; one frame is a still and has no motion
    judged.facts()                          {"color": "red", "size": "small", "motion": "left", ...}; None: not readable
    score(frames, facts(shot))              {"color": True, "size": False, ...}

    background   median of the border, and the nearest background of the world
    colour       every pixel is a blend of background and subject: the colour that leaves the least unexplained
    cover        share of the subject in each pixel, hence sub-pixel centroids and areas, around the densest part
    shape        overlap (Dice) of the cover with each shape drawn at the same centroid and area, mean over frames
    size         the radius that the area gives for that shape
    motion       the straight line through the centroids

No weights, no training, no text encoder: it knows nothing that a model could have learned to please.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from curate.drawn.palette import BACKGROUNDS, COLORS, RGB
from curate.drawn.shapes import DISTANCES, EXTENT
from curate.drawn.shot import World, tiny_world
from curate.errors import ConfigError

JUDGED_SLOTS = ("shape", "color", "size", "motion", "background_color")

_MAX_COLOR_ERROR = 80.0  # in RGB; colours further than this from every colour of the world are none of them
_MIN_DICE = 0.88  # a star drawn over the best circle has 0.87, heavy noise on a small circle 0.92
_MIN_TRAVEL = 0.12  # in short sides: half of the shortest travel of a subject that moves
_BLURS_PX = (0.0, 0.8, 1.3)  # standard deviations that shapes are compared at: sharp, and slightly blurred
_SMALLEST_AREA = 1.8  # of any shape, in square radii
_MAX_SLANT = 0.5  # of the lesser to the greater component of a motion


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a video shows. A fact that cannot be read is None; all but the background are when no subject is found."""

    shape: str | None = None
    color: str | None = None
    size: str | None = None
    motion: str | None = None
    background_color: str | None = None
    is_still: bool = False
    dice: float = 0.0  # overlap with the best shape, 0 to 1
    radius: float = 0.0  # in short sides
    x: tuple[float | None, ...] = ()  # centroid per frame, in world coordinates; None where the subject is gone
    y: tuple[float | None, ...] = ()

    def facts(self) -> dict[str, str | None]:
        """The judged slots; `motion` is left out of a still."""
        return {slot: getattr(self, slot) for slot in JUDGED_SLOTS if slot != "motion" or not self.is_still}


def score(frames: np.ndarray, wanted: Mapping[str, str | None], world: World | None = None) -> dict[str, bool]:
    """Which of the wanted facts a video shows, over the slots that can be judged."""
    seen = judge(frames, world).facts()
    return {slot: value == wanted[slot] for slot, value in seen.items() if slot in wanted}


def judge(frames: np.ndarray, world: World | None = None) -> Judged:
    """Read the facts of a video, uint8 `[T, H, W, 3]`. The world must be flat, plain, bright and seen at rest.

    Raises ConfigError for a world with more in it, ValueError for an array of another kind.
    """
    world = world or tiny_world()
    _check(frames, world)
    is_still = len(frames) == 1
    pixels = frames.astype(np.float32)
    ground = np.median(np.concatenate([side.reshape(-1, 3) for side in _border(pixels)]), axis=0)
    background = _nearest(ground, {name: BACKGROUNDS[name] for name in world.background_colors})
    if background is None:
        return Judged(is_still=is_still)
    color, hue = _subject_color(pixels - ground, ground, world)
    nothing = Judged(background_color=background, is_still=is_still)
    if color is None:
        return nothing
    unit = min(frames.shape[1:3])
    smallest = min(_radii(world).values())
    cover = np.clip((pixels - ground) @ (hue / (hue @ hue)), -0.5, 1.2)
    parts = [_subject_part(frame, round(2 * EXTENT * max(_radii(world).values()) * unit)) for frame in cover]
    areas = np.array([part.sum() for part in parts])
    seen = areas > (0.6 * smallest * unit) ** 2 * min(map(_area, world.shapes))
    if seen.mean() < 0.7:
        return nothing
    x, y = np.array(
        [_centroid(part) if is_seen else (np.nan, np.nan) for part, is_seen in zip(parts, seen, strict=True)]
    ).T
    shape, dice = _shape(parts, x, y, areas, seen, world)
    radius = float(np.sqrt(np.median(areas[seen]) / _area(shape))) / unit
    return Judged(
        shape=shape if dice >= _MIN_DICE else None,
        color=color,
        size=_size(radius, world),
        motion=None if is_still else _motion(x / unit, y / unit, world),
        background_color=background,
        is_still=is_still,
        dice=dice,
        radius=radius,
        x=_or_none((x - frames.shape[2] / 2) / unit),
        y=_or_none((y - frames.shape[1] / 2) / unit),
    )


def _check(frames: np.ndarray, world: World) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames are {frames.dtype} {list(frames.shape)}; expected uint8 [T, H, W, 3]")
    beyond = [
        name
        for name, values, known in (
            ("background_patterns", world.background_patterns, {"plain"}),
            ("textures", world.textures, {"plain"}),
            ("lightings", world.lightings, {"bright"}),
            ("cameras", world.cameras, {"static"}),
            ("counts", world.counts, {1}),
            ("motions", world.motions, {"still", "left", "right", "up", "down"}),
            ("relations", world.relations, set()),
            ("texts", world.texts, set()),
        )
        if set(values) - known
    ]
    if beyond or world.style != "flat":
        raise ConfigError(f"the judge reads flat worlds like tiny_world(); this one has more {', '.join(beyond)}")


def _border(pixels: np.ndarray) -> tuple[np.ndarray, ...]:
    return pixels[:, :2], pixels[:, -2:], pixels[:, :, :2], pixels[:, :, -2:]


def _nearest(color: np.ndarray, choices: Mapping[str, RGB]) -> str | None:
    errors = {name: float(np.linalg.norm(color - np.array(choice))) for name, choice in choices.items()}
    name = min(errors, key=errors.__getitem__)
    return name if errors[name] <= _MAX_COLOR_ERROR else None


def _subject_color(contrast: np.ndarray, ground: np.ndarray, world: World) -> tuple[str | None, np.ndarray]:
    """The subject's colour, and its difference from the background."""
    none = None, np.zeros(3)
    points = contrast.reshape(-1, 3)
    points = points[np.einsum("ij,ij->i", points, points) > 45.0**2]  # what is not background, noise or a faint edge
    if not len(points):
        return none
    hues = np.array([COLORS[name] for name in world.colors], np.float32) - ground.astype(np.float32)
    share = np.clip(points @ hues.T / np.einsum("ij,ij->i", hues, hues), 0, 1)  # [points, colours]
    left = points[:, None] - share[..., None] * hues
    unexplained = np.minimum(np.einsum("ijk,ijk->ij", left, left), 150.0**2)  # a stray pixel counts only so much
    best = int(unexplained.sum(axis=0).argmin())
    fits = unexplained[:, best] < _MAX_COLOR_ERROR**2
    if fits.mean() < 0.5 or share[fits, best].max() < 0.6:
        return none
    return world.colors[best], hues[best]


def _subject_part(cover: np.ndarray, side: int) -> np.ndarray:
    """The cover around the densest square of that side; nothing elsewhere.

    Only solid pixels decide where; all within reach then count, so that noise, as often negative, adds nothing.
    """
    solid = np.where(cover > 0.3, cover, 0)
    height, width = solid.shape
    side_y, side_x = min(side, height), min(side, width)
    total = np.pad(solid.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = total[side_y:, side_x:] - total[:-side_y, side_x:] - total[side_y:, :-side_x] + total[:-side_y, :-side_x]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    square = np.zeros_like(solid)
    square[top : top + side_y, left : left + side_x] = solid[top : top + side_y, left : left + side_x]
    x, y = _centroid(square)
    reach = EXTENT * np.sqrt(square.sum() / _SMALLEST_AREA) + 2
    rows, columns = np.arange(height)[:, None] + 0.5 - y, np.arange(width)[None] + 0.5 - x
    return np.where(np.hypot(rows, columns) < reach, cover, 0)


def _centroid(part: np.ndarray) -> tuple[float, float]:
    total = max(float(part.sum()), 1e-6)
    rows, columns = part.sum(axis=1), part.sum(axis=0)
    return float(columns @ (np.arange(len(columns)) + 0.5)) / total, float(rows @ (np.arange(len(rows)) + 0.5)) / total


def _shape(
    parts: list[np.ndarray], x: np.ndarray, y: np.ndarray, areas: np.ndarray, seen: np.ndarray, world: World
) -> tuple[str, float]:
    """The shape of the greatest overlap, and its mean over the frames that show the subject."""
    overlaps = {(shape, blur): 0.0 for shape in world.shapes for blur in _BLURS_PX}
    for index in np.nonzero(seen)[0]:
        part = parts[index]
        rows, columns = np.arange(part.shape[0]) + 0.5 - y[index], np.arange(part.shape[1]) + 0.5 - x[index]
        for shape in world.shapes:
            radius = np.sqrt(areas[index] / _area(shape))
            dx, dy = _center(shape)
            depth = DISTANCES[shape](columns[None] / radius + dx, rows[:, None] / radius + dy) * radius
            sharp = np.clip(0.5 - depth, 0, 1)
            for blur in _BLURS_PX:
                template = _blur(len(rows), blur) @ sharp @ _blur(len(columns), blur)
                overlap = 2 * np.vdot(part, template) / (np.vdot(part, part) + np.vdot(template, template))
                overlaps[shape, blur] += float(overlap)
    best = max(overlaps, key=overlaps.__getitem__)
    return best[0], overlaps[best] / int(seen.sum())


def _or_none(values: np.ndarray) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


@lru_cache(maxsize=64)
def _blur(length: int, deviation: float) -> np.ndarray:
    """Gaussian blur along one side as a matrix, the same in both directions."""
    if deviation == 0.0:
        return np.eye(length, dtype=np.float32)
    apart = np.subtract.outer(np.arange(length), np.arange(length))
    weights = np.exp(-0.5 * (apart / deviation) ** 2)
    return (weights / (deviation * np.sqrt(2 * np.pi))).astype(np.float32)


def _size(radius: float, world: World) -> str | None:
    radii = _radii(world)
    size = min(radii, key=lambda name: abs(np.log(radius / radii[name])))
    return size if 0.65 < radius / radii[size] < 1.5 else None


def _radii(world: World) -> dict[str, float]:
    return {"small": world.small_radius, "large": world.large_radius}


def _motion(x: np.ndarray, y: np.ndarray, world: World) -> str | None:
    seen = ~np.isnan(x)
    time = np.linspace(0, 1, len(x))[seen]
    time -= time.mean()
    across, down = (float(time @ side[seen] / (time @ time)) for side in (x, y))  # least squares: travel over the clip
    greater, lesser = max(abs(across), abs(down)), min(abs(across), abs(down))
    if greater < _MIN_TRAVEL:
        motion = "still"
    elif lesser > _MAX_SLANT * greater:
        return None
    elif abs(across) > abs(down):
        motion = "right" if across > 0 else "left"
    else:
        motion = "down" if down > 0 else "up"
    return motion if motion in world.motions else None


@lru_cache(maxsize=16)
def _area(shape: str) -> float:
    """Area in square radii."""
    side = np.linspace(-EXTENT, EXTENT, 500)
    return float((DISTANCES[shape](side[None], side[:, None]) < 0).mean() * (2 * EXTENT) ** 2)


@lru_cache(maxsize=16)
def _center(shape: str) -> tuple[float, float]:
    """Centroid of a shape in its own coordinates: where it is heavier than its middle."""
    side = np.linspace(-EXTENT, EXTENT, 500)
    inside = np.broadcast_to(DISTANCES[shape](side[None], side[:, None]) < 0, (500, 500))
    return float(side @ inside.sum(axis=0) / inside.sum()), float(side @ inside.sum(axis=1) / inside.sum())
