"""Broken and odd inputs, made from a good video, each with what a good reader says of it.

    damage(folder, good_path)  ->  [Broken("empty.mp4", kind="empty", is_usable=False), ...]

`kind` is the `ErrorKind` that a reader should report, None when nothing is wrong. Usable files give frames, damaged
ones up to the damage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np

from curate.counter_random import generator
from curate.drawn.sound import write_tone
from curate.errors import ErrorKind
from curate.video_write import SAME_BYTES, Encoding, write_video


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """One broken or odd input."""

    name: str
    kind: ErrorKind | None
    is_usable: bool
    is_copy: bool  # shows what the good video shows
    why: str


def _empty(good: Path, path: Path) -> None:
    path.write_bytes(b"")


def _without_index(good: Path, path: Path) -> None:
    content = good.read_bytes()
    path.write_bytes(content[: content.rindex(b"moov") - 4])


def _cut_off(good: Path, path: Path) -> None:
    _copy_to_matroska(good, path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _wrong_extension(good: Path, path: Path) -> None:
    matroska = path.with_suffix(".mkv")
    _copy_to_matroska(good, matroska)
    matroska.rename(path)


def _copy_to_matroska(good: Path, path: Path) -> None:
    with av.open(str(good)) as source, av.open(str(path), "w", options=SAME_BYTES) as target:
        pictures = source.streams.video[0]
        stream = target.add_stream_from_template(pictures)
        for packet in source.demux(pictures):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


def _corrupt(good: Path, path: Path) -> None:
    content = bytearray(good.read_bytes())
    start, end = content.index(b"mdat"), content.rindex(b"moov")
    middle, length = (start + end) // 2, (end - start) // 20
    content[middle : middle + length] = generator(0, "damage").bytes(length)
    path.write_bytes(content)


def _sound_only(good: Path, path: Path) -> None:
    write_tone(path, 2.0)


def _still_image(good: Path, path: Path) -> None:
    picture = np.full((90, 160, 3), 128, np.uint8)
    path.write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def _text(good: Path, path: Path) -> None:
    path.write_text("Shot list: a red circle, two blue stars, and the pillar again.\n" * 5, encoding="utf-8")


def _pointer(good: Path, path: Path) -> None:
    path.write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n", encoding="utf-8"
    )


def _folder(good: Path, path: Path) -> None:
    path.mkdir(exist_ok=True)


def _one_pixel(good: Path, path: Path) -> None:
    pictures = [np.full((1, 1, 3), level, np.uint8) for level in range(0, 250, 25)]
    write_video(path, pictures, fps=10, encoding=Encoding(codec="ffv1", pixel_format="yuv444p"))


def _single_frame(good: Path, path: Path) -> None:
    write_video(path, [np.full((90, 160, 3), 128, np.uint8)], fps=25)


def _no_frames(good: Path, path: Path) -> None:
    with av.open(str(path), "w", options={"movflags": "empty_moov+frag_keyframe+default_base_moof"}) as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        container.start_encoding()


def _missing(good: Path, path: Path) -> None:
    path.unlink(missing_ok=True)


def _case(name: str, kind: ErrorKind | None, why: str, *, is_usable: bool = False, is_copy: bool = False) -> Broken:
    return Broken(name=name, kind=kind, is_usable=is_usable or is_copy, is_copy=is_copy, why=why)


_CASES: dict[Broken, Callable[[Path, Path], None]] = {
    _case("empty.mp4", "empty", "zero bytes"): _empty,
    _case("without index.mp4", "not_video", "an upload that broke off before the index was written"): _without_index,
    _case("cut off.mkv", "truncated", "the second half is missing", is_copy=True): _cut_off,
    _case("corrupt.mp4", "corrupt", "noise in the middle", is_copy=True): _corrupt,
    _case("sound only.mp4", "no_video_stream", "a tone without pictures"): _sound_only,
    _case("wrong extension.mp4", None, "a good Matroska file by the wrong name", is_copy=True): _wrong_extension,
    _case("photo.mp4", "still_image", "a JPEG picture by the wrong name"): _still_image,
    _case("notes.mp4", "not_video", "a text by the wrong name"): _text,
    _case("pointer.mp4", "not_video", "a git-lfs pointer in place of the video"): _pointer,
    _case("folder.mp4", "not_a_file", "a folder"): _folder,
    _case("one pixel.mkv", None, "ten frames of one pixel", is_usable=True): _one_pixel,
    _case("single frame.mp4", None, "a video of one frame", is_usable=True): _single_frame,
    _case("no frames.mp4", "no_frames", "a header and nothing after it"): _no_frames,
    _case("missing.mp4", "missing", "listed, but not there"): _missing,
}


def damage(folder: Path, good: Path) -> list[Broken]:
    """Write broken and odd inputs into a folder. `good` is an H.264 video in MP4."""
    folder.mkdir(parents=True, exist_ok=True)
    for case, make in _CASES.items():
        make(good, folder / case.name)
    return list(_CASES)
