"""Synthetic gold for shot detection: films composed from single-shot clips, with every boundary and decoy known.

    clips ──halves──▶ tune | test ──make_film(seed)──▶ shots, disturbed, joined ──encode──▶ film and its marks

Shots move under a virtual camera and are joined by cuts, jump cuts, dissolves, fades, wipes, irises and pushes.
Flashes, exposure steps, titles, things that pass the lens and whip pans disturb them, and none of these is a boundary.
The halves share no clip, so that what is tuned on one is tested on the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from benchmarks.shot_effects import DECOYS, JOINS, camera_path, dress, through_camera
from benchmarks.shot_scoring import Marked, Marks
from curate.counter_random import generator
from curate.drawn.film import film_truth, render_film
from curate.drawn.sample_film import sample_film
from curate.video import open_video, to_rgb
from curate.video_write import Encoding, write_video

GOLD_VERSION = 4
SIZES = ((640, 360), (480, 270), (426, 240), (480, 480), (272, 480), (854, 480))
RATES = (24, 25, 30, 30, 15, 50, 60)
ENCODINGS = (
    Encoding(codec="h264", quality="18", options={"preset": "veryfast"}),
    Encoding(codec="h264", quality="24", options={"preset": "veryfast"}),
    Encoding(codec="h264", quality="33", options={"preset": "ultrafast"}),
    Encoding(codec="mpeg4", options={"qmin": "6", "qmax": "12"}),
)
JOIN_WEIGHTS = {"cut": 40, "jump": 6, "dissolve": 20, "blur_dissolve": 3, "fade_black": 8, "fade_white": 3}
JOIN_WEIGHTS |= {"wipe": 12, "iris": 4, "push": 2}
DECOY_WEIGHTS = {"none": 10, "flash": 4, "exposure": 2, "title": 2, "passing": 2, "whip": 2}
VARIABLE_RATE_SHARE = 1 / 6
SAME_CLIP_SHARE = 0.2
FADED = 0.7  # of its usual contrast
VISIBLE_CHANGE = 10.0  # mean difference of adjacent frames, 0 to 255
NEAR_DUPLICATES = ("keyboard_rot", "traffic_camera", "press_")


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip of one shot, at no more than 640 px."""

    name: str
    fps: float
    frames: np.ndarray  # uint8 [T, H, W, 3] RGB


@dataclass(slots=True)
class Shot:
    """Frames of one shot of a film, and the decoys in it as (kind, first, last)."""

    frames: list[np.ndarray]
    decoys: list[tuple[str, int, int]]
    clip_index: int
    clip_frame: float  # where in the clip it ended


def halves(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Divide clips into a tune and a test half. Near-duplicates fall on the same side."""

    def group(path: Path) -> str:
        return next((prefix for prefix in NEAR_DUPLICATES if path.name.startswith(prefix)), path.stem)

    tune = set(sorted({group(path) for path in paths})[::2])
    return [p for p in sorted(paths) if group(p) in tune], [p for p in sorted(paths) if group(p) not in tune]


def load_clip(path: Path, max_px: int = 640, max_frames: int = 250) -> Clip:
    with open_video(path) as video:
        scale = min(1.0, max_px / max(video.info.width_px, video.info.height_px))
        size = (max(2, round(video.info.width_px * scale)), max(2, round(video.info.height_px * scale)))
        seconds, frames = [], []
        for pts, frame in video.frames():
            seconds.append(float(pts * video.info.time_base))
            frames.append(cv2.resize(to_rgb(frame, video.info), size, interpolation=cv2.INTER_AREA))
            if len(frames) == max_frames:
                break
    fps = (len(frames) - 1) / (seconds[-1] - seconds[0]) if len(frames) > 1 else 25.0
    return Clip(path.name, fps, _without_own_fades(np.stack(frames)))


def _without_own_fades(frames: np.ndarray) -> np.ndarray:
    """The clip without frames that fade in or out at its ends: a film would hold transitions that nobody marked."""
    spread = frames.reshape(len(frames), -1).std(axis=1)
    whole = np.flatnonzero(spread > FADED * np.median(spread))
    return frames[whole[0] : whole[-1] + 1]


def make_film(path: Path, clips: Sequence[Clip], seed: int, name: str, seconds: float = 30.0) -> Marks:
    """Compose and encode one film, unless it is already there, and return its marks."""
    notes = path.with_suffix(".json")
    if not notes.exists():
        rng = generator(seed, "film", name, GOLD_VERSION)
        fps = int(rng.choice(RATES))
        size = SIZES[rng.integers(len(SIZES))]
        frames, boundaries, decoys = compose(rng, clips, fps, size, round(seconds * fps))
        dress(rng, frames)
        encoding = ENCODINGS[rng.integers(len(ENCODINGS))]
        times = np.arange(len(frames)) * 10
        if rng.random() < VARIABLE_RATE_SHARE:
            times = np.cumsum(rng.choice([10, 10, 10, 20], len(frames))) + rng.integers(0, 3, len(frames))
        write_video(
            path,
            frames,
            fps=fps,
            pts=(int(t) for t in times),
            time_base=Fraction(1, 10 * fps),
            encoding=encoding,
        )
        rate = (len(frames) - 1) * 10 * fps / float(times[-1] - times[0])
        marks = Marks(len(frames), rate, tuple(boundaries), (), decoys)
        notes.write_text(json.dumps(asdict(marks)))
    return marks_from_json(notes)


def make_drawn_film(path: Path, seed: int, name: str, seconds: float = 30.0) -> Marks:
    """Draw and encode one film of the drawn world, unless it is already there, and return its marks."""
    notes = path.with_suffix(".json")
    if not notes.exists():
        rng = generator(seed, "drawn film", name, GOLD_VERSION)
        fps = int(rng.choice(RATES))
        width, height = SIZES[rng.integers(len(SIZES))]
        defects = ("flash", "exposure", "whip", "subtitle", "low_light", "noise")
        film = sample_film(
            rng,
            width=width,
            height=height,
            fps=Fraction(fps),
            seconds=seconds,
            defects=defects,
            seed=int(rng.integers(1 << 30)),
        )
        truth = film_truth(film)
        write_video(path, render_film(film), fps=fps, encoding=ENCODINGS[rng.integers(len(ENCODINGS))])
        boundaries = tuple(Marked(b.kind, b.frame, b.start, b.end, b.required) for b in truth.boundaries)
        decoys: dict[str, tuple[tuple[int, int], ...]] = {}
        for trap in truth.traps:
            decoys[trap.why] = (*decoys.get(trap.why, ()), (trap.start - 1, trap.end + 1))
        notes.write_text(json.dumps(asdict(Marks(truth.num_frames, fps, boundaries, (), decoys))))
    return marks_from_json(notes)


def marks_from_json(path: Path) -> Marks:
    stored = json.loads(path.read_text())
    return Marks(
        stored["num_frames"],
        stored["fps"],
        tuple(Marked(**mark) for mark in stored["boundaries"]),
        tuple((a, b) for a, b in stored["ignore"]),
        {kind: tuple((a, b) for a, b in ranges) for kind, ranges in stored["decoys"].items()},
    )


def compose(
    rng: np.random.Generator, clips: Sequence[Clip], fps: int, size: tuple[int, int], num_frames: int
) -> tuple[list[np.ndarray], list[Marked], dict[str, tuple[tuple[int, int], ...]]]:
    """Draw shots and joins in the order of time until there are enough frames."""
    frames: list[np.ndarray] = []
    boundaries: list[Marked] = []
    decoys: dict[str, tuple[tuple[int, int], ...]] = {}
    shot = draw_shot(rng, clips, fps, size)
    while len(frames) < num_frames:
        kind = _draw(rng, JOIN_WEIGHTS)
        stays_with_clip = kind == "jump" or (kind == "cut" and rng.random() < SAME_CLIP_SHARE)
        following = draw_shot(rng, clips, fps, size, after=shot if stays_with_clip else None)
        if cv2.norm(shot.frames[-1], following.frames[0], cv2.NORM_L1) < VISIBLE_CHANGE * shot.frames[-1].size:
            continue  # a cut that nobody could see, between equal pictures
        longest = max(2, int(0.45 * min(len(shot.frames), len(following.frames))))
        join = JOINS.get(kind)
        length = 0 if join is None else int(np.clip(round(join.length_s(rng) * fps), join.min_frames, longest))
        body = len(shot.frames) - length
        for decoy, first, last in shot.decoys:
            if last < body:
                decoys[decoy] = (*decoys.get(decoy, ()), (len(frames) + first, len(frames) + last))
        frames += shot.frames[:body]
        start = len(frames)
        if join is not None:
            frames += join.render(rng, shot.frames[body:], following.frames[:length])
        scored_as = {"blur_dissolve": "dissolve"}.get(kind, kind)
        boundaries.append(Marked(scored_as, (start + len(frames)) // 2, start, len(frames)))
        taken = [(k, a - length, b - length) for k, a, b in following.decoys if a >= length]
        shot = Shot(following.frames[length:], taken, following.clip_index, following.clip_frame)
    frames += shot.frames
    for decoy, first, last in shot.decoys:
        offset = len(frames) - len(shot.frames)
        decoys[decoy] = (*decoys.get(decoy, ()), (offset + first, offset + last))
    return frames, boundaries, decoys


def draw_shot(
    rng: np.random.Generator, clips: Sequence[Clip], fps: int, size: tuple[int, int], *, after: Shot | None = None
) -> Shot:
    """A stretch of one clip under a virtual camera, in one case of two disturbed by a decoy."""
    index = after.clip_index if after else int(rng.integers(len(clips)))
    clip = clips[index]
    # Frames are taken one by one, or by time: then some repeat at high rates, as in converted footage; or in a hurry.
    step = float(rng.choice([1.0, clip.fps / fps, 2.0], p=[0.4, 0.4, 0.2]))
    length_s = rng.uniform(0.3, 0.8) if rng.random() < 0.1 else rng.uniform(0.8, 6.0)
    count = int(np.clip(round(length_s * fps), 8, max(8, (len(clip.frames) - 1) / step)))
    room = max(0.0, len(clip.frames) - 1 - count * step)
    offset = rng.uniform(0, room)
    if after:  # leaves out at least a second
        offset = (after.clip_frame + rng.uniform(1, 4) * clip.fps) % max(room, 1.0)
    picks = np.minimum((offset + step * np.arange(count)).astype(int), len(clip.frames) - 1)
    decoy = "none" if count < 24 else _draw(rng, DECOY_WEIGHTS)
    views = camera_path(rng, count, fps, size, clip.frames.shape[1:3], whip=decoy == "whip")
    frames = [through_camera(clip.frames[pick], view, size) for pick, view in zip(picks, views, strict=True)]
    decoys = []
    if decoy == "whip":
        decoys = [("whip", count // 3, 2 * count // 3)]
    elif decoy != "none":
        first, last = DECOYS[decoy](rng, frames, fps)
        decoys = [(decoy, first, last)]
    return Shot(frames, decoys, index, offset + step * count)


def _draw(rng: np.random.Generator, weights: dict[str, int]) -> str:
    chances = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=chances / chances.sum()))
