"""The plan of drawn footage: which files there are, and how each differs from the tidy case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from curate.drawn.defects import FILM_DEFECTS, HIDES
from curate.drawn.transitions import TRANSITIONS
from curate.video_write import Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Reel:
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


def h264(quality: str = "21", **options: str) -> Encoding:
    # With macroblock trees, x264 writes other bytes each time for some sizes of picture.
    return Encoding(quality=quality, options={"preset": "veryfast", "mbtree": "0", **options})


TAKE_DEFECTS = tuple(kind for kind in HIDES if kind not in (*FILM_DEFECTS, "still"))

REELS = (
    Reel(
        path="trailer.mp4",
        title="Trailer",
        share=0.2,
        size=(480, 270),
        fps=Fraction(24),
        encoding=h264(),
        cut_share=0.4,
        fades=True,
        has_sound=True,
        license="CC-BY-4.0",
    ),
    Reel(
        path="phone/IMG 0042 (portrait).mp4",
        title="On the way & back, #1",
        share=0.1,
        size=(180, 320),
        fps=Fraction(30),
        encoding=h264(),
        cut_share=1.0,
        rotation_deg=90,
    ),
    Reel(
        path="phone/vertical.mp4",
        title="Vertical",
        share=0.08,
        size=(216, 384),
        fps=Fraction(25),
        encoding=Encoding(codec="hevc", pixel_format="yuv420p10le", options={"preset": "ultrafast"}),
        license="CC-BY-SA-4.0",
    ),
    Reel(
        path="web/shapes.webm",
        title="Shapes at play",
        share=0.1,
        size=(320, 240),
        fps=Fraction(30000, 1001),
        encoding=Encoding(codec="vp9", options={"deadline": "realtime", "cpu-used": "8"}),
    ),
    Reel(
        path="web/screen.mp4",
        title="Screen recording",
        share=0.08,
        size=(384, 216),
        fps=Fraction(30),
        encoding=h264(),
        cut_share=1.0,
        is_vfr=True,
        license="",
    ),
    Reel(
        path="web/modern.mp4",
        title="Modern",
        share=0.04,
        size=(320, 180),
        fps=Fraction(24),
        encoding=Encoding(codec="av1", quality="34", options={"preset": "11"}),
    ),
    Reel(
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
    Reel(
        path="archive/cinema.mkv",
        title="Wide screen",
        share=0.1,
        size=(426, 240),
        fps=Fraction(24000, 1001),
        encoding=h264(),
        film_defects=("letterbox",),
        cut_share=0.5,
    ),
    Reel(
        path="archive/square.mov",
        title="Square",
        share=0.06,
        size=(256, 256),
        fps=Fraction(12),
        encoding=h264("18"),
    ),
    Reel(
        path="archive/odd size.mkv",
        title="Lossless, of an odd size",
        share=0.03,
        size=(241, 135),
        fps=Fraction(15),
        encoding=Encoding(codec="ffv1", pixel_format="bgr0"),
        cut_share=1.0,
    ),
    Reel(
        path="slides.mp4",
        title="Slide show",
        share=0.06,
        size=(320, 180),
        fps=Fraction(10),
        encoding=h264(),
        cut_share=1.0,
        mean_take_s=1.8,
        defects=("still",),
    ),
    Reel(
        path="rushes.mp4",
        title="Rushes, as they came",
        share=0.16,
        size=(400, 224),
        fps=Fraction(25),
        encoding=h264(),
        cut_share=1.0,
        mean_take_s=1.6,
        defects=TAKE_DEFECTS,
        film_defects=("watermark",),
        license="CC-BY-4.0",
    ),
    Reel(
        path="high definition.mp4",
        title="High definition",
        share=0.03,
        size=(1280, 720),
        fps=Fraction(30),
        encoding=h264("23", preset="ultrafast"),
        cut_share=1.0,
        mean_take_s=2.0,
    ),
)
SMALL_COPY = replace(REELS[0], path="web/trailer small.mp4", size=(240, 136), encoding=h264("28"), has_sound=False)
ALL_SHARES = sum(reel.share for reel in (*REELS, SMALL_COPY))
