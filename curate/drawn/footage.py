"""A folder of drawn footage, as messy as real footage: for the demo, the tests and anybody who has none at hand.

    truth = draw_footage(folder, seconds=120)

folder/*              films in many codecs, containers, sizes and rates (reels.py), broken files among them (broken.py)
folder/footage.csv    uri, license, title, caption: what came with the files; captions are noisy
folder/truth.json     what the files really are and show; `read_truth` reads it back
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import compress
from pathlib import Path

import numpy as np

from curate.config import build, to_tree
from curate.counter_random import generator
from curate.drawn.broken import damage
from curate.drawn.defects import Defect
from curate.drawn.describe import describe
from curate.drawn.film import Film, FilmTruth, film_truth, render_film
from curate.drawn.reels import ALL_SHARES, REELS, SMALL_COPY, Reel, h264
from curate.drawn.sample_film import sample_film
from curate.drawn.shot import World
from curate.drawn.sound import add_tone
from curate.errors import ConfigError
from curate.video_write import Encoding, write_video


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTruth:
    """One file of the footage."""

    path: str  # relative to the folder
    title: str
    license: str
    caption: str
    kind: str | None = None  # what a reader should report, one of `ERROR_KINDS`; None when nothing is wrong
    is_usable: bool = True
    num_frames: int | None = None  # None for damaged files: it depends on the reader
    width: int | None = None  # as displayed
    height: int | None = None
    codec: str | None = None
    rotation_deg: int = 0
    is_vfr: bool = False
    has_sound: bool = False
    same_as: str | None = None  # another file with the same content
    like: str | None = None  # another file with the same film in other pixels
    film: FilmTruth | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """All files of a folder of footage."""

    seed: int
    files: tuple[FileTruth, ...]


def draw_footage(
    folder: str | Path, *, seconds: float = 120.0, seed: int = 0, broken: bool = True, world: World | None = None
) -> Truth:
    """Draw about so many seconds of footage into a folder, with broken files among it if asked for.

    The same seed gives the same pictures and truth. A codec that this build of FFmpeg lacks is replaced by H.264.
    """
    folder = Path(folder)
    files = [_draw(folder, reel, seconds, seed, world) for reel in REELS]
    small = _draw(folder, SMALL_COPY, seconds, seed, world, film_path=REELS[0].path)
    files.append(replace(small, like=REELS[0].path))
    shutil.copyfile(folder / "slides.mp4", folder / "slides (copy).mp4")
    files.append(replace(_named(files, "slides.mp4"), path="slides (copy).mp4", same_as="slides.mp4"))
    if broken:
        files += [
            FileTruth(
                path=f"broken/{case.name}",
                title=Path(case.name).stem.capitalize(),
                license="CC0-1.0",
                caption=case.why,
                kind=case.kind,
                is_usable=case.is_usable,
                like="rushes.mp4" if case.is_copy else None,
            )
            for case in damage(folder / "broken", folder / "rushes.mp4")
        ]
    truth = Truth(seed=seed, files=tuple(files))
    _write_list(folder / "footage.csv", truth)
    (folder / "truth.json").write_text(json.dumps(to_tree(truth), indent=1), encoding="utf-8")
    return truth


def read_truth(folder: str | Path) -> Truth:
    """The truth that `draw_footage` wrote into a folder."""
    return build(Truth, json.loads((Path(folder) / "truth.json").read_text(encoding="utf-8")))


def _named(files: list[FileTruth], path: str) -> FileTruth:
    return next(file for file in files if file.path == path)


def _draw(
    folder: Path, reel: Reel, seconds: float, seed: int, world: World | None, film_path: str | None = None
) -> FileTruth:
    film = _film(reel, seconds, seed, film_path or reel.path, world)
    truth = film_truth(film)
    encoding = _available(reel.encoding)
    kept = _kept(truth.num_frames, seed) if reel.is_vfr else np.ones(truth.num_frames, bool)
    turned = (np.rot90(picture, reel.rotation_deg // 90) for picture in render_film(film))
    path = folder / reel.path
    write_video(
        path,
        compress(turned, kept),
        fps=film.fps,
        pts=_milliseconds(kept, film.fps) if reel.is_vfr else None,
        time_base=Fraction(1, 1000) if reel.is_vfr else None,
        encoding=encoding,
    )
    if reel.rotation_deg:
        set_rotation(path, reel.rotation_deg)
    if reel.has_sound:
        add_tone(path)
    first = truth.scenes[0]
    subsampled = encoding.pixel_format.startswith("yuv420")
    width, height = (side - side % 2 if subsampled else side for side in reel.size)
    return FileTruth(
        path=reel.path,
        title=reel.title,
        license=reel.license,
        caption=describe(first.shot, "alt", seed, hidden=first.hidden),
        num_frames=int(kept.sum()),
        width=width,
        height=height,
        codec=encoding.codec,
        rotation_deg=reel.rotation_deg,
        is_vfr=reel.is_vfr,
        has_sound=reel.has_sound,
        film=_thinned(truth, kept),
    )


def _film(reel: Reel, seconds: float, seed: int, name: str, world: World | None = None) -> Film:
    width, height = reel.size
    film = sample_film(
        generator(seed, "footage", name),
        world,
        width=width,
        height=height,
        fps=reel.fps,
        seconds=max(seconds * reel.share / ALL_SHARES, 1.5),
        kinds=reel.kinds,
        cut_share=reel.cut_share,
        mean_take_s=reel.mean_take_s,
        defects=reel.defects,
        defect_share=reel.defect_share,
        seed=seed,
    )
    fade = round(film.fps / 2) if reel.fades else 0
    return replace(film, defects=tuple(Defect(kind=kind) for kind in reel.film_defects), fade_in=fade, fade_out=fade)


def _available(encoding: Encoding) -> Encoding:
    try:
        encoding.encoder()
    except ConfigError:
        return h264()
    return encoding


def _kept(num_frames: int, seed: int) -> np.ndarray:
    """Frames that a screen recorder keeps: all of a third, every other one of the next, seven in ten at random."""
    index = np.arange(num_frames)
    random = generator(seed, "footage", "kept").random(num_frames) < 0.7
    kept = np.select([index < num_frames // 3, index < 2 * num_frames // 3], [index >= 0, index % 2 == 0], random)
    kept[[0, -1]] = True
    return kept


def _milliseconds(kept: np.ndarray, fps: Fraction) -> Iterator[int]:
    return (round(1000 * int(index) / fps) for index in np.nonzero(kept)[0])


def _thinned(truth: FilmTruth, kept: np.ndarray) -> FilmTruth:
    """The truth in numbers of the kept frames: a frame that was dropped becomes the next one that was not."""
    if kept.all():
        return truth
    number = np.concatenate([[0], np.cumsum(kept)])

    def moved(part):
        frames = {name: int(number[getattr(part, name)]) for name in ("start", "frame", "end") if hasattr(part, name)}
        return replace(part, **frames)

    return replace(
        truth,
        num_frames=int(kept.sum()),
        boundaries=tuple(moved(boundary) for boundary in truth.boundaries),
        scenes=tuple(
            replace(moved(scene), defects=tuple(moved(d) if d.end is not None else d for d in scene.defects))
            for scene in truth.scenes
        ),
        traps=tuple(moved(trap) for trap in truth.traps),
    )


def set_rotation(path: Path, rotation_deg: int) -> None:
    """Have an MP4 shown turned clockwise by 90, 180 or 270 degrees: writes the matrix of its first track."""
    content = bytearray(path.read_bytes())
    header = content.index(b"tkhd", content.rindex(b"moov")) + 4  # ISO/IEC 14496-12, 8.3.2
    matrix = header + (52 if content[header] else 40)  # version 1 has times of 64 bits
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[rotation_deg]
    rows = (cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30)
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in rows)
    path.write_bytes(content)


def _write_list(path: Path, truth: Truth) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["uri", "license", "title", "caption"])
        writer.writerows([entry.path, entry.license, entry.title, entry.caption] for entry in truth.files)
