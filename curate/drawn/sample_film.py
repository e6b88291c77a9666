"""Drawing films at random: takes that differ, joins of every kind, and a defect here and there."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from curate.drawn.defects import Defect
from curate.drawn.film import Film, Join, Take
from curate.drawn.sample import sample_shot
from curate.drawn.shot import Shot, World
from curate.drawn.transitions import TRANSITIONS


def sample_film(
    rng: np.random.Generator,
    world: World | None = None,
    *,
    width: int = 320,
    height: int = 180,
    fps: Fraction = Fraction(24),
    seconds: float = 20.0,
    kinds: tuple[str, ...] = tuple(TRANSITIONS),
    cut_share: float = 0.5,
    mean_take_s: float = 3.0,
    defects: tuple[str, ...] = (),
    defect_share: float = 0.5,
    seed: int = 0,
) -> Film:
    """Draw a film of about `seconds`: neighbours never share their background colour, so that each join can be seen.

    A share of the joins are cuts, the others are drawn from `kinds`; a share of the takes has one of `defects`,
    in turn.
    """
    world = world or World()
    takes: list[Take] = []
    joins: list[Join] = []
    remaining = round(seconds * fps)
    before = 0
    gradual = tuple(kind for kind in kinds if kind != "cut")
    while remaining > 0 or not takes:
        own = max(round(float(fps) * mean_take_s * rng.uniform(0.5, 1.5)), 4)
        is_last = own >= remaining - fps  # a rest of less than a second joins the last take
        own = max(remaining, 4) if is_last else own
        join = Join()
        if gradual and not is_last and rng.random() >= cut_share:
            kind = gradual[int(rng.integers(len(gradual)))]
            join = Join(kind, max(round(float(fps) * rng.uniform(*_LENGTHS_S[TRANSITIONS[kind]])), 3))
        num_frames = before + own + join.frames
        shot = _unlike(takes[-1].shot if takes else None, rng, world, num_frames / float(fps))
        take = Take(shot=shot, num_frames=num_frames)
        if defects and rng.random() < defect_share:
            kind = defects[sum(bool(take.defects) for take in takes) % len(defects)]
            if kind == "subtitle":
                shot = replace(shot, text=None)  # a word of its own would only lie under it
            elif kind == "low_light":
                shot = replace(shot, lighting="bright")  # so that something is left to see
            take = replace(take, shot=shot, defects=(_draw_defect(kind, rng, before, own, fps),))
        takes.append(take)
        joins.append(join)
        remaining -= own + join.frames
        before = join.frames
    return Film(takes=tuple(takes), joins=tuple(joins[:-1]), width=width, height=height, fps=fps, seed=seed)


_LASTING_S = {  # shortest and longest of the defects that concern a part of a take
    "frozen": (0.6, 1.2),
    "black": (0.4, 0.8),
    "flash": (0.02, 0.12),
    "whip": (0.25, 0.4),
    "exposure": (0.4, 0.8),
}
_LENGTHS_S = {  # shortest and longest of each kind of transition
    "dissolve": (0.3, 1.5),
    "fade_black": (0.6, 1.6),
    "fade_white": (0.5, 1.2),
    "wipe": (0.4, 1.0),
    "iris": (0.5, 1.0),
    "push": (0.4, 0.8),
}


def _unlike(last: Shot | None, rng: np.random.Generator, world: World, duration_s: float) -> Shot:
    for _ in range(50):
        shot = sample_shot(rng, world, duration_s=duration_s)
        if last is None or shot.background_color != last.background_color:
            break
    return shot


def _draw_defect(kind: str, rng: np.random.Generator, before: int, own: int, fps: Fraction) -> Defect:
    """A defect of a take that shows itself alone in frames [before, before + own)."""
    if kind not in _LASTING_S:  # what concerns the whole take
        return Defect(kind=kind, amount=float(rng.integers(4)) if kind == "subtitle" else None)
    length = min(max(round(float(fps) * rng.uniform(*_LASTING_S[kind])), 1), own - 2)
    length = min(length, 3) if kind == "flash" else length
    start = before + 1 + int(rng.integers(max(own - length - 1, 1)))
    if kind == "whip":  # early on, so that the subject is in view for most of the take
        start = before + 1 + int(0.1 * own)
        length = min(length, before + own - 1 - start)
    return Defect(kind=kind, start=start, end=start + length)
