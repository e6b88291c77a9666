"""Cut: where the frames of a kept clip are. A span of the source, packets copied from it, or frames encoded anew.

A written file is decoded once more and counted before its row says ok: a clip has exactly the planned frames, or it is
a failure with a reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from curate.config import fingerprint
from curate.errors import ConfigError, VideoError
from curate.fetch import FetchConfig, local_copy
from curate.isolate import Child, Killed, Limits
from curate.sources import local_path
from curate.video_write import SAME_BYTES, Encoding

CUT_VERSION = 1
"""Raised whenever the same clip and settings would give another file."""

_VIRTUAL = ("start_pts", "end_pts", "time_base_num", "time_base_den", "num_frames", "width_px", "height_px", "codec")


@dataclass(frozen=True, slots=True, kw_only=True)
class CutConfig:
    """What becomes of kept clips."""

    mode: Literal["virtual", "copy", "reencode"] = "virtual"
    """virtual writes nothing; copy is fast, with the frames since the key frame before; reencode is exact."""
    encoding: Encoding = field(default_factory=Encoding)
    """How re-encoded clips are compressed."""
    max_side_px: int | None = None
    """Re-encoded clips are reduced so that no side is longer. None keeps the size."""
    crop_bars: bool = False
    """Whether re-encoded clips lose their black bars."""
    limits: Limits = field(default_factory=Limits)
    """What cutting one clip may use before it is given up."""
    fetch: FetchConfig = field(default_factory=FetchConfig)
    """Where sources may be fetched from."""

    def __post_init__(self) -> None:
        if self.max_side_px is not None and self.max_side_px < 16:
            raise ConfigError(f"cut.max_side_px must be at least 16, got {self.max_side_px}")
        if self.mode != "reencode" and (self.max_side_px or self.crop_bars):
            raise ConfigError(f"cut.max_side_px and crop_bars need cut.mode = reencode, not {self.mode}")

    @property
    def fingerprint(self) -> str:
        """Of all that changes the result; limits and permissions do not."""
        return fingerprint("cut", CUT_VERSION, self.mode, self.encoding, self.max_side_px, self.crop_bars)


_child = Child()


def cut_clip(clip: Mapping[str, Any], root: str, config: CutConfig) -> dict[str, Any]:
    """Cut a row of the view `kept` and return its row of `media`. Never raises for what is wrong with the video."""
    row = {
        "clip_id": clip["clip_id"],
        "video_id": clip["video_id"],
        "mode": config.mode,
        "fingerprint": config.fingerprint,
    }
    try:
        return {**row, **_cut(clip, root, config), "status": "ok"}
    except VideoError as error:
        message = error.message if not isinstance(error, Killed) else f"{clip['uri']}: {error.message}"
        return {**row, "status": "failed", "error_kind": error.kind, "error": message}


def _cut(clip: Mapping[str, Any], root: str, config: CutConfig) -> dict[str, Any]:
    if config.mode == "virtual":
        return {"uri": clip["uri"], **{name: clip[name] for name in _VIRTUAL}}
    if "://" in root:
        raise ConfigError(f"{root}: clips are written to local or mounted folders only; use cut.mode = virtual")
    path = local_path(clip["uri"])
    if path is not None:
        return _child.call("curate.cut:write_clip", dict(clip), str(path), root, config, limits=config.limits)
    with local_copy(clip["uri"], config.fetch) as copy:
        return _child.call("curate.cut:write_clip", dict(clip), str(copy), root, config, limits=config.limits)


def write_clip(clip: dict[str, Any], source: str, root: str, config: CutConfig) -> dict[str, Any]:
    """Write one clip to a file in this process, count its frames, and return the columns that say where they are."""
    from curate.video import open_video

    suffix = ".mkv" if config.mode == "copy" or config.encoding.codec in ("ffv1", "vp9") else ".mp4"
    relative = f"payload/media/{clip['clip_id'][:2]}/{clip['clip_id']}-{config.fingerprint}{suffix}"
    target = Path(root, relative)
    if config.mode == "copy":
        start_s = _copy_packets(source, clip, target)
    else:
        _encode(source, clip, target, config)
        start_s = Fraction(0)
    try:
        with open_video(target) as written:
            base = written.info.time_base
            times = [pts for pts, _ in written.frames()]
            if written.error is not None:
                raise written.error
            info = written.info
        inside = _inside(np.array(times), clip, start_s, base)
        if len(inside) != clip["num_frames"]:
            advice = "; use cut.mode = reencode" if config.mode == "copy" else ""
            raise VideoError(
                "encode", f"{clip['uri']}: the written clip has {len(inside)} of {clip['num_frames']} frames{advice}"
            )
    except VideoError:
        with suppress(FileNotFoundError):
            target.unlink()
        raise
    after = [pts for pts in times if pts > inside[-1]]
    step = round(float(np.median(np.diff(inside)))) if len(inside) > 1 else 1
    return {
        "uri": relative,
        "start_pts": int(inside[0]),
        "end_pts": int(after[0]) if after else int(inside[-1]) + max(step, 1),
        "time_base_num": base.numerator,
        "time_base_den": base.denominator,
        "num_frames": len(inside),
        "width_px": info.width_px,
        "height_px": info.height_px,
        "codec": info.codec,
        "size_bytes": target.stat().st_size,
    }


def _inside(times: np.ndarray, clip: Mapping[str, Any], start_s: Fraction, base: Fraction) -> np.ndarray:
    """The times of the written file that belong to the clip, which begins `start_s` into it."""
    tick_s = Fraction(clip["time_base_num"], clip["time_base_den"])
    length_s = (clip["end_pts"] - clip["start_pts"]) * tick_s
    slack_s = max(tick_s, base)  # containers round times, by less than that
    first = float((start_s - slack_s) / base)
    last = float((start_s + length_s - slack_s) / base)
    return times[(times >= first) & (times < last)]


def _encode(source: str, clip: Mapping[str, Any], target: Path, config: CutConfig) -> None:
    from curate.video import read_span
    from curate.video_write import write_video

    tick_s = Fraction(clip["time_base_num"], clip["time_base_den"])
    times: list[int] = []

    def pictures() -> Iterator[np.ndarray]:
        for pts, picture in read_span(source, clip["start_pts"], clip["end_pts"]):
            times.append(pts - clip["start_pts"])
            yield _resized(_cropped(picture, clip, config), config)

    def pts() -> Iterator[int]:
        index = 0
        while True:
            yield times[index]
            index += 1

    rate = Fraction(clip["fps"]).limit_denominator(1001)
    write_video(target, pictures(), fps=rate, pts=pts(), time_base=tick_s, encoding=config.encoding)


def _cropped(picture: np.ndarray, clip: Mapping[str, Any], config: CutConfig) -> np.ndarray:
    if not config.crop_bars or clip["content_width_px"] is None:
        return picture
    x, y = clip["content_x_px"], clip["content_y_px"]
    return picture[y : y + clip["content_height_px"], x : x + clip["content_width_px"]]


def _resized(picture: np.ndarray, config: CutConfig) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = min(1.0, (config.max_side_px or max(height, width)) / max(height, width))
    if scale == 1.0:
        return picture
    import cv2

    size = (max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _copy_packets(source: str, clip: Mapping[str, Any], target: Path) -> Fraction:
    """Copy packets from the key frame before the clip to its end; returns where the clip begins in the file, in s."""
    import av

    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    start, end = clip["start_pts"], clip["end_pts"]
    try:
        with av.open(source) as reader, av.open(str(partial), "w", options=SAME_BYTES) as writer:
            stream = next(s for s in reader.streams.video if not s.disposition & av.stream.Disposition.attached_pic)
            reader.seek(start, stream=stream, backward=True)
            copied = writer.add_stream_from_template(stream)
            offset: int | None = None
            for packet in reader.demux(stream):
                if packet.dts is None:
                    continue
                if offset is None:
                    offset = packet.pts if packet.pts is not None else packet.dts
                    shift = min(offset, packet.dts)
                if packet.is_keyframe and packet.pts is not None and packet.pts >= end:
                    break
                packet.pts = packet.pts - shift if packet.pts is not None else None
                packet.dts -= shift
                packet.stream = copied
                writer.mux(packet)
        if offset is None:
            raise VideoError("encode", f"{clip['uri']}: no packets to copy; use cut.mode = reencode")
        os.replace(partial, target)
    except (av.FFmpegError, ValueError) as error:  # ValueError: no such stream in this container
        raise VideoError("encode", f"{clip['uri']}: cannot be copied ({error}); use cut.mode = reencode") from None
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return (start - shift) * Fraction(clip["time_base_num"], clip["time_base_den"])
