"""Pictures from files and to files: what a request brings along, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from curate.config import nearest
from curate.errors import UsageError

VIDEO_SUFFIXES = (".mp4", ".mkv", ".mov", ".webm")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
ANIMATION_SUFFIXES = (".gif", ".webp")
_SHEET_PICTURES, _SHEET_WIDTH_PX, _GAP_PX = 8, 1280, 4


def read_pictures(path: Path, *, most: int = 10_000) -> tuple[np.ndarray, float | None]:
    """Frames uint8 `[T, H, W, 3]` of a video or image, and the frame rate of a video.

    Raises UsageError when it is neither, or has more than `most` frames.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(path) as image:
                return np.asarray(image.convert("RGB"))[None], None
        except (UnidentifiedImageError, OSError) as error:
            raise UsageError(f"{path}: not an image that can be read ({error})") from None
    from curate.errors import VideoError
    from curate.video import open_video, to_rgb

    try:
        with open_video(path) as video:
            info = video.info
            shown = list(islice(video.frames(), most + 1))
            if len(shown) > most:
                raise UsageError(f"{path}: more than {most} frames; cut it into parts, or to what is looked at")
            frames = [to_rgb(frame, info) for _, frame in shown]
            spans = [float((later - pts) * info.time_base) for (pts, _), (later, _) in pairwise(shown)]
    except VideoError as error:
        raise UsageError(str(error)) from None
    return np.stack(frames), 1 / float(np.median(spans)) if spans else None


def write_pictures(path: Path, pieces: Iterable[np.ndarray], *, fps: float) -> tuple[int, np.ndarray]:
    """Write pieces of frames as they come; the suffix says what. Returns how many, and a few spread over them.

    A still goes into .png, .jpg or .webp, a video into a container, .gif or .webp. Raises UsageError for other suffixes
    and for a video in a format for stills.
    """
    suffix = path.suffix.lower()
    known = {*VIDEO_SUFFIXES, *PICTURE_SUFFIXES, *ANIMATION_SUFFIXES}
    if suffix not in known:
        raise UsageError(f"{path}: cannot write {suffix or 'a file without suffix'}; {nearest(suffix, sorted(known))}")
    path.parent.mkdir(parents=True, exist_ok=True)
    watched = _Watched(pieces)
    if suffix in VIDEO_SUFFIXES:
        try:
            from curate.video_write import Encoding, write_video
        except ModuleNotFoundError as error:
            raise UsageError(f"{path}: {error}, which videos are written with; install it, or ask for .gif") from None
        codec = "vp9" if suffix == ".webm" else "h264"
        encoding = Encoding(codec=codec, pixel_format="yuv420p")
        write_video(path, _even(watched), fps=Fraction(fps).limit_denominator(1001), encoding=encoding)
    else:
        _write_with_pillow(path, list(watched), fps)
    return watched.count, watched.few()


def contact_sheet(pictures: np.ndarray) -> np.ndarray:
    """Pictures side by side in rows, uint8 `[H, W, 3]`; small ones enlarged, so that a person sees something."""
    width = pictures.shape[2]
    scale = max(1, min(6, (_SHEET_WIDTH_PX // min(len(pictures), 4) - _GAP_PX) // width))
    large = pictures.repeat(scale, axis=1).repeat(scale, axis=2)
    padded = np.pad(large, ((0, 0), (0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=255)
    per_row = max(1, min(len(padded), _SHEET_WIDTH_PX // padded.shape[2]))
    rows = [padded[start : start + per_row] for start in range(0, len(padded), per_row)]
    blank = np.full_like(padded[0], 255)
    filled = [np.concatenate([*row, *[blank] * (per_row - len(row))], axis=1) for row in rows]
    return np.concatenate(filled)[: -_GAP_PX or None, : -_GAP_PX or None]


def resized(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames at another size: the middle of the picture, as much as has the new aspect."""
    import torch
    from torch.nn import functional as F

    old_height, old_width = frames.shape[1:3]
    scale = max(height / old_height, width / old_width)
    size = (max(height, round(old_height * scale)), max(width, round(old_width * scale)))
    planes = torch.from_numpy(np.ascontiguousarray(frames)).movedim(-1, 1).float()
    enlarged = F.interpolate(planes, size, mode="bicubic", align_corners=False, antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    part = enlarged[:, :, top : top + height, left : left + width]
    return part.round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()


class _Watched:
    """Frames of pieces one by one, of which it keeps a few, evenly spread however many come."""

    def __init__(self, pieces: Iterable[np.ndarray]) -> None:
        self._pieces = pieces
        self._kept: list[tuple[int, np.ndarray]] = []
        self._every = 1
        self.count = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for piece in self._pieces:
            for frame in piece:
                if self.count % self._every == 0:
                    self._kept.append((self.count, frame))
                    if len(self._kept) > 4 * _SHEET_PICTURES:
                        self._every *= 2
                        self._kept = [(number, kept) for number, kept in self._kept if number % self._every == 0]
                self.count += 1
                yield frame

    def few(self) -> np.ndarray:
        chosen = np.linspace(0, len(self._kept) - 1, min(len(self._kept), _SHEET_PICTURES)).round().astype(int)
        return np.stack([self._kept[place][1] for place in chosen])


def _even(frames: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Common video formats have even sizes; an odd last row or column is doubled rather than lost."""
    for frame in frames:
        height, width = frame.shape[:2]
        yield np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_with_pillow(path: Path, frames: list[np.ndarray], fps: float) -> None:
    from PIL import Image

    images = [Image.fromarray(frame) for frame in frames]
    if len(images) == 1:
        images[0].save(path)
        return
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        raise UsageError(f"{path}: {len(images)} frames do not fit a still; write .mp4, .gif or .webp")
    settings: dict[str, Any] = {"lossless": True} if path.suffix.lower() == ".webp" else {}
    images[0].save(path, save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0, **settings)
