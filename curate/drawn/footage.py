"""A folder of drawn footage, as messy as real footage: for the demo, the tests and anybody who has none at hand.

truth = draw_footage(folder, seconds=120)     films in many codecs, containers, sizes and rates; broken files among them
folder/footage.csv                            uri, license, title, caption: what came with the files; captions are noisy
folder/truth.json                             what the files really are and show; `read_truth` reads it back
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
from curate.drawn.defects import FILM_DEFECTS, HIDES, Defect
from curate.drawn.describe import describe
from curate.drawn.film import Film, FilmTruth, film_truth, render_film, sample_film
from curate.drawn.sound import add_tone
from curate.drawn.transitions import TRANSITIONS
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reel:
    """The plan of one file."""

    path: str
    title: str
    share: float  # of the seconds asked for, relative to the other reels
    size: tuple[int, int]
    fps: Fraction
    encoding: Encoding
    license: str = "CC0-1.0"
    kinds: tuple[str, ...] = tuple(TRANSITIONS)
    cut_share: float = 0.6
    mean_take_s: float = 3.0
    defects: tuple[str, ...] = ()
    defect_share: float = 1.0
    film_defects: tuple[str, ...] = ()
    fades: bool = False
    rotation_deg: int = 0
    is_vfr: bool = False
    has_sound: bool = False


def _h264(quality: str = "21", **options: str) -> Encoding:
    return Encoding(quality=quality, options={"preset": "veryfast", **options})


_TAKE_DEFECTS = tuple(kind for kind in HIDES if kind not in (*FILM_DEFECTS, "still"))

_REELS = (
    _Reel(
        path="trailer.mp4",
        title="Trailer",
        share=0.2,
        size=(480, 270),
        fps=Fraction(24),
        encoding=_h264(),
        cut_share=0.4,
        fades=True,
        has_sound=True,
        license="CC-BY-4.0",
    ),
    _Reel(
        path="phone/IMG 0042 (portrait).mp4",
        title="On the way & back, #1",
        share=0.1,
        size=(180, 320),
        fps=Fraction(30),
        encoding=_h264(),
        cut_share=1.0,
        rotation_deg=90,
    ),
    _Reel(
        path="phone/vertical.mp4",
        title="Vertical",
        share=0.08,
        size=(216, 384),
        fps=Fraction(25),
        encoding=Encoding(codec="hevc", pixel_format="yuv420p10le", options={"preset": "ultrafast"}),
        license="CC-BY-SA-4.0",
    ),
    _Reel(
        path="web/shapes.webm",
        title="Shapes at play",
        share=0.1,
        size=(320, 240),
        fps=Fraction(30000, 1001),
        encoding=Encoding(codec="vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    ),
    _Reel(
        path="web/screen.mp4",
        title="Screen recording",
        share=0.08,
        size=(384, 216),
        fps=Fraction(30),
        encoding=_h264(),
        cut_share=1.0,
        is_vfr=True,
        license="",
    ),
    _Reel(
        path="web/modern.mp4",
        title="Modern",
        share=0.04,
        size=(320, 180),
        fps=Fraction(24),
        encoding=Encoding(codec="av1", quality="34", options={"preset": "11"}),
    ),
    _Reel(
        path="archive/tape 7.avi",
        title="Tape 7",
        share=0.08,
        size=(352, 288),
        fps=Fraction(25),
        encoding=Encoding(codec="mpeg4", options={"qscale": "4"}),
        film_defects=("pillarbox",),
        defects=("noise",),
        defect_share=0.5,
        license="all rights reserved",
    ),
    _Reel(
        path="archive/cinema.mkv",
        title="Wide screen",
        share=0.1,
        size=(426, 240),
        fps=Fraction(24000, 1001),
        encoding=_h264(),
        film_defects=("letterbox",),
        cut_share=0.5,
    ),
    _Reel(
        path="archive/square.mov",
        title="Square",
        share=0.06,
        size=(256, 256),
        fps=Fraction(12),
        encoding=_h264("18"),
    ),
    _Reel(
        path="archive/odd size.mkv",
        title="Lossless, of an odd size",
        share=0.03,
        size=(241, 135),
        fps=Fraction(15),
        encoding=Encoding(codec="ffv1", pixel_format="bgr0"),
        cut_share=1.0,
    ),
    _Reel(
        path="slides.mp4",
        title="Slide show",
        share=0.06,
        size=(320, 180),
        fps=Fraction(10),
        encoding=_h264(),
        cut_share=1.0,
        mean_take_s=1.8,
        defects=("still",),
    ),
    _Reel(
        path="rushes.mp4",
        title="Rushes, as they came",
        share=0.16,
        size=(400, 224),
        fps=Fraction(25),
        encoding=_h264(),
        cut_share=1.0,
        mean_take_s=1.6,
        defects=_TAKE_DEFECTS,
        film_defects=("watermark",),
        license="CC-BY-4.0",
    ),
    _Reel(
        path="high definition.mp4",
        title="High definition",
        share=0.03,
        size=(1280, 720),
        fps=Fraction(30),
        encoding=_h264("23", preset="ultrafast"),
        cut_share=1.0,
        mean_take_s=2.0,
    ),
)
_SMALL_COPY = replace(_REELS[0], path="web/trailer small.mp4", size=(240, 136), encoding=_h264("28"), has_sound=False)
_ALL_SHARES = sum(reel.share for reel in (*_REELS, _SMALL_COPY))


def draw_footage(folder: str | Path, *, seconds: float = 120.0, seed: int = 0, broken: bool = True) -> Truth:
    """Draw about so many seconds of footage into a folder, with broken files among it if asked for.

    The same seed gives the same pictures and truth. A codec that this build of FFmpeg lacks is replaced by H.264.
    """
    folder = Path(folder)
    files = [_draw(folder, reel, seconds, seed) for reel in _REELS]
    small = _draw(folder, _SMALL_COPY, seconds, seed, film_path=_REELS[0].path)
    files.append(replace(small, like=_REELS[0].path))
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


def _draw(folder: Path, reel: _Reel, seconds: float, seed: int, film_path: str | None = None) -> FileTruth:
    film = _film(reel, seconds, seed, film_path or reel.path)
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


def _film(reel: _Reel, seconds: float, seed: int, name: str) -> Film:
    width, height = reel.size
    film = sample_film(
        generator(seed, "footage", name),
        width=width,
        height=height,
        fps=reel.fps,
        seconds=max(seconds * reel.share / _ALL_SHARES, 1.5),
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
        return _h264()
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
