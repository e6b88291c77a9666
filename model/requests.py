"""A request as it is written down: a task, its prompt and inputs; and its fulfilment, with everything beside it.

OUT.mp4              the video (or png, jpg, gif, webp)
OUT.sheet.png        a few of its frames side by side
OUT.json             the request, the seed, what made the weights: enough to make the same again
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from curate.config import nearest, to_tree
from curate.errors import UsageError
from model import edit
from model.canvas import Box, Canvas
from model.long import Panel, RollConfig, roll
from model.studio import Studio
from model.video_files import contact_sheet, read_pictures, resized, write_pictures

Task = Literal[
    "make", "loop", "roll", "animate", "extend", "extend-before", "connect", "close-loop", "interpolate", "restyle",
    "repaint", "outpaint", "refine",
]  # fmt: skip
TASKS: tuple[str, ...] = get_args(Task)
_OWN_LENGTH = ("make", "loop", "roll", "animate", "extend", "extend-before", "connect", "close-loop")
_READ_BY: dict[str, tuple[str, ...]] = {
    "frames": _OWN_LENGTH,
    "seconds": _OWN_LENGTH,
    "panels": ("roll",),
    "box": ("repaint",),
    "strength": ("restyle", "repaint", "refine"),
}
"""Fields that only some tasks read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for. Sizes, length and frame rate that are not given are the usual ones of the training footage."""

    task: Task = "make"
    prompt: str | None = None
    negative: str | None = None
    seconds: float | None = None
    """Length of what is made: of the whole video, or of what is added to one."""
    frames: int | None = None
    """The same in frames."""
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    seed: int = 0
    inputs: tuple[str, ...] = ()
    """Paths of the images or videos that the task begins with."""
    resize: bool = False
    """Resize inputs to `width` and `height`, cutting off what has no place, instead of refusing other sizes."""
    strength: float | None = None
    """How much of the input is kept by restyle, repaint and refine, 0 to 1."""
    box: tuple[int, ...] | None = None
    """Left, top, width, height of what repaint redraws, in pixels."""
    left: int = 0
    top: int = 0
    """Where outpaint puts the input."""
    panels: tuple[Panel, ...] = ()
    """A storyboard for roll."""
    roll: RollConfig = field(default_factory=RollConfig)
    scores: dict[str, float] = field(default_factory=dict)
    """Wished curation scores, such as aesthetic."""

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise UsageError(f"no task {self.task!r}; tasks: {', '.join(TASKS)}")
        wanted = {"connect": 2, "interpolate": 2, "make": 0, "loop": 0, "roll": 0}.get(self.task, 1)
        if len(self.inputs) != wanted:
            raise UsageError(f"{self.task} takes {wanted} inputs, got {len(self.inputs)}")
        for name, tasks in _READ_BY.items():
            if getattr(self, name) and self.task not in tasks:
                raise UsageError(f"{self.task} takes no {name}; {', '.join(tasks)} do")
        if self.task == "repaint" and (self.box is None or len(self.box) != 4):
            raise UsageError("repaint needs a box: left, top, width, height in pixels")
        for name in ("width", "height", "fps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be above 0, got {value}")
        if self.strength is not None and not 0 <= self.strength <= 1:
            raise UsageError(f"strength is a share, from 0 to 1, got {self.strength}")
        if self.seconds is not None and self.frames is not None:
            raise UsageError("give seconds or frames, not both")
        if (self.seconds is not None and self.seconds <= 0) or (self.frames is not None and self.frames < 1):
            raise UsageError("a video lasts a positive number of seconds, or at least one frame")


def fulfil(studio: Studio, request: Request, out: Path, *, notes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Make what is asked for, write it with its contact sheet and its record, and return the record, with `notes`."""
    told = _told_scores(studio)
    for name in request.scores:
        if name not in told:
            raise UsageError(f"scores.{name}: this model was not told it; {nearest(name, told)}")
    request, inputs = _completed(studio, request)
    studio = replace(studio, negative=request.negative, scores=request.scores)
    assert request.fps is not None
    count, few = write_pictures(out, _pieces(studio, request, inputs), fps=request.fps)
    sheet = out.with_suffix(".sheet.png")
    write_pictures(sheet, [contact_sheet(few)[None]], fps=1)
    record = {
        "file": out.name,
        "frames": count,
        "request": to_tree(request),
        "sampling": to_tree(studio.config),
        "made_by": studio.provenance,
        **(notes or {}),
    }
    out.with_suffix(".json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return record


def _told_scores(studio: Studio) -> list[str]:
    """Names of the conditions whose values the model has seen in its training."""
    dit = studio.model.dit
    if dit.condition_in is None:
        return []
    return [name for name, seen in zip(dit.config.conditions, dit.condition_in.seen, strict=True) if seen]


def _pieces(studio: Studio, request: Request, inputs: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames of the result, in pieces as they come."""
    assert request.height is not None
    assert request.width is not None
    assert request.fps is not None
    if request.task in ("make", "loop"):
        assert request.frames is not None
        canvas = Canvas(
            frames=request.frames, height=request.height, width=request.width, fps=request.fps, prompt=request.prompt,
            seed=request.seed, loop=request.task == "loop",
        )  # fmt: skip
        yield from studio.draw([canvas])
    elif request.task == "roll":
        assert request.frames is not None
        panels = request.panels or (Panel(prompt=request.prompt, seconds=request.frames / request.fps),)
        yield from roll(
            studio, panels, height=request.height, width=request.width, fps=request.fps, seed=request.seed,
            config=request.roll,
        )  # fmt: skip
    else:
        yield _EDITS[request.task](studio, request, inputs)


def _added(request: Request) -> dict[str, Any]:
    return {"frames": request.frames, **_redrawn(request)}


def _redrawn(request: Request) -> dict[str, Any]:
    return {"fps": request.fps, "prompt": request.prompt, "seed": request.seed}


def _size(request: Request) -> dict[str, Any]:
    return {"height": request.height, "width": request.width}


def _strength(request: Request) -> dict[str, Any]:
    return {} if request.strength is None else {"strength": request.strength}


def _box(request: Request) -> Box:
    assert request.box is not None
    left, top, width, height = request.box
    return Box(left=left, top=top, width=width, height=height)


_EDITS: dict[str, Callable[[Studio, Request, list[np.ndarray]], np.ndarray]] = {
    "animate": lambda studio, r, inputs: edit.animate(studio, inputs[0][0], **_added(r)),
    "extend": lambda studio, r, inputs: edit.extend(studio, inputs[0], side="after", **_added(r)),
    "extend-before": lambda studio, r, inputs: edit.extend(studio, inputs[0], side="before", **_added(r)),
    "connect": lambda studio, r, inputs: edit.connect(studio, inputs[0], inputs[1], **_added(r)),
    "close-loop": lambda studio, r, inputs: edit.close_loop(studio, inputs[0], **_added(r)),
    "interpolate": lambda studio, r, inputs: edit.interpolate(studio, inputs[0], inputs[1], **_redrawn(r)),
    "restyle": lambda studio, r, inputs: edit.restyle(studio, inputs[0], **_redrawn(r), **_strength(r)),
    "repaint": lambda studio, r, inputs: edit.repaint(studio, inputs[0], _box(r), **_redrawn(r), **_strength(r)),
    "outpaint": lambda studio, r, inputs: edit.outpaint(
        studio, inputs[0], top=r.top, left=r.left, **_size(r), **_redrawn(r)
    ),
    "refine": lambda studio, r, inputs: edit.refine(studio, inputs[0], **_size(r), **_redrawn(r), **_strength(r)),
}


def _completed(studio: Studio, request: Request) -> tuple[Request, list[np.ndarray]]:
    """The request with sizes, rate and length, and its inputs."""
    read = [read_pictures(Path(path)) for path in request.inputs]
    inputs = [frames for frames, _ in read]
    usual = studio.usual
    rates = [rate for _, rate in read if rate is not None]
    if request.fps is not None:
        rates.append(request.fps)
    if rates and max(rates) > 1.01 * min(rates):
        raise UsageError(
            f"the videos{'' if request.fps is None else ' and --fps'} have other rates, "
            f"{' and '.join(f'{rate:g}' for rate in rates)} frames/s, and would play faster or slower; bring them to "
            "one"
        )
    fps = rates[-1] if rates else usual["fps"]
    free_size = request.task in ("outpaint", "refine")
    if inputs and not free_size:
        height = inputs[0].shape[1] if request.height is None else request.height
        width = inputs[0].shape[2] if request.width is None else request.width
        inputs = [
            _fitted(frames, height, width, request, path) for frames, path in zip(inputs, request.inputs, strict=True)
        ]
    else:
        height = int(usual["height"]) if request.height is None else request.height
        width = int(usual["width"]) if request.width is None else request.width
    frames: int | None
    if request.panels:
        frames = max(round(sum(panel.seconds for panel in request.panels) * fps), 1)
    elif request.frames is not None or request.task not in _OWN_LENGTH:
        frames = request.frames
    else:
        frames = int(usual["frames"]) if request.seconds is None else max(round(request.seconds * fps), 1)
        if request.task == "loop":  # a whole number of latent frames
            frames = max(frames // studio.codec.stride[0], 1) * studio.codec.stride[0]
    return replace(request, frames=frames, seconds=None, height=height, width=width, fps=fps), inputs


def _fitted(frames: np.ndarray, height: int, width: int, request: Request, path: str) -> np.ndarray:
    if frames.shape[1:3] == (height, width):
        return frames
    if not request.resize:
        raise UsageError(
            f"{path} is {frames.shape[2]}x{frames.shape[1]} px, not {width}x{height}; leave the size out, or ask for "
            "--resize"
        )
    return resized(frames, height, width)
