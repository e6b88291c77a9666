"""Reading video: the one place where FFmpeg is called to open and decode.

    with open_video(path) as video:
        for frame in video.reduced_frames():      # whole file, once, small planes: what the scan looks at
            ...
    for pts, picture in read_span(path, a, b):    # RGB frames of one exact span, as displayed
        ...

Times are integer pts in units of `info.time_base`. Sizes are as displayed: rotation and sample aspect are applied.
Pictures are uint8 `[H, W, 3]` RGB.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.plane import VideoPlane

from curate.errors import VideoError

WORK_PX = 256
"""Long side of the reduced frames. All signals are measured at this size, so that scores of all videos compare."""

_STILL_CONTAINERS = {"image2", "jpeg_pipe", "png_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe", "ppm_pipe", "svg_pipe"}
_TRANSFER_NAMES = {1: "bt709", 4: "gamma22", 6: "smpte170m", 8: "linear", 13: "srgb", 14: "bt2020-10", 15: "bt2020-12"}
_TRANSFER_NAMES |= {16: "smpte2084", 18: "arib-std-b67"}
_MATRIX_NAMES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}  # of red and blue
_FULL_RANGE = 2
_PLANAR_YUV = {f"yuv{chroma}p{depth}" for chroma in (420, 422, 444) for depth in ("", "10le", "12le")}
_PLANAR_YUV |= {"yuvj420p", "yuvj422p", "yuvj444p"}
_LIMITED_LUMA = np.clip(np.round(16 + np.arange(256) * 219 / 255), 0, 255).astype(np.uint8)
_LIMITED_CHROMA = np.clip(np.round(128 + (np.arange(256) - 128.0) * 224 / 255), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoInfo:
    """What the container and the first frame say. Nothing declared is trusted further on."""

    container: str
    codec: str
    pixel_format: str
    bit_depth: int
    color_transfer: str | None
    color_matrix: str  # how YUV relates to RGB: bt601, bt709 or bt2020
    coded_width_px: int
    coded_height_px: int
    width_px: int  # as displayed
    height_px: int
    rotation_deg: int  # clockwise turn that displays the stored picture upright
    sample_aspect: Fraction  # width over height of one stored pixel
    time_base: Fraction
    declared_frames: int | None
    declared_duration_s: float | None
    has_audio: bool


class ReducedFrame(NamedTuple):
    """A frame reduced to `WORK_PX` on its long side, upright, in limited-range 4:2:0.

    `y` is uint8 `[h, w]` with h and w even, 16 black to 235 white; `u` and `v` are `[h/2, w/2]`, 128 is grey.
    """

    pts: int
    duration: int | None  # as the container says
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    is_corrupt: bool
    is_interlaced: bool


class Video:
    """An open video at its first frame. Made by `open_video`; frames can be taken once, in order."""

    def __init__(self, path: str, container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> None:
        self.path = path
        self._container = container
        self._stream = stream
        self.error: VideoError | None = None
        """Set when decoding stopped before the end. All frames before the damage were given."""
        self._frames = self._decode()
        first = next(self._frames, None)
        if first is None:
            raise self.error or VideoError("no_frames", f"{path}: there is a video stream, but it holds no picture")
        self.info = _describe(container, stream, first)
        self._frames = itertools.chain([first], self._frames)
        self._last_pts: int | None = None

    def frames(self) -> Iterator[tuple[int, VideoFrame]]:
        """Decoded frames with strictly increasing pts, to the end or to the first damage (then `error` is set)."""
        for frame in self._frames:
            yield self._pts_of(frame), frame

    def reduced_frames(self, work_px: int = WORK_PX) -> Iterator[ReducedFrame]:
        """All frames, small and upright; about a tenth of the cost of decoding them."""
        size = work_size(self.info.width_px, self.info.height_px, work_px)
        for pts, frame in self.frames():
            y, u, v = _reduced_planes(frame, size, self.info.rotation_deg)
            yield ReducedFrame(pts, frame.duration or None, y, u, v, frame.is_corrupt, frame.interlaced_frame)

    def _decode(self) -> Iterator[VideoFrame]:
        num_decoded = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError) as error:
                # The decoder holds frames back to reorder them. After damage it no longer says which of them are whole,
                # so they count only when nothing else did.
                frames = [] if num_decoded else self._held_back(packet)
                self.error = self._damage(num_decoded + len(frames), error)
                yield from frames
                return
            for frame in frames:
                num_decoded += 1
                yield frame

    def _packets(self) -> Iterator[av.Packet]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except (av.FFmpegError, ValueError) as error:
                self.error = VideoError("truncated", f"{self.path}: the file breaks off: {_reason(error)}")
                return
            # Theora marks a repeated frame by an empty packet, which the decoder refuses.
            if packet.size or packet.pts is None:
                yield packet

    def _held_back(self, damaged: av.Packet) -> list[VideoFrame]:
        """Frames from before a damaged packet that were decoded but not given yet."""
        with suppress(av.FFmpegError, ValueError):
            frames = self._stream.codec_context.decode(None)
            limit = damaged.pts if damaged.pts is not None else damaged.dts
            return [frame for frame in frames if not frame.is_corrupt and (frame.pts or 0) < (limit or 0)]
        return []

    def _damage(self, num_decoded: int, error: Exception) -> VideoError:
        if num_decoded == 0:
            return VideoError(
                "undecodable",
                f"{self.path}: no frame of its {self._stream.codec_context.name} stream can be decoded "
                f"({_reason(error)}); it may be encrypted or damaged from the start",
            )
        declared = f" of {self._stream.frames} declared" if self._stream.frames else ""
        return VideoError(
            "corrupt", f"{self.path}: decoding failed after {num_decoded}{declared} frames ({_reason(error)})"
        )

    def _pts_of(self, frame: VideoFrame) -> int:
        # Some containers leave frames without a time, or repeat one: such frames follow the one before by one tick.
        pts = frame.pts if frame.pts is not None else frame.dts
        if pts is None or (self._last_pts is not None and pts <= self._last_pts):
            pts = 0 if self._last_pts is None else self._last_pts + 1
        self._last_pts = pts
        return pts


@contextmanager
def open_video(path: str | Path, *, skim: bool = False) -> Iterator[Video]:
    """Open a video and decode its first frame. Raises VideoError, whose kind says why it cannot be used.

    `skim` leaves out the loop filter of H.264 and its kin where no later frame depends on it: a tenth faster, the same
    number of frames, and the same boundaries (benchmarks/results/scan.md).
    """
    path = str(path)
    _refuse_what_is_no_file(path)
    try:
        container = av.open(path, metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        raise VideoError("not_video", f"{path}: no video container that FFmpeg knows ({_reason(error)})") from None
    with container:
        stream = next((s for s in container.streams.video if not _is_cover(s)), None)
        if container.format.name in _STILL_CONTAINERS:
            raise VideoError("still_image", f"{path}: a still image, not a video")
        if stream is None:
            kinds = " and ".join(sorted({s.type for s in container.streams})) or "nothing"
            raise VideoError("no_video_stream", f"{path}: no video stream; it holds {kinds} only")
        if stream.codec_context is None:
            raise VideoError("undecodable", f"{path}: this build of FFmpeg has no decoder for its video stream")
        if skim:
            stream.codec_context.options = {"skip_loop_filter": "noref"}
        stream.codec_context.thread_count = 1  # one process per video fills the machine, and threads can hang on damage
        yield Video(path, container, stream)


def work_size(width_px: int, height_px: int, work_px: int = WORK_PX) -> tuple[int, int]:
    """Size of the reduced frame: long side `work_px` or less, even, at least 2: 1920x1080 -> (256, 144)."""
    scale = min(1.0, work_px / max(width_px, height_px))
    width, height = (max(2, 2 * round(side * scale / 2)) for side in (width_px, height_px))
    return width, height


def read_span(path: str | Path, start_pts: int, end_pts: int) -> Iterator[tuple[int, np.ndarray]]:
    """RGB pictures of the frames with `start_pts <= pts < end_pts`, as displayed, in order.

    Raises VideoError when decoding fails before the end of the span.
    """
    for first_try in (True, False):
        with open_video(path) as video:
            if first_try:  # pts restart after a seek: only exact when the stream has them
                try:
                    video._container.seek(start_pts, stream=video._stream, backward=True)
                except av.FFmpegError:
                    continue
                video._frames = video._decode()
            frames = video.frames()
            head = next(frames, None)
            if first_try and (head is None or head[0] > start_pts):
                continue  # the index led past the start: decode from the beginning instead
            for pts, frame in itertools.chain([head] if head else [], frames):
                if pts >= end_pts:
                    return
                if pts >= start_pts:
                    yield pts, to_rgb(frame, video.info)
            if video.error is not None:
                raise video.error
            return


def to_rgb(frame: VideoFrame, info: VideoInfo) -> np.ndarray:
    """A decoded frame as it is displayed: uint8 `[height_px, width_px, 3]`."""
    turned = info.rotation_deg in (90, 270)
    width, height = (info.height_px, info.width_px) if turned else (info.width_px, info.height_px)
    picture = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, -info.rotation_deg // 90))


def to_bgr(frame: ReducedFrame) -> np.ndarray:
    """A reduced frame as OpenCV's detectors expect it: uint8 `[h, w, 3]` BGR, by the matrix of BT.601 always.

    Fast, and right enough for differences between frames; for people's eyes use `to_preview`.
    """
    height, width = frame.y.shape
    planes = np.empty((height * 3 // 2, width), np.uint8)
    planes[:height] = frame.y
    planes[height:] = np.concatenate([frame.u.ravel(), frame.v.ravel()]).reshape(-1, width)
    return cv2.cvtColor(planes, cv2.COLOR_YUV2BGR_I420)


def to_preview(frame: ReducedFrame, color_matrix: str) -> np.ndarray:
    """A reduced frame in its true colours: uint8 `[h, w, 3]` BGR, as OpenCV writes it to JPEG."""
    size = (frame.y.shape[1], frame.y.shape[0])
    chroma = [cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in (frame.u, frame.v)]
    red, blue = _LUMA_WEIGHTS[color_matrix]
    green = 1 - red - blue
    luma, u, v = 255 / 219, 255 / 224 * 2 * (1 - blue), 255 / 224 * 2 * (1 - red)
    to_b_g_r = np.array([[luma, u, 0], [luma, -u * blue / green, -v * red / green], [luma, 0, v]])
    offset = to_b_g_r @ [-16, -128, -128]
    return cv2.transform(cv2.merge([frame.y, *chroma]), np.column_stack([to_b_g_r, offset]))


def _refuse_what_is_no_file(path: str) -> None:
    file = Path(path)
    try:
        if file.is_dir():
            raise VideoError("not_a_file", f"{path}: a folder; name it as an input to have its files listed")
        if not file.is_file():
            kind, state = ("not_a_file", "not a regular file") if file.exists() else ("missing", "no such file")
            raise VideoError(kind, f"{path}: {state}")  # type: ignore[arg-type]
        with file.open("rb") as opened:
            head = opened.read(64)
    except PermissionError:
        raise VideoError("permission", f"{path}: may not be read; check the permissions of the file") from None
    if not head:
        raise VideoError("empty", f"{path}: an empty file (zero bytes)")
    if head.startswith(b"version https://git-lfs"):
        raise VideoError("not_video", f"{path}: a git-lfs pointer, not the video itself; run `git lfs pull`")


def _is_cover(stream: av.video.stream.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _reason(error: Exception) -> str:
    # FFmpeg's own words, without PyAV's prefix, number and the path, which the message already has.
    text = getattr(error, "strerror", None) or str(error)
    return text[:1].lower() + text[1:].rstrip(".")


def _describe(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream, frame: VideoFrame
) -> VideoInfo:
    context = stream.codec_context
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio or Fraction(1)
    if aspect <= 0 or not Fraction(1, 10) < aspect < 10:
        aspect = Fraction(1)
    rotation = round(-frame.rotation / 90) * 90 % 360
    width, height = max(1, round(frame.width * aspect)), frame.height
    if rotation in (90, 270):
        width, height = height, width
    duration = stream.duration * stream.time_base if stream.duration and stream.time_base else None
    if duration is None and container.duration:
        duration = Fraction(container.duration, av.time_base)
    return VideoInfo(
        container=container.format.name,
        codec=context.codec.canonical_name,
        pixel_format=frame.format.name,
        bit_depth=max(component.bits for component in frame.format.components),
        color_transfer=_TRANSFER_NAMES.get(frame.color_trc),
        color_matrix=_MATRIX_NAMES.get(frame.colorspace) or _usual_matrix(frame),
        coded_width_px=frame.width,
        coded_height_px=frame.height,
        width_px=width,
        height_px=height,
        rotation_deg=rotation,
        sample_aspect=aspect,
        time_base=frame.time_base or stream.time_base or Fraction(1, 1000),
        declared_frames=stream.frames or None,
        declared_duration_s=float(duration) if duration else None,
        has_audio=bool(container.streams.audio),
    )


def _usual_matrix(frame: VideoFrame) -> str:
    # What is stored as RGB is turned into YUV here, by FFmpeg's default.
    return "bt709" if frame.height >= 720 and not frame.format.is_rgb else "bt601"


def _reduced_planes(
    frame: VideoFrame, size: tuple[int, int], rotation_deg: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if frame.format.name not in _PLANAR_YUV:
        frame = frame.reformat(format="yuv420p")
    if rotation_deg in (90, 270):
        size = size[1], size[0]
    chroma_size = (size[0] // 2, size[1] // 2)
    planes = [
        _reduce(_samples(plane, frame.format), target)
        for plane, target in zip(frame.planes, (size, chroma_size, chroma_size), strict=True)
    ]
    depth = frame.format.components[0].bits
    if depth > 8:
        planes = [np.right_shift(plane, depth - 8).astype(np.uint8) for plane in planes]
    if frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj"):
        planes = [cv2.LUT(plane, _LIMITED_CHROMA if i else _LIMITED_LUMA) for i, plane in enumerate(planes)]
    if rotation_deg:
        planes = [np.ascontiguousarray(np.rot90(plane, -rotation_deg // 90)) for plane in planes]
    return planes[0], planes[1], planes[2]


def _samples(plane: VideoPlane, format: av.VideoFormat) -> np.ndarray:
    kind = np.uint8 if format.components[0].bits == 8 else np.uint16
    samples: np.ndarray = np.frombuffer(memoryview(plane), kind)
    return samples.reshape(plane.height, -1)[:, : plane.width]


def _reduce(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Average by halves while that stays above the target, then one linear step of less than two."""
    while plane.shape[1] >= 2 * size[0] and plane.shape[0] >= 2 * size[1]:
        height, width = plane.shape[0] // 2, plane.shape[1] // 2
        plane = cv2.resize(plane[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
    if (plane.shape[1], plane.shape[0]) != size:
        plane = cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(plane)
