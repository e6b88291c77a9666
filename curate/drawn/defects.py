"""What goes wrong with footage, on purpose: defects of takes and of whole films, of known extent and amount."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import cv2
import numpy as np

from curate.config import nearest
from curate.drawn.letters import text_distance, text_width
from curate.drawn.render import add_grain
from curate.drawn.shot import MOVING_SLOTS
from curate.errors import ConfigError

HIDES: dict[str, tuple[str, ...]] = {
    "still": MOVING_SLOTS,  # one frame for the whole take, as in a slide show
    "frozen": (),  # one frame for a part of the take
    "black": (),
    "flash": (),
    "whip": ("camera",),
    "exposure": ("lighting",),
    "blur": ("texture", "text"),
    "low_light": ("background_color", "background_pattern", "camera", "lighting", "texture"),
    "noise": (),
    "subtitle": ("text",),
    "watermark": ("text",),
    "letterbox": (),
    "pillarbox": (),
}
"""Every kind of defect, and the facts that can no longer be seen, or no longer be told so, because of it."""

FILM_DEFECTS = ("watermark", "letterbox", "pillarbox")
"""Kinds that lie over a whole film, transitions included; the others belong to a take."""

SUBTITLES = ("WHERE ARE WE GOING", "I HAVE SEEN THIS BEFORE", "WAIT FOR ME", "IT IS TOO LATE NOW")

Box = tuple[int, int, int, int]  # x, y, width, height in pixels

_LINE_HEIGHT = 0.055  # of subtitles, in short sides of the frame
_WIDEST = max(text_width(text) for text in SUBTITLES)  # in heights
_PAD_PX = 3  # room for the rim of the letters


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """One defect: from frame `start` to `end` (exclusive) of its take; to the end of it when None."""

    kind: str
    start: int = 0
    end: int | None = None
    amount: float | None = None
    """By kind: bars: share of the height or width that both cover; blur: standard deviation in short sides; noise:
    standard deviation in grey levels; low_light, exposure: share of the light that is left; flash: grey levels
    added; whip: how many widths of the frame to the side the camera starts. None takes a usual value."""

    def __post_init__(self) -> None:
        if self.kind not in HIDES:
            raise ConfigError(f"no defect {self.kind!r}; {nearest(self.kind, HIDES)}")

    def covers(self, index: int) -> bool:
        return self.start <= index and (self.end is None or index < self.end)

    def value(self) -> float:
        return _USUAL.get(self.kind, 0.0) if self.amount is None else self.amount


_USUAL = {
    "letterbox": 0.24,
    "pillarbox": 0.3,
    "blur": 0.016,
    "noise": 28.0,
    "low_light": 0.16,
    "exposure": 0.6,
    "flash": 150.0,
    "whip": 1.2,
}


def hidden_slots(defects: tuple[Defect, ...]) -> tuple[str, ...]:
    """The facts that cannot be told of a take with these defects."""
    return tuple(sorted({slot for defect in defects for slot in HIDES[defect.kind]}))


def spoil(picture: np.ndarray, defect: Defect, rng: np.random.Generator) -> np.ndarray:
    """A picture with a defect that concerns each picture alone."""
    return _SPOILERS[defect.kind](picture, defect.value(), rng)


def content_box(defects: tuple[Defect, ...], width: int, height: int) -> Box:
    """Where the picture is inside the bars of a film."""
    shares = {defect.kind: defect.value() for defect in defects}
    x = round(width * shares.get("pillarbox", 0.0) / 2)
    y = round(height * shares.get("letterbox", 0.0) / 2)
    return x, y, width - 2 * x, height - 2 * y


def text_box(kind: str, width: int, height: int) -> Box | None:
    """The box that the widest subtitle, or the watermark, lies in; None for other defects."""
    unit = min(width, height)
    if kind == "watermark":
        side = round(0.16 * unit)
        return width - side - round(0.04 * unit), round(0.04 * unit), side, side
    if kind == "subtitle":
        line = _line_px(width, height)
        deep, wide = ceil(line) + 2 * _PAD_PX, ceil(_WIDEST * line) + 2 * _PAD_PX
        return (width - wide) // 2, height - round(0.05 * unit) - deep, wide, deep
    return None


def _line_px(width: int, height: int) -> float:
    return min(_LINE_HEIGHT * min(width, height), 0.9 * width / _WIDEST)


def _blur(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), max(amount * min(picture.shape[:2]), 0.6))


def _low_light(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return add_grain(picture * np.float32(amount), 1.5, rng)


def _exposure(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return (picture * np.float32(amount)).astype(np.uint8)


def _noise(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return add_grain(picture, amount, rng)


def _flash(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return cv2.add(picture, np.full_like(picture, int(amount)))


def _black(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(picture)


def _subtitle(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    height, width = picture.shape[:2]
    box = text_box("subtitle", width, height)
    assert box is not None
    text = SUBTITLES[int(amount) % len(SUBTITLES)]
    line = _line_px(width, height)
    distance = text_distance(text, line, _PAD_PX)
    return _ink(picture, distance, (width - distance.shape[1]) // 2, box[1], line * 0.09, 1.0)


def _watermark(picture: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    height, width = picture.shape[:2]
    box = text_box("watermark", width, height)
    assert box is not None
    distance = _logo_distance(box[2])
    return _ink(picture, distance, box[0], box[1], 0.0, 0.55)


@lru_cache(maxsize=16)
def _logo_distance(side: int) -> np.ndarray:
    """A ring around a bar, as signed distances."""
    half = side / 2
    y, x = np.mgrid[:side, :side] + 0.5 - half
    ring = np.abs(np.hypot(x, y) - 0.72 * half) - 0.14 * half
    return np.minimum(ring, np.maximum(np.abs(x) - 0.12 * half, np.abs(y) - 0.4 * half))


def _ink(picture: np.ndarray, distance: np.ndarray, x: int, y: int, stroke: float, opacity: float) -> np.ndarray:
    """White ink with a thin dark rim on a copy of the picture, cut off at its edges."""
    picture = picture.copy()
    rows, columns = slice(max(y, 0), y + distance.shape[0]), slice(max(x, 0), x + distance.shape[1])
    area = picture[rows, columns]
    distance = distance[max(-y, 0) :, max(-x, 0) :][: area.shape[0], : area.shape[1], None]
    rim = np.clip(stroke + 1.5 - distance, 0, 1) * opacity
    white = np.clip(stroke + 0.5 - distance, 0, 1)
    picture[rows, columns] = (area * (1 - rim) + rim * (15 + 235 * white) + 0.5).astype(np.uint8)
    return picture


_SPOILERS: dict[str, Callable[[np.ndarray, float, np.random.Generator], np.ndarray]] = {
    "blur": _blur,
    "low_light": _low_light,
    "exposure": _exposure,
    "noise": _noise,
    "flash": _flash,
    "black": _black,
    "subtitle": _subtitle,
    "watermark": _watermark,
}
