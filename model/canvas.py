"""What the sampler is asked to fill: a canvas of some size and length, a prompt, and pins, the pixels that are given.

    pictures   0 | 1 2 3 4 | 5 6 7 8        a slot is pinned when a pin covers all of its pictures
    slots      0 |    1    |    2
    pin              x x x x x x            pictures 2 to 7: no slot is covered; 1 to 7: slot 1 is

Every way of prompting is a canvas: `edit.py` builds them. A pin is encoded by itself, so that nothing of what is to be
made leaks into it. Sizes and lengths may be any: what does not fill a token is made, too, and cut off again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from curate.counter_random import generator
from curate.errors import UsageError
from model.codec.base import Codec
from model.examples import picture_conditions
from model.joins import closed
from model.pixels import to_frames, to_video
from model.sample import Job, job_noise
from model.tokens import Grid, Shape, patchify, unpatchify

_CLOSED = 2 * 4 / 255
"""Slots of a loop are brought together where they miss each other by up to 4 of 255: of the included model's loops that
stand still, 22 of 24 then have a seam of at most 1.5 mean distances, instead of 17. A real jump stays."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A part of the picture, in pixels of the canvas."""

    top: int
    left: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Pictures that are given, and how firmly."""

    frames: np.ndarray
    """uint8 `[T, H, W, 3]`; a picture of its own is `[H, W, 3]`."""
    at: int = 0
    """Picture of the canvas where it begins. A single one later than 0 is held for the slot that it falls in."""
    top: int = 0
    left: int = 0
    strength: float | tuple[float, ...] = 1.0
    """1 keeps it to the bit, 0 ignores it, between them it is redrawn from that much noise. May differ from slot to
    slot of the canvas that it covers; the last one goes on."""
    box: Box | None = None
    """Only this part of the canvas."""
    outside: bool = False
    """Everything but the box."""
    level: float = 0.0
    """Noise that a firm pin carries when the model looks at it; it is given back without."""


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """One request."""

    frames: int
    height: int
    width: int
    fps: float
    prompt: str | None
    negative: str | None = None
    seed: int = 0
    pins: tuple[Pin, ...] = ()
    """Later pins lie on top of earlier ones."""
    loop: bool = False
    """The last picture goes over into the first; frames is then a multiple of the codec's."""
    guidance: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    """Wished curation scores by name, such as aesthetic."""

    def __post_init__(self) -> None:
        for name in ("frames", "height", "width"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.fps <= 1000:
            raise UsageError(f"fps must be above 0 and at most 1000, got {self.fps}")


@dataclass(frozen=True)
class Layout:
    """A canvas in latent cells and tokens."""

    canvas: Canvas
    stride: Shape
    patch: Shape
    cells: Shape
    """Latent slots, rows, columns: enough for the canvas."""

    @staticmethod
    def of(canvas: Canvas, stride: Shape, patch: Shape) -> Layout:
        """Raises UsageError for a loop whose length no number of slots has."""
        if canvas.loop and canvas.frames % (stride[0] * patch[0]):
            unit = stride[0] * patch[0]
            raise UsageError(
                f"a loop of {canvas.frames} frames: its length must be a multiple of {unit}, for example "
                f"{math.ceil(canvas.frames / unit) * unit}"
            )
        slots = canvas.frames // stride[0] if canvas.loop else 1 + math.ceil((canvas.frames - 1) / stride[0])
        rows, columns = math.ceil(canvas.height / stride[1]), math.ceil(canvas.width / stride[2])
        slots, rows, columns = (
            math.ceil(size / part) * part for size, part in zip((slots, rows, columns), patch, strict=True)
        )
        return Layout(canvas, stride, patch, (slots, rows, columns))

    @property
    def grid(self) -> Grid:
        frames, rows, columns = (size // part for size, part in zip(self.cells, self.patch, strict=True))
        return Grid(
            shape=(frames, rows, columns),
            fps=self.canvas.fps,
            stride=self.stride[0],
            slots=self.patch[0],
            single=not self.canvas.loop,
        )

    def pictures(self, slot: int) -> tuple[int, int]:
        """The pictures of a slot, first and end."""
        if self.canvas.loop:
            return slot * self.stride[0], (slot + 1) * self.stride[0]
        return (0, 1) if slot == 0 else (1 + (slot - 1) * self.stride[0], 1 + slot * self.stride[0])


def make_job(canvas: Canvas, codec: Codec, patch: Shape) -> Job:
    """A canvas as tokens. Raises UsageError for pins that lie off the canvas or off its cells."""
    layout = Layout.of(canvas, codec.stride, patch)
    content = torch.zeros(codec.z_dim, *layout.cells)
    ceiling, floor = torch.ones(layout.cells), torch.zeros(layout.cells)
    for pin in canvas.pins:
        _lay(pin, layout, codec, content, ceiling, floor)
    grid = layout.grid
    # A token is as free as its freest cell, and held only where all of its cells are.
    ceiling, floor = patchify(ceiling[None], patch).amax(dim=1), patchify(floor[None], patch).amin(dim=1)
    known = picture_conditions(fps=canvas.fps, width_px=canvas.width, height_px=canvas.height)
    values = codec.z_dim * math.prod(patch)
    return Job(
        grid=grid,
        given=patchify(content, patch),
        ceiling=ceiling,
        floor=torch.where(floor == ceiling, floor, 0.0),
        noise=job_noise(canvas.seed, grid.num_tokens, values),
        text=canvas.prompt,
        negative=canvas.negative,
        conditions={**known, **canvas.scores},
        guidance=canvas.guidance,
        frame_shifts=_loop_shifts(canvas.seed, grid.shape[0]) if canvas.loop else None,
    )


def to_pictures(tokens: Tensor, canvas: Canvas, codec: Codec, patch: Shape) -> np.ndarray:
    """Pictures uint8 `[frames, height, width, 3]` of the tokens of a canvas."""
    layout = Layout.of(canvas, codec.stride, patch)
    latent = unpatchify(tokens, layout.grid.shape, patch)[None].to(device_of(codec))
    if canvas.loop:
        # Decoded twice in a row behind a blank first slot: the second time, the decoder comes from the end of the loop.
        twice = torch.cat([torch.zeros_like(latent[:, :, :1]), latent, latent], dim=2)
        second = codec.decode(twice)[:, :, -layout.cells[0] * codec.stride[0] :]
        frames = to_frames(closed(second, slot=codec.stride[0], most=_CLOSED))
    else:
        frames = to_frames(codec.decode(latent))
    return frames[: canvas.frames, : canvas.height, : canvas.width]


def _loop_shifts(seed: int, num_slots: int) -> tuple[int, ...]:
    """Where a loop begins in each step: anywhere, so that no place is its seam."""
    return tuple(int(shift) for shift in generator(seed, "loop").integers(0, num_slots, 256))


def device_of(codec: Codec) -> torch.device:
    """Where the weights of a codec are."""
    tensors = [*codec.parameters(), *codec.buffers()] if isinstance(codec, torch.nn.Module) else []
    return tensors[0].device if tensors else torch.device("cpu")


def _lay(pin: Pin, layout: Layout, codec: Codec, content: Tensor, ceiling: Tensor, floor: Tensor) -> None:
    """Put a pin on the canvas: its latent into `content`, and how free its cells are."""
    canvas, stride = layout.canvas, layout.stride
    frames = pin.frames if pin.frames.ndim == 4 else pin.frames[None]
    num_frames, height, width = frames.shape[:3]
    if pin.at < 0 or pin.at + num_frames > canvas.frames:
        raise UsageError(
            f"a pin of {num_frames} frames at frame {pin.at} does not lie on a canvas of {canvas.frames} frames"
        )
    if min(pin.top, pin.left) < 0 or pin.top + height > canvas.height or pin.left + width > canvas.width:
        raise UsageError(
            f"a pin of {width}x{height} px at ({pin.left}, {pin.top}) does not lie on a canvas of "
            f"{canvas.width}x{canvas.height} px; crop or resize it first"
        )
    if pin.top % stride[1] or pin.left % stride[2]:
        raise UsageError(
            f"a pin at ({pin.left}, {pin.top}) does not begin at a latent cell; the nearest is "
            f"({pin.left // stride[2] * stride[2]}, {pin.top // stride[1] * stride[1]})"
        )
    slots = _covered_slots(pin.at, num_frames, layout)
    rows = slice(pin.top // stride[1], _covered_cells(pin.top, height, stride[1], canvas.height, layout.cells[1]))
    columns = slice(pin.left // stride[2], _covered_cells(pin.left, width, stride[2], canvas.width, layout.cells[2]))
    latent = _encode(frames, pin.at, slots, layout, codec)[
        :, :, : rows.stop - rows.start, : columns.stop - columns.start
    ]
    where = torch.zeros(layout.cells[1:], dtype=torch.bool)
    where[rows, columns] = True
    if pin.box is not None:
        where &= _box_cells(pin.box, layout) ^ pin.outside
    for index, slot in enumerate(slots):
        strengths = pin.strength if isinstance(pin.strength, tuple) else (pin.strength,)
        strength = strengths[min(index, len(strengths) - 1)]
        content[:, slot, rows, columns] = torch.where(
            where[rows, columns], latent[:, index], content[:, slot, rows, columns]
        )
        ceiling[slot][where] = pin.level if strength >= 1 else 1 - strength
        floor[slot][where] = pin.level if strength >= 1 else 0.0


def _covered_slots(at: int, num_frames: int, layout: Layout) -> list[int]:
    spans = [layout.pictures(slot) for slot in range(layout.cells[0])]
    if num_frames == 1 and at > 0:  # a single picture is held for its slot
        return [slot for slot, (first, end) in enumerate(spans) if first <= at < end]
    # What lies beyond the canvas will be cut off again, so nothing is missing there.
    last = min(at + num_frames, layout.canvas.frames)
    covered = [
        slot
        for slot, (first, end) in enumerate(spans)
        if first >= at and min(end, layout.canvas.frames) <= last and first < layout.canvas.frames
    ]
    if not covered:
        raise UsageError(
            f"a pin of {num_frames} frames at frame {at} covers no whole latent slot of {layout.stride[0]} frames; "
            f"give more frames, or begin at frame 0 or 1 + a multiple of {layout.stride[0]}"
        )
    return covered


def _covered_cells(start: int, length: int, stride: int, size: int, cells: int) -> int:
    """End of the cells that pixels `[start, start + length)` cover; at the edge of the canvas also partly."""
    return cells if start + length == size else (start + length) // stride


def _encode(frames: np.ndarray, at: int, slots: list[int], layout: Layout, codec: Codec) -> Tensor:
    """Latent `[z, slots, rows, columns]` of the pictures in `slots`, encoded from no other pictures than the pin's."""
    first, end = layout.pictures(slots[0])[0], layout.pictures(slots[-1])[1]
    wanted = np.arange(first, end) - at
    if slots[0] > 0 or layout.canvas.loop:
        wanted = np.concatenate([[first - 1 - at], wanted])  # the picture before stands alone in the codec's first slot
    chosen = frames[np.clip(wanted, 0, len(frames) - 1)]
    height, width = chosen.shape[1:3]
    down = -height % (layout.stride[1] * layout.patch[1])
    right = -width % (layout.stride[2] * layout.patch[2])
    padded = np.pad(chosen, ((0, 0), (0, down), (0, right), (0, 0)), mode="edge")
    latent = codec.encode(to_video(padded).to(device_of(codec)))[0].cpu()
    return latent[:, -len(slots) :]


def _box_cells(box: Box, layout: Layout) -> Tensor:
    """Cells whose middle lies in a box, bool `[rows, columns]`."""
    rows, columns = (
        (torch.arange(cells, dtype=torch.float32) + 0.5) * stride
        for cells, stride in zip(layout.cells[1:], layout.stride[1:], strict=True)
    )
    return ((rows >= box.top) & (rows < box.top + box.height))[:, None] & (
        (columns >= box.left) & (columns < box.left + box.width)
    )
