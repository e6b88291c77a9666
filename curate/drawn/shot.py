"""The facts of a drawn shot: all that its picture shows, as plain values; and the world that they are drawn from.

    shot = sample_shot(generator(seed, "shot", index), World())      sample.py
    frames = render_shot(shot, 320, 180, fps=24)                     render.py
    text = describe(shot, "descriptive", seed=index)                 describe.py
    facts(shot)                                                      {"shape": "star", "color": "red", ...}

World coordinates: the middle of the frame is (0, 0), x points right and y down, and the short side of the frame is 1.
Times are seconds. `to_tree` and `build` of `curate.config` turn a shot into JSON and back.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields

from curate.config import nearest
from curate.drawn.palette import BACKGROUNDS, CLASHES, COLORS
from curate.drawn.shapes import DISTANCES
from curate.errors import ConfigError

SLOTS: dict[str, tuple[str, ...]] = {
    "shape": tuple(DISTANCES),
    "color": tuple(COLORS),
    "size": ("small", "large"),
    "texture": ("plain", "striped", "dotted", "checkered"),
    "motion": (
        *("still", "left", "right", "up", "down", "grows", "shrinks", "spins", "circles"),
        *("falls", "bounces", "hides"),  # falls to the floor; bounces on it; passes behind a pillar and reappears
    ),
    "count": ("1", "2", "3", "4"),
    "relation": ("left_of", "right_of", "above", "below"),
    "background_color": tuple(BACKGROUNDS),
    "background_pattern": ("plain", "gradient", "striped", "checkered", "dotted", "grid", "cloudy"),
    "lighting": ("bright", "dim", "spotlight", "sidelight"),
    "camera": ("static", "pan_left", "pan_right", "tilt_up", "tilt_down", "zoom_in", "zoom_out", "shaky"),
    "text": ("HELLO", "STOP", "LIVE", "NEWS", "SALE", "OPEN", "MUSIC", "WINTER"),
}
"""Every value of every slot. `other_shape` and `other_color` share the values of `shape` and `color`."""

FLOOR_MOTIONS = frozenset({"falls", "bounces"})
EVENTS = FLOOR_MOTIONS | {"hides"}
"""Motions that need the whole stage: one kind of subject, before a camera that does not move."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A shape that moves. Facts first; then where exactly, how large and how fast."""

    shape: str
    color: str
    size: str  # in the first frame, before it grows, shrinks or is zoomed
    texture: str = "plain"
    motion: str = "still"
    x: float = 0.0  # centre in the first frame
    y: float = 0.0
    radius: float = 0.15
    speed: float = 0.0
    """By motion: distance per second; logarithm of scale per second (grows, shrinks); turns per second (spins,
    circles); acceleration (falls, bounces). Signed for `hides`: positive is to the right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """One take. `count` copies of the subject move together; `other` is a second object that rests."""

    subject: Subject
    count: int = 1
    other: Subject | None = None
    relation: str | None = None  # the other is `relation` the subject, during the whole shot
    background_color: str = "white"
    background_pattern: str = "plain"
    pattern_period: float = 0.3
    pattern_x: float = 0.0
    pattern_y: float = 0.0
    lighting: str = "bright"
    camera: str = "static"
    camera_speed: float = 0.0  # distance, or logarithm of scale, per second
    text: str | None = None
    text_place: str = "top"  # or bottom
    duration_s: float = 2.0
    shift: float = 0.0  # where on the long side of a frame that is not square the action is: -1 first to 1 last
    style: str = "soft"  # soft: shaded, outlined, with a shadow; flat: pure colours


MOVING_SLOTS = ("motion", "camera")
"""What a single frame does not show."""


def facts(shot: Shot, *, hidden: Collection[str] = ()) -> dict[str, str | None]:
    """What can be seen, by slot. None means that there is none (no second object, no text).

    Slots named in `hidden` are left out: `MOVING_SLOTS` for a still, or what a defect of the picture hides.
    """
    subject, other = shot.subject, shot.other
    seen: dict[str, str | None] = {
        "shape": subject.shape,
        "color": subject.color,
        "size": subject.size,
        "texture": subject.texture,
        "motion": subject.motion,
        "count": str(shot.count),
        "other_shape": other.shape if other else None,
        "other_color": other.color if other else None,
        "relation": shot.relation,
        "background_color": shot.background_color,
        "background_pattern": shot.background_pattern,
        "lighting": shot.lighting,
        "camera": shot.camera,
        "text": shot.text,
    }
    return {slot: value for slot, value in seen.items() if slot not in hidden}


def is_held_out(shape: str, color: str, motion: str) -> bool:
    """Whether a combination is kept for compositional tests: one in ten, with every value and pair of values seen.

    A rule on the positions of the values in `SLOTS`, so that all worlds hold out the same combinations.
    """
    a, b, c = (SLOTS[slot].index(value) for slot, value in (("shape", shape), ("color", color), ("motion", motion)))
    return (3 * a + b + c) % 10 == 3


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Which values occur, how large subjects are and how long shots last."""

    shapes: tuple[str, ...] = SLOTS["shape"]
    colors: tuple[str, ...] = SLOTS["color"]
    sizes: tuple[str, ...] = SLOTS["size"]
    textures: tuple[str, ...] = SLOTS["texture"]
    motions: tuple[str, ...] = SLOTS["motion"]
    counts: tuple[int, ...] = (1, 2, 3, 4)
    relations: tuple[str, ...] = SLOTS["relation"]
    background_colors: tuple[str, ...] = SLOTS["background_color"]
    background_patterns: tuple[str, ...] = SLOTS["background_pattern"]
    lightings: tuple[str, ...] = SLOTS["lighting"]
    cameras: tuple[str, ...] = SLOTS["camera"]
    """A motion beside which none of these can be seen has a static camera."""
    texts: tuple[str, ...] = SLOTS["text"]
    other_share: float = 0.4
    """Share of shots with a second object, where one is possible."""
    text_share: float = 0.4
    """Share of shots with a word."""
    small_radius: float = 0.085
    """Radius of small subjects, in short sides of the frame."""
    large_radius: float = 0.15
    min_duration_s: float = 1.5
    max_duration_s: float = 4.0
    style: str = "soft"

    def __post_init__(self) -> None:
        for field in fields(self):
            slot = {"relations": "relation", "background_colors": "background_color"}.get(field.name, field.name[:-1])
            if slot not in SLOTS or slot in ("count", "text"):
                continue
            for value in getattr(self, field.name):
                if value not in SLOTS[slot]:
                    raise ConfigError(f"{field.name}: no {slot} {value!r}; {nearest(value, SLOTS[slot])}")
        for name in ("shapes", "colors", "sizes", "textures", "motions", "counts", "background_colors", "lightings"):
            if not getattr(self, name):
                raise ConfigError(f"{name} is empty; name at least one value")
        if not 0 < self.min_duration_s <= self.max_duration_s:
            raise ConfigError(f"durations {self.min_duration_s} to {self.max_duration_s} s: expected 0 < min <= max")
        if self.style not in ("soft", "flat"):
            raise ConfigError(f"style is {self.style!r}; expected soft or flat")

    def combinations(self, *, held_out: bool) -> tuple[tuple[str, str, str], ...]:
        """All (shape, colour, motion) of this world that can be seen, on one side of the hold-out."""
        return tuple(
            (shape, color, motion)
            for shape in self.shapes
            for color in self.colors
            for motion in self.motions
            if is_held_out(shape, color, motion) == held_out and self._shows(shape, color, motion)
        )

    def backgrounds_for(self, color: str) -> tuple[str, ...]:
        return tuple(background for background in self.background_colors if (color, background) not in CLASHES)

    def textures_for(self, shape: str, size: str, motion: str) -> tuple[str, ...]:
        """Textures that can be seen: none on small subjects, and some texture on what is round and turns."""
        textures = self.textures if size == "large" else tuple(t for t in self.textures if t == "plain")
        if motion == "spins" and shape in ("circle", "ring"):
            textures = tuple(t for t in textures if t != "plain")
        return textures

    def sizes_for(self, shape: str, motion: str) -> tuple[str, ...]:
        sizes = ("small",) if motion == "hides" else self.sizes  # a large one leaves no room beside the pillar
        return tuple(size for size in sizes if size in self.sizes and self.textures_for(shape, size, motion))

    def _shows(self, shape: str, color: str, motion: str) -> bool:
        return bool(self.sizes_for(shape, motion) and self.backgrounds_for(color))


def tiny_world() -> World:
    """The world of the video model's studies: 6 colours, 3 backgrounds, 3 shapes, 2 sizes, 5 motions: 540 in all."""
    return World(
        shapes=("circle", "square", "triangle"),
        colors=("red", "yellow", "green", "cyan", "blue", "purple"),
        textures=("plain",),
        motions=("still", "left", "right", "up", "down"),
        counts=(1,),
        relations=(),
        background_colors=("white", "gray", "black"),
        background_patterns=("plain",),
        lightings=("bright",),
        cameras=("static",),
        texts=(),
        small_radius=0.15,
        large_radius=0.27,
        min_duration_s=0.5,
        max_duration_s=2.0,
        style="flat",
    )


TINY_UNTOLD = (
    "texture", "count", "other_shape", "other_color", "relation", "background_pattern", "lighting", "camera", "text",
)  # fmt: skip
"""Slots that are the same in the whole of that world, so that nobody would say them."""
