"""The ways of prompting with images and video, each a canvas and what is done with the result.

    animate          an image, and what follows
    extend           a video goes on, or begins earlier
    connect          what lies between two videos
    close_loop       what leads from the end of a video back to its start
    interpolate      one video turns into another
    restyle          a video redrawn by a prompt, from some noise (Meng et al. 2021, SDEdit)
    repaint          a part of the picture redrawn
    outpaint         more picture around a video
    refine           a small video redrawn at full size

Frames that were given come back as they were given, to the bit, and what is made beside them is eased over to them,
because a codec does not give back quite what it was given. All take frames uint8 `[T, H, W, 3]`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from curate.errors import UsageError
from model.canvas import Box, Canvas, Pin
from model.joins import joined
from model.studio import Studio


def animate(
    studio: Studio, image: np.ndarray, *, frames: int, fps: float, prompt: str | None, seed: int = 0
) -> np.ndarray:
    """A video whose first frame is the image `[H, W, 3]`."""
    canvas = _canvas(image, frames=frames, fps=fps, prompt=prompt, seed=seed, pins=(Pin(frames=image),))
    (video,) = studio.draw([canvas])
    return np.concatenate([image[None], _joined(studio, video[1:], image, None)])


def extend(
    studio: Studio, video: np.ndarray, *, frames: int, fps: float, prompt: str | None, seed: int = 0,
    side: Literal["after", "before"] = "after", context_frames: int | None = None,
) -> np.ndarray:  # fmt: skip
    """A video with `frames` more after its end or before its start. The model looks at `context_frames` of it."""
    context = _context(studio, video, context_frames)
    if side == "after":
        made = _between(studio, video[-context:], None, frames=frames, fps=fps, prompt=prompt, seed=seed)
        return np.concatenate([video, made])
    made = _between(studio, None, video[:context], frames=frames, fps=fps, prompt=prompt, seed=seed)
    return np.concatenate([made, video])


def connect(
    studio: Studio, first: np.ndarray, second: np.ndarray, *, frames: int, fps: float, prompt: str | None,
    seed: int = 0, context_frames: int | None = None,
) -> np.ndarray:  # fmt: skip
    """Two videos with `frames` between them that lead from one to the other."""
    _same_size(first, second)
    before = first[-_context(studio, first, context_frames) :]
    after = second[: _context(studio, second, context_frames)]
    made = _between(studio, before, after, frames=frames, fps=fps, prompt=prompt, seed=seed)
    return np.concatenate([first, made, second])


def close_loop(
    studio: Studio, video: np.ndarray, *, frames: int, fps: float, prompt: str | None, seed: int = 0,
    context_frames: int | None = None,
) -> np.ndarray:  # fmt: skip
    """A video with `frames` more that lead from its end to its start, so that it can be played round and round."""
    context = _context(studio, video, context_frames)
    made = _between(studio, video[-context:], video[:context], frames=frames, fps=fps, prompt=prompt, seed=seed)
    return np.concatenate([video, made])


def interpolate(
    studio: Studio, first: np.ndarray, second: np.ndarray, *, fps: float, prompt: str | None, seed: int = 0,
    freedom: float = 0.8,
) -> np.ndarray:  # fmt: skip
    """A video of the same length that is the first at its start and the second at its end.

    In between, the two are blended and redrawn from noise, most of it (`freedom`) half-way.
    """
    _same_size(first, second)
    if len(first) != len(second):
        raise UsageError(f"the videos have {len(first)} and {len(second)} frames; interpolating needs equally many")
    share = np.linspace(0, 1, len(first))[:, None, None, None]
    blend = np.round((1 - share) * first + share * second).astype(np.uint8)
    stride = studio.codec.stride[0]
    num_slots = 1 + -(-(len(first) - 1) // stride)
    strengths = tuple(1 - freedom * np.sin(np.pi * slot / max(num_slots - 1, 1)) for slot in range(num_slots))
    pin = Pin(frames=blend, strength=strengths)
    (video,) = studio.draw([_canvas(first[0], frames=len(first), fps=fps, prompt=prompt, seed=seed, pins=(pin,))])
    video[1:-1] = _joined(studio, video[1:-1], first[0], second[-1])
    video[0], video[-1] = first[0], second[-1]
    return video


def restyle(
    studio: Studio, video: np.ndarray, *, fps: float, prompt: str | None, strength: float = 0.4, seed: int = 0
) -> np.ndarray:
    """A video redrawn by a prompt. `strength` is how much of it is kept: 1 all, 0 nothing."""
    pin = Pin(frames=video, strength=strength)
    (made,) = studio.draw([_canvas(video[0], frames=len(video), fps=fps, prompt=prompt, seed=seed, pins=(pin,))])
    return made


def repaint(
    studio: Studio, video: np.ndarray, box: Box, *, fps: float, prompt: str | None, strength: float = 0.0,
    seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """A video of which a part of the picture is redrawn; `strength` is how much of that part is kept.

    Raises UsageError for a box that does not lie within the picture.
    """
    _check_within(box, video.shape[1], video.shape[2])
    pins = (Pin(frames=video), Pin(frames=video, box=box, strength=min(strength, 0.999)))
    (made,) = studio.draw([_canvas(video[0], frames=len(video), fps=fps, prompt=prompt, seed=seed, pins=pins)])
    result = video.copy()
    inside = np.s_[:, box.top : box.top + box.height, box.left : box.left + box.width]
    result[inside] = made[inside]
    return result


def outpaint(
    studio: Studio, video: np.ndarray, *, height: int, width: int, top: int, left: int, fps: float,
    prompt: str | None, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """A larger picture, in which the video lies with its corner at (left, top).

    Raises UsageError when it has no place there.
    """
    _check_within(Box(top=top, left=left, height=video.shape[1], width=video.shape[2]), height, width)
    pin = Pin(frames=video, top=top, left=left)
    canvas = Canvas(
        frames=len(video), height=height, width=width, fps=fps, prompt=prompt, seed=seed, pins=(pin,)
    )  # fmt: skip
    (made,) = studio.draw([canvas])
    made[:, top : top + video.shape[1], left : left + video.shape[2]] = video
    return made


def refine(
    studio: Studio, video: np.ndarray, *, height: int, width: int, fps: float, prompt: str | None,
    strength: float = 0.5, seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """A small video, enlarged and redrawn from some noise: many prototypes are cheap, the chosen one becomes large.

    Raises UsageError for a size of other proportions.
    """
    if not 0.95 < (height * video.shape[2]) / (width * video.shape[1]) < 1.05:
        raise UsageError(
            f"a video of {video.shape[2]}x{video.shape[1]} px would be stretched to {width}x{height} px; ask for a "
            "size of the same proportions"
        )
    import torch
    from torch.nn import functional as F

    small = torch.from_numpy(video).movedim(-1, 1).float()
    large = F.interpolate(small, (height, width), mode="bicubic", align_corners=False)
    enlarged = large.round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()
    return restyle(studio, enlarged, fps=fps, prompt=prompt, strength=strength, seed=seed)


def _between(
    studio: Studio, before: np.ndarray | None, after: np.ndarray | None, *, frames: int, fps: float,
    prompt: str | None, seed: int,
) -> np.ndarray:  # fmt: skip
    """`frames` new frames that go on from `before` and lead to `after`.

    The first frame of `after` is the last of a slot, so that its other frames fill slots of their own; a single frame
    is held for a slot of its own:

        before b b b b b n | n n n a | a a a a after        n new; slots of 4 after the one picture at the start
        before b b b b b n | n n n n | a                    a slot with new frames is never held

    Frames of `before` that fill no slot, like that of `after`, are made again and thrown away.
    """
    stride = studio.codec.stride[0]
    begins = 1 if after is not None and len(after) == 1 else 0
    picture = (before if before is not None else after)[0]  # type: ignore[index]
    start = 0 if before is None else len(before)
    if after is not None:
        over = (start + frames - begins) % stride
        if before is None:
            start = (begins - frames) % stride  # make a few more at the start, and cut them off
        elif over < len(before):
            before = before[over:]
            start -= over
        else:
            before = np.concatenate([before[:1]] * (stride - over) + [before])
            start += stride - over
    pins = [] if before is None else [Pin(frames=before)]
    end = start + frames
    if after is not None:
        pins.append(Pin(frames=after, at=end))
    total = end + (0 if after is None else len(after))
    (made,) = studio.draw([_canvas(picture, frames=total, fps=fps, prompt=prompt, seed=seed, pins=pins)])
    ends = (None if pictures is None else pictures[at] for pictures, at in ((before, -1), (after, 0)))
    return _joined(studio, made[start:end], *ends)


def _context(studio: Studio, video: np.ndarray, asked: int | None) -> int:
    """Frames of a video that the model looks at: 1 + a multiple of the codec's, two slots unless asked otherwise."""
    stride = studio.codec.stride[0] * studio.patch[0]
    most = 1 + (min(asked or 1 + 2 * stride, len(video)) - 1) // stride * stride
    if asked is not None and asked > len(video):
        raise UsageError(f"context_frames is {asked}, but the video has {len(video)} frames")
    return most


def _canvas(
    picture: np.ndarray, *, frames: int, fps: float, prompt: str | None, seed: int, pins: Sequence[Pin]
) -> Canvas:
    height, width = picture.shape[:2]
    return Canvas(frames=frames, height=height, width=width, fps=fps, prompt=prompt, seed=seed, pins=tuple(pins))


def _check_within(box: Box, height: int, width: int) -> None:
    fits = 0 <= box.top < box.top + box.height <= height and 0 <= box.left < box.left + box.width <= width
    if not fits:
        raise UsageError(
            f"a box of {box.width}x{box.height} px at ({box.left}, {box.top}) does not lie within a picture of "
            f"{width}x{height} px"
        )


def _joined(studio: Studio, made: np.ndarray, before: np.ndarray | None, after: np.ndarray | None) -> np.ndarray:
    return joined(made, before=before, after=after, over=studio.codec.stride[0] // 2)


def _same_size(first: np.ndarray, second: np.ndarray) -> None:
    if first.shape[1:] != second.shape[1:]:
        (h1, w1), (h2, w2) = first.shape[1:3], second.shape[1:3]
        raise UsageError(f"the videos are {w1}x{h1} and {w2}x{h2} px; crop or resize one, so that they are alike")
