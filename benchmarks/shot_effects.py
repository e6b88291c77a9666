"""Joins between shots, decoys within them, and a virtual camera: what editors, lamps and hands do to pictures.

Pictures are uint8 `[H, W, 3]`; lists of pictures are in the order of time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Pictures = list[np.ndarray]


@dataclass(frozen=True, slots=True)
class Join:
    """A gradual transition: how long it usually is, and how the last and first pictures of two shots become one."""

    shortest_s: float
    longest_s: float
    render: Callable[[np.random.Generator, Pictures, Pictures], Pictures]
    min_frames: int = 4

    def length_s(self, rng: np.random.Generator) -> float:
        """Short ones are more common than long ones."""
        return self.shortest_s * (self.longest_s / self.shortest_s) ** float(rng.random())


def dissolve(rng: np.random.Generator, leaving: Pictures, entering: Pictures) -> Pictures:
    share = _ramp(len(leaving), eased=rng.random() < 0.4)
    return [cv2.addWeighted(a, 1 - s, b, s, 0) for a, b, s in zip(leaving, entering, share, strict=True)]


def blur_dissolve(rng: np.random.Generator, leaving: Pictures, entering: Pictures) -> Pictures:
    """Both pictures go out of focus at the middle, where most of the change is."""
    share = _ramp(len(leaving), eased=True)
    share = _ramp(len(leaving), eased=True) if rng.random() < 0.5 else np.clip(2 * share - 0.5, 0.001, 0.999)
    strength = 0.04 * max(leaving[0].shape[:2])
    pictures = []
    for i, (a, b, s) in enumerate(zip(leaving, entering, share, strict=True)):
        sigma = strength * (1 - abs(2 * (i + 1) / (len(share) + 1) - 1)) + 0.1
        pictures.append(cv2.GaussianBlur(cv2.addWeighted(a, 1 - s, b, s, 0), (0, 0), sigma))
    return pictures


def fade_through(level: int) -> Callable[[np.random.Generator, Pictures, Pictures], Pictures]:
    """Out to a plain picture, a few frames of it, and in again; one time in three one of the sides is abrupt."""

    def render(rng: np.random.Generator, leaving: Pictures, entering: Pictures) -> Pictures:
        plain = np.full_like(leaving[0], level)
        half = max(1, len(leaving) // 2)
        abrupt = rng.random()
        out = [] if abrupt < 1 / 6 else dissolve(rng, leaving[:half], [plain] * half)
        into = [] if abrupt > 5 / 6 else dissolve(rng, [plain] * half, entering[-half:])
        hold = int(rng.integers(1, max(2, half)))
        return out + [plain] * hold + into

    return render


def wipe(rng: np.random.Generator, leaving: Pictures, entering: Pictures) -> Pictures:
    """An edge, hard or soft, runs over the picture in any of eight directions, or two edges part in the middle."""
    height, width = leaving[0].shape[:2]
    angle = rng.integers(8) * np.pi / 4
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    place = x * np.cos(angle) + y * np.sin(angle)
    if rng.random() < 0.15:
        place = np.abs(place)
    return _reveal(leaving, entering, place, softness=rng.choice([0.01, 0.05, 0.2]))


def iris(rng: np.random.Generator, leaving: Pictures, entering: Pictures) -> Pictures:
    height, width = leaving[0].shape[:2]
    x, y = np.meshgrid(np.arange(width) - width / 2, np.arange(height) - height / 2)
    place = np.hypot(x, y)
    return _reveal(leaving, entering, place if rng.random() < 0.5 else -place, softness=0.02)


def push(rng: np.random.Generator, leaving: Pictures, entering: Pictures) -> Pictures:
    """The new picture pushes the old one out, or slides over it."""
    axis, sign, slides = int(rng.integers(2)), int(rng.choice([-1, 1])), rng.random() < 0.5
    pictures = []
    for a, b, s in zip(leaving, entering, _ramp(len(leaving), eased=rng.random() < 0.5), strict=True):
        shift = round(s * a.shape[axis]) * sign
        moved = np.roll(a, shift, axis)
        if slides:
            moved = a.copy()
        part = [slice(None)] * 3
        part[axis] = slice(0, shift) if sign > 0 else slice(a.shape[axis] + shift, None)
        moved[tuple(part)] = np.roll(b, shift, axis)[tuple(part)]
        pictures.append(moved)
    return pictures


JOINS = {
    "dissolve": Join(0.2, 2.0, dissolve, 6),
    "blur_dissolve": Join(0.3, 1.0, blur_dissolve, 8),
    "fade_black": Join(0.3, 2.0, fade_through(0), 6),
    "fade_white": Join(0.3, 1.5, fade_through(255), 6),
    "wipe": Join(0.25, 1.5, wipe, 6),
    "iris": Join(0.3, 1.2, iris, 6),
    "push": Join(0.2, 0.8, push, 5),
}


def flash(rng: np.random.Generator, pictures: Pictures, fps: int) -> tuple[int, int]:
    """A lamp for up to a tenth of a second, over all or a part of the picture; sometimes a dropped, black frame."""
    first = _middle(rng, pictures)
    length = max(1, round(rng.uniform(0.5, 4) * fps / 30))
    height, width = pictures[0].shape[:2]
    lamp = np.full((height, width, 1), rng.uniform(70, 220), np.float32)
    if rng.random() < 0.4:
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        lamp *= np.exp(-(((x - rng.random()) ** 2 + (y - rng.random()) ** 2) / 0.3)).astype(np.float32)[..., None]
    if rng.random() < 0.2:
        lamp[:] = -255
        length = max(1, round(rng.uniform(0.5, 2) * fps / 30))
    for i in range(first, min(first + length, len(pictures))):
        decay = rng.uniform(0.6, 1.0) if i > first else 1.0
        pictures[i] = np.clip(pictures[i] + decay * lamp, 0, 255).astype(np.uint8)
    return first - 1, first + length + 1


def exposure(rng: np.random.Generator, pictures: Pictures, fps: int) -> tuple[int, int]:
    """The camera adapts: the gain changes at once or within a third of a second, and stays."""
    first = _middle(rng, pictures)
    length = max(1, round(rng.choice([0.0, 0.1, 0.3]) * fps))
    gain = float(rng.choice([0.55, 0.7, 1.35, 1.6]))
    for i in range(first, len(pictures)):
        now = 1 + (gain - 1) * min(1.0, (i - first + 1) / length)
        pictures[i] = cv2.convertScaleAbs(pictures[i], alpha=now)
    return first - 1, first + length + 1


def title(rng: np.random.Generator, pictures: Pictures, fps: int) -> tuple[int, int]:
    """Words appear, at once or gradually, and stay to the end of the shot."""
    first = _middle(rng, pictures)
    length = max(1, round(rng.choice([0.0, 0.3]) * fps))
    height, width = pictures[0].shape[:2]
    layer = np.zeros((height, width, 3), np.uint8)
    scale = width / rng.choice([240, 320, 480])
    for line in range(int(rng.integers(1, 4))):
        words = " ".join(str(rng.choice(["REEL", "NEWS", "Anna Berg", "today", "3 days later"])) for _ in range(2))
        at = (round(0.08 * width), round((0.55 + 0.15 * line) * height))
        cv2.putText(layer, words, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), max(1, round(2 * scale)))
    if rng.random() < 0.3:
        cv2.rectangle(layer, (0, round(0.72 * height)), (width, round(0.9 * height)), (40, 60, 160), -1)
    covered = layer.max(axis=2, keepdims=True) > 0
    for i in range(first, len(pictures)):
        share = min(1.0, (i - first + 1) / length)
        mixed = cv2.addWeighted(pictures[i], 1 - share, layer, share, 0)
        pictures[i] = np.where(covered, mixed, pictures[i])
    return first - 1, first + length + 1


def passing(rng: np.random.Generator, pictures: Pictures, fps: int) -> tuple[int, int]:
    """Something large, textured and out of focus goes by close to the lens and covers most of the picture."""
    first = _middle(rng, pictures)
    length = max(3, round(rng.uniform(0.15, 0.8) * fps))
    height, width = pictures[0].shape[:2]
    span = rng.uniform(0.5, 1.1)
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    tone = rng.uniform(10, 200, 3)
    texture = cv2.resize(rng.normal(0, 25, (6, 8, 3)), (width, height), interpolation=cv2.INTER_CUBIC)
    sign = rng.choice([-1, 1])
    for i in range(first, min(first + length, len(pictures))):
        centre = -span / 2 + (1 + span) * (i - first + 0.5) / length
        inside = (np.abs((x if sign > 0 else 1 - x) - centre) < span / 2 * (0.9 + 0.1 * np.cos(3 * y))).astype(
            np.float32
        )
        inside = cv2.GaussianBlur(inside, (0, 0), width / 60)[..., None]
        pictures[i] = np.clip(pictures[i] * (1 - inside) + (tone + texture) * inside, 0, 255).astype(np.uint8)
    return first - 1, first + length + 1


DECOYS = {"flash": flash, "exposure": exposure, "title": title, "passing": passing}


def camera_path(
    rng: np.random.Generator, count: int, fps: int, size: tuple[int, int], picture: tuple[int, int], *, whip: bool
) -> np.ndarray:
    """Views `[count, 3]`: left, top and width of what the camera sees, in pixels of the picture it films."""
    height, width = picture
    aspect = size[0] / size[1]
    widest = min(width, height * aspect)
    moving = whip or rng.random() < 0.35
    zoom = (
        rng.uniform(0.55, 0.7, 2)
        if whip
        else (rng.uniform(0.6, 1.0, 2) if moving else np.full(2, rng.uniform(0.8, 1.0)))
    )
    if whip:
        zoom[1] = zoom[0]
    time = np.linspace(0, 1, count)
    if whip:  # all of the movement within a fifth of a second, in the middle third
        middle, duration = rng.uniform(0.4, 0.6), 0.2 * fps / count
        time = np.clip((time - middle) / duration + 0.5, 0, 1)
    seen = widest * (zoom[0] + (zoom[1] - zoom[0]) * time)
    ends = rng.uniform(0, 1, (2, 2)) if moving else np.repeat(rng.uniform(0, 1, (1, 2)), 2, axis=0)
    if whip:
        ends[:, 0] = rng.permutation([0.0, 1.0])
    shake = np.cumsum(rng.normal(0, 0.0015, (count, 2)), axis=0) if moving and not whip else np.zeros((count, 2))
    place = np.clip(ends[0] + (ends[1] - ends[0]) * time[:, None] + shake, 0, 1)
    return np.stack([place[:, 0] * (width - seen), place[:, 1] * (height - seen / aspect), seen], axis=1)


def through_camera(picture: np.ndarray, view: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    left, top, seen = (float(value) for value in view)
    scale = size[0] / seen
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float32)
    return cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def dress(rng: np.random.Generator, pictures: Pictures) -> None:
    """What a whole film may have: a dark or pale grade, no colour, grain, frames held twice, a logo, black bars."""
    height, width = pictures[0].shape[:2]
    if rng.random() < 0.1:
        pictures[1::2] = pictures[0 : len(pictures) - 1 : 2]
    gain, lift = 1.0, 0.0
    if rng.random() < 0.35:
        gain, lift = [(rng.uniform(0.2, 0.6), 0.0), (rng.uniform(0.4, 0.7), rng.uniform(20, 90))][rng.integers(2)]
    grey = rng.random() < 0.15
    grain = rng.uniform(2, 8) if rng.random() < 0.3 else 0.0
    noise = [cv2.randn(np.empty((height, width, 3), np.int16), 0, grain) for _ in range(4 if grain else 0)]
    bars = [slice(0), slice(0)]
    if rng.random() < 0.25:
        axis = int(rng.random() < 0.3)
        bars[axis] = slice(round(rng.uniform(0.06, 0.16) * pictures[0].shape[axis]))
    logo = rng.random() < 0.2
    for index, picture in enumerate(pictures):
        picture = cv2.convertScaleAbs(picture, alpha=gain, beta=lift) if (gain, lift) != (1.0, 0.0) else picture.copy()
        if grey:
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if noise:
            grained = np.roll(noise[index % 4], 17 * index, axis=1)
            picture = cv2.add(picture, grained, dtype=cv2.CV_8U)
        top, left = bars[0].stop, bars[1].stop
        if logo:
            at = (round(0.8 * width) - left, round(0.12 * height) + top)
            cv2.putText(picture, "TV 7", at, cv2.FONT_HERSHEY_SIMPLEX, width / 500, (230, 230, 230), 2)
        if top:
            picture[:top] = picture[-top:] = 0
        if left:
            picture[:, :left] = picture[:, -left:] = 0
        pictures[index] = picture


def _ramp(length: int, *, eased: bool) -> np.ndarray:
    share = np.arange(1, length + 1) / (length + 1)
    return share * share * (3 - 2 * share) if eased else share


def _reveal(leaving: Pictures, entering: Pictures, place: np.ndarray, softness: float) -> Pictures:
    place = (place - place.min()) / np.ptp(place)
    pictures = []
    for a, b, s in zip(leaving, entering, _ramp(len(leaving), eased=False), strict=True):
        share = np.clip((s * (1 + softness) - place) / softness, 0, 1).astype(np.float32)[..., None]
        pictures.append((a * (1 - share) + b * share).astype(np.uint8))
    return pictures


def _middle(rng: np.random.Generator, pictures: Pictures) -> int:
    """A frame of the middle third: transitions take up at most the outer thirds."""
    return int(rng.integers(len(pictures) // 3, 2 * len(pictures) // 3))
