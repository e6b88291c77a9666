"""Scan: one pass over a video, in a child process, that stores everything later stages ask about.

    source ──▶ hash ──▶ decode ──▶ signals (one row per frame) ──▶ payload/signals/
                              └──▶ previews (JPEG on a fixed grid) ──▶ payload/previews/
                              └──▶ a row of `videos`

Nothing that follows decodes the video again, but a re-encoding cut and the codec.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.config import fingerprint
from curate.errors import ConfigError, VideoError
from curate.fetch import FetchConfig, local_copy
from curate.isolate import Child, Killed, Limits, report_progress
from curate.payload import payload_path, read_note, write_payload
from curate.sources import local_path

SCAN_VERSION = 3
"""Raised whenever the same video would give other rows."""

_REPORT_EVERY_S = 0.2
_DAMAGED = pa.field("damaged", pa.bool_(), False, {"doc": "Whether the decoder itself marked the frame as damaged."})
_PREVIEWS = pa.schema([pa.field("pts", pa.int64(), False), pa.field("jpeg", pa.binary(), False)])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanConfig:
    """What is stored about every video."""

    preview_fps: float = 2.0
    """Preview frames per second."""
    preview_quality: int = 88
    """JPEG quality of previews, 1 to 100."""
    detectors: tuple[str, ...] = ()
    """Shot detectors of PySceneDetect that look on beside ours, for example adaptive or content:threshold=31."""
    limits: Limits = field(default_factory=Limits)
    """What scanning one video may use before it is given up."""
    fetch: FetchConfig = field(default_factory=FetchConfig)
    """Where inputs may be fetched from."""

    def __post_init__(self) -> None:
        if not 0 < self.preview_fps <= 60:
            raise ConfigError(f"scan.preview_fps must be above 0 and at most 60, got {self.preview_fps}")
        if not 1 <= self.preview_quality <= 100:
            raise ConfigError(f"scan.preview_quality must be from 1 to 100, got {self.preview_quality}")
        if self.detectors:
            from curate.detectors import parse_spec

            for spec in self.detectors:
                parse_spec(spec)

    @property
    def fingerprint(self) -> str:
        """Of all that changes the result; limits and permissions do not."""
        return fingerprint("scan", SCAN_VERSION, self.preview_fps, self.preview_quality, self.detectors)


@dataclass(frozen=True, slots=True)
class Scanned:
    """What came of one source. At least one of `video` and `error` is there."""

    uri: str
    video_id: str | None
    video: dict[str, Any] | None
    """A row of `videos`, with status ok or failed; None when the source could not even be read."""
    error: VideoError | None
    decoded: bool
    """Whether the video was really decoded, and not found stored by an earlier run that was cut short."""


_child = Child()  # one per process: decoding happens there, one video at a time


def scan_source(uri: str, root: str, config: ScanConfig) -> Scanned:
    """Scan a source into the dataset at `root`. Never raises for what is wrong with the source."""
    path = local_path(uri)
    try:
        if path is not None:
            return _scan_in_child(uri, str(path), root, config)
        with local_copy(uri, config.fetch) as copy:
            return _scan_in_child(uri, str(copy), root, config)
    except VideoError as error:
        return Scanned(uri, None, None, error, False)


def _scan_in_child(uri: str, path: str, root: str, config: ScanConfig) -> Scanned:
    try:
        return _child.call("curate.scan:scan_file", uri, path, root, config, limits=config.limits)
    except Killed as killed:
        video_id, num_frames, _ = killed.progress or (None, 0, 0)
        error = VideoError(killed.kind, f"{uri}: {killed.message}")
        if num_frames:  # what was decoded before the end is good: decode that much again, and no more
            try:
                return _child.call(
                    "curate.scan:scan_file", uri, path, root, config, error, num_frames, limits=config.limits
                )
            except Killed:
                pass
        return Scanned(
            uri, video_id, _failed_row(uri, path, video_id, config, error) if video_id else None, error, True
        )


def scan_file(
    uri: str,
    path: str,
    root: str,
    config: ScanConfig,
    known_damage: VideoError | None = None,
    max_frames: int | None = None,
) -> Scanned:
    """Scan a local file in this process. `max_frames` stops before known damage that would kill the process."""
    try:
        video_id = content_id(path)
    except OSError as error:
        return Scanned(uri, None, None, _unreadable(uri, path, error), False)
    report_progress((video_id, 0, 0))
    stored = read_note(root, payload_path("signals", video_id, config.fingerprint))
    if stored is not None:
        return Scanned(uri, video_id, {**stored, "uri": uri}, _error_of(stored), False)
    try:
        row = _decode(uri, path, root, video_id, config, known_damage, max_frames)
    except VideoError as error:
        error = VideoError(error.kind, error.message.replace(path, uri))
        return Scanned(uri, video_id, _failed_row(uri, path, video_id, config, error), error, True)
    return Scanned(uri, video_id, row, _error_of(row), True)


def content_id(path: str | Path) -> str:
    """The id of a video: the first 32 hexadecimal digits of the SHA-256 of its bytes."""
    with open(path, "rb") as file:
        digest = hashlib.sha256()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            report_progress((None, 0, file.tell()))
    return digest.hexdigest()[:32]


def _decode(
    uri: str,
    path: str,
    root: str,
    video_id: str,
    config: ScanConfig,
    known_damage: VideoError | None,
    max_frames: int | None,
) -> dict[str, Any]:
    import cv2

    from curate.detectors import Detectors
    from curate.signals import SignalExtractor
    from curate.video import open_video, to_preview, work_size

    cv2.setNumThreads(1)
    with open_video(path, skim=True) as video:
        info = video.info
        width, height = work_size(info.width_px, info.height_px)
        extractor = SignalExtractor(width, height, info.time_base)
        detectors = Detectors(config.detectors, info.time_base)
        previews = _PreviewGrid(config, info.time_base)
        damaged: list[bool] = []
        duration, is_interlaced, reported = 0, False, time.monotonic()
        for count, frame in enumerate(video.reduced_frames(), start=1):
            extractor.push(frame)
            detectors.push(frame)
            if previews.wants(frame.pts):
                previews.add(frame.pts, to_preview(frame, info.color_matrix))
            duration = frame.duration or duration
            damaged.append(frame.is_corrupt)
            is_interlaced |= frame.is_interlaced
            if time.monotonic() - reported > _REPORT_EVERY_S:
                report_progress((video_id, count, 0))
                reported = time.monotonic()
            if count == max_frames:
                break
        error = known_damage or video.error
    signals = detectors.mark(extractor.finish())
    signals = signals.append_column(_DAMAGED, pa.array(damaged))
    pts = signals.column("pts").to_numpy()
    size_bytes = Path(path).stat().st_size
    timing = _timing(pts, duration, info.time_base)
    error = error or _shortfall(uri, timing["duration_s"], info.declared_duration_s, info.has_audio)
    signals_path = payload_path("signals", video_id, config.fingerprint)
    previews_path = payload_path("previews", video_id, config.fingerprint)
    row = {
        "video_id": video_id,
        "uri": uri,
        "size_bytes": size_bytes,
        "container": info.container,
        "codec": info.codec,
        "pixel_format": info.pixel_format,
        "bit_depth": info.bit_depth,
        "color_transfer": info.color_transfer,
        "width_px": info.width_px,
        "height_px": info.height_px,
        "coded_width_px": info.coded_width_px,
        "coded_height_px": info.coded_height_px,
        "rotation_deg": info.rotation_deg,
        "sample_aspect": float(info.sample_aspect),
        **timing,
        "is_interlaced": is_interlaced,
        "time_base_num": info.time_base.numerator,
        "time_base_den": info.time_base.denominator,
        "num_frames": len(pts),
        "num_corrupt_frames": sum(damaged),
        "declared_frames": info.declared_frames,
        "declared_duration_s": info.declared_duration_s,
        "bitrate_bps": 8 * size_bytes / timing["duration_s"] if timing["duration_s"] else None,
        "has_audio": info.has_audio,
        "work_width_px": width,
        "work_height_px": height,
        "signals_path": signals_path,
        "previews_path": previews_path,
        "num_previews": len(previews.rows),
        "status": "ok",
        "error_kind": error.kind if error else None,
        "error": error.message.replace(path, uri) if error else None,
        "fingerprint": config.fingerprint,
    }
    write_payload(root, previews_path, previews.table())
    # The signals come last: a video whose signals are there is done, and their note is its row.
    write_payload(root, signals_path, signals, note=row)
    return row


class _PreviewGrid:
    """The first frame at or after every multiple of 1 / preview_fps, counted from the first frame."""

    def __init__(self, config: ScanConfig, time_base: Fraction) -> None:
        self._step = 1 / (Fraction(config.preview_fps).limit_denominator(1000) * time_base)  # in pts
        self._quality = config.preview_quality
        self._start: int | None = None
        self._next = 0
        self.rows: list[tuple[int, bytes]] = []

    def wants(self, pts: int) -> bool:
        if self._start is None:
            self._start = pts
        return pts - self._start >= self._next * self._step

    def add(self, pts: int, picture: np.ndarray) -> None:
        import cv2

        assert self._start is not None
        _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self._quality])
        self.rows.append((pts, jpeg.tobytes()))
        self._next = int((pts - self._start) // self._step) + 1

    def table(self) -> pa.Table:
        pts, jpegs = zip(*self.rows, strict=True) if self.rows else ((), ())
        return pa.table([pa.array(pts, pa.int64()), pa.array(jpegs, pa.binary())], schema=_PREVIEWS)


def _timing(pts: np.ndarray, last_duration: int, time_base: Fraction) -> dict[str, Any]:
    """Rate and extent from the frames themselves; containers are often wrong about both."""
    gaps = np.diff(pts)
    step = float(np.median(gaps)) if len(gaps) else float(last_duration)
    end = int(pts[-1]) + int(last_duration or round(step) or 1)
    odd_gaps = np.abs(gaps - step) > max(1.0, 0.1 * step)  # one tick is rounding
    span_s = float((int(pts[-1]) - int(pts[0])) * time_base)
    duration_s = float((end - int(pts[0])) * time_base)
    return {
        "start_pts": int(pts[0]),
        "end_pts": end,
        "duration_s": duration_s,
        "fps": (len(pts) - 1) / span_s if span_s else None,
        "is_vfr": bool(len(gaps) and odd_gaps.mean() > 0.02),
    }


def _shortfall(uri: str, duration_s: float, declared_s: float | None, has_audio: bool) -> VideoError | None:
    # Where the container only states one length for all streams, sound may be what is longer.
    if declared_s is None or has_audio or declared_s - duration_s <= max(0.5, 0.1 * declared_s):
        return None
    return VideoError("truncated", f"{uri}: {duration_s:.2f} s of {declared_s:.2f} declared could be decoded")


def _failed_row(uri: str, path: str, video_id: str, config: ScanConfig, error: VideoError) -> dict[str, Any]:
    return {
        "video_id": video_id,
        "uri": uri,
        "size_bytes": Path(path).stat().st_size if Path(path).exists() else None,
        "status": "failed",
        "error_kind": error.kind,
        "error": error.message,
        "fingerprint": config.fingerprint,
    }


def _error_of(row: dict[str, Any]) -> VideoError | None:
    return VideoError(row["error_kind"], row["error"]) if row.get("error_kind") else None


def _unreadable(uri: str, path: str, error: OSError) -> VideoError:
    if isinstance(error, IsADirectoryError):
        return VideoError("not_a_file", f"{uri}: a folder; name it as an input to have its files listed")
    if isinstance(error, PermissionError):
        return VideoError("permission", f"{uri}: may not be read; check the permissions of the file")
    return VideoError("missing", f"{uri}: {error.strerror or error}")


def previews(root: str, path: str) -> Iterator[tuple[int, bytes]]:
    """The preview frames of a video: pts and JPEG, in order."""
    from curate.payload import read_payload

    table = read_payload(root, path)
    yield from zip(table.column("pts").to_pylist(), table.column("jpeg").to_pylist(), strict=True)
