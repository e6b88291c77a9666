"""The colours of the drawn world, by the names that captions use."""

from __future__ import annotations

RGB = tuple[int, int, int]

COLORS: dict[str, RGB] = {
    "red": (220, 38, 38),
    "orange": (246, 134, 28),
    "yellow": (250, 214, 36),
    "green": (44, 166, 66),
    "cyan": (56, 206, 220),
    "blue": (42, 92, 228),
    "purple": (138, 56, 182),
    "pink": (246, 128, 188),
}
"""Subjects: saturated, and apart from each other also when dimmed."""

BACKGROUNDS: dict[str, RGB] = {
    "white": (240, 240, 240),
    "gray": (136, 136, 136),
    "black": (20, 20, 20),
    "navy": (28, 40, 92),
    "brown": (106, 70, 44),
    "beige": (224, 204, 170),
}
"""Backgrounds: muted."""

CLASHES = frozenset({("blue", "navy"), ("purple", "navy"), ("yellow", "beige"), ("pink", "beige"), ("orange", "brown")})
"""Pairs of subject and background that are hard to tell apart; no shot has them."""


def luma(color: RGB) -> float:
    """Brightness as the eye weighs it, 0 to 255 (Rec. 601)."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """`share` of the second colour in the first."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def second_tone(color: RGB) -> RGB:
    """The other colour of a subject's texture: white on dark colours, dark on light ones."""
    return mix(color, (255, 255, 255), 0.75) if luma(color) < 140 else mix(color, (0, 0, 0), 0.65)


def pattern_tone(color: RGB) -> RGB:
    """The other colour of a background's pattern: the same hue, lighter when dark and darker when light."""
    return mix(color, (255, 255, 255), 0.22) if luma(color) < 120 else mix(color, (0, 0, 0), 0.24)


def prop_tone(color: RGB) -> RGB:
    """Floors and pillars: grey, apart from the background and from every subject."""
    return (168, 164, 158) if luma(color) < 100 else (92, 88, 84)
