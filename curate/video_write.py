"""Writing video: frames to a file of exactly those frames, under a temporary name that is renamed when it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import get_native_id

import av
import numpy as np

from curate.config import nearest
from curate.errors import ConfigError, VideoError

ENCODERS = {
    "h264": ("libx264", "libopenh264", "h264"),
    "hevc": ("libx265",),
    "av1": ("libsvtav1", "libaom-av1"),
    "vp9": ("libvpx-vp9",),
    "mpeg4": ("mpeg4",),
    "ffv1": ("ffv1",),  # lossless
}
"""Encoders for each codec, best first. Which of them exist depends on the build of FFmpeg."""

SAME_BYTES = {"fflags": "bitexact"}
"""For what is written: no random ids and no dates in the file, so that the same pictures give the same bytes."""

_QUIET_OPTIONS = {"libx265": {"x265-params": "log-level=error"}}  # it speaks past FFmpeg's own log
_THREADS = Path("/proc/self/task")  # of this process, on Linux
_BT601 = 6
_CRF_DEFAULTS = {"libx264": "18", "libx265": "20", "libsvtav1": "28", "libaom-av1": "28", "libvpx-vp9": "28"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How frames are compressed."""

    codec: str = "h264"
    """One of `ENCODERS`."""
    quality: str | None = None
    """CRF of the encoder; lower is better. None takes a visually lossless default."""
    pixel_format: str = "yuv420p"
    options: Mapping[str, str] = field(default_factory=dict)
    """Further options of the encoder, as FFmpeg names them, for example preset or g."""

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS:
            raise ConfigError(f"no codec {self.codec!r}; {nearest(self.codec, ENCODERS)}")

    def encoder(self) -> str:
        """The best encoder that this build of FFmpeg has; ConfigError when it has none."""
        for name in ENCODERS[self.codec]:
            with suppress(Exception):
                av.Codec(name, "w")
                return name
        present = [codec for codec in ENCODERS if codec != self.codec]
        raise ConfigError(f"this build of FFmpeg cannot encode {self.codec}; try codec = {' or '.join(present)}")


def write_video(
    path: str | Path,
    pictures: Iterable[np.ndarray],
    *,
    fps: Fraction | int,
    pts: Iterable[int] | None = None,
    time_base: Fraction | None = None,
    encoding: Encoding | None = None,
) -> int:
    """Write RGB pictures, uint8 `[H, W, 3]`, all of one size, and return how many there were.

    Picture i is shown at i / fps, or at `pts[i]` in units of `time_base`. Odd sizes lose their last row or column
    where the pixel format subsamples colour. Raises VideoError (kind encode) when nothing or not all could be written;
    then no file is left behind.
    """
    encoding = encoding or Encoding()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    time_base = time_base or 1 / Fraction(fps)
    try:
        with av.open(str(partial), "w", options=SAME_BYTES) as container:
            count = _encode(container, pictures, iter(pts) if pts is not None else None, fps, time_base, encoding)
        if count == 0:
            raise VideoError("encode", f"{path}: no frames to write")
        os.replace(partial, path)
    except av.FFmpegError as error:
        raise VideoError("encode", f"{path}: could not be written: {error.strerror}") from None
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return count


@contextmanager
def _usual_priority() -> Iterator[None]:
    """Undo what SVT-AV1 does as root: it puts its threads and the caller before all others of the machine, in
    real time, and every process that is started later inherits that.
    """
    if not _THREADS.is_dir():
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    others = _threads() - {get_native_id()}
    try:
        yield
    finally:
        for thread in _threads() - others:
            with suppress(ProcessLookupError):  # it has ended
                if os.sched_getscheduler(thread) != policy:
                    os.sched_setscheduler(thread, policy, parameters)


def _threads() -> set[int]:
    return {int(task.name) for task in _THREADS.iterdir()}


def _encode(container, pictures, pts, fps, time_base, encoding) -> int:  # type: ignore[no-untyped-def]
    name = encoding.encoder()
    if name == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it, too, speaks past FFmpeg's own log
    options = {**_QUIET_OPTIONS.get(name, {}), **encoding.options}
    quality = encoding.quality or _CRF_DEFAULTS.get(name)
    if quality is not None:
        options.setdefault("crf", quality)
    stream = None
    count = 0
    for count, picture in enumerate(pictures, start=1):
        if stream is None:
            subsampled = encoding.pixel_format.startswith(("yuv420", "yuvj420"))
            height, width = (side - side % 2 if subsampled else side for side in picture.shape[:2])
            stream = container.add_stream(name, rate=Fraction(fps), options=options)
            stream.width, stream.height = max(width, 1), max(height, 1)
            stream.pix_fmt = encoding.pixel_format
            if encoding.pixel_format.startswith("yuv"):
                # Colours are converted by the matrix of BT.601 whatever the size; a reader would take HD for BT.709.
                stream.codec_context.colorspace = _BT601
            stream.codec_context.time_base = time_base
            stream.codec_context.thread_count = 1
            with _usual_priority():
                stream.codec_context.open()
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
        frame.time_base = time_base
        frame.pts = count - 1 if pts is None else next(pts)
        container.mux(stream.encode(frame))
    if stream is not None:
        container.mux(stream.encode())
    return count
