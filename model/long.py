"""Long videos and storyboards: a canvas that rolls on, in memory that does not grow.

    window 1   s n n n n
    window 2         c c n n n              s one-picture slot, n new, c context: the last slots, seen a little noisy
    window 3               c c n n n

Latents go on from window to window and are decoded as one stream, so that there is no seam in the codec.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.errors import UsageError
from model.canvas import Canvas, Layout, device_of
from model.codec.stream import decode_stream
from model.examples import picture_conditions
from model.pixels import to_frames
from model.sample import Job, draw_samples, job_noise
from model.studio import Studio
from model.tokens import Grid, Shape, unpatchify


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """A part of a storyboard."""

    prompt: str | None
    seconds: float

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise UsageError(f"a panel lasts {self.seconds} s; give each a positive time")


@dataclass(frozen=True, slots=True, kw_only=True)
class RollConfig:
    """How a canvas rolls."""

    window_slots: int | None = None
    """Slots that are computed together. None: as many as the usual clips of the training have."""
    context_slots: int = 2
    """Slots of the window before that each window goes on from."""
    context_level: float = 0.05
    """Noise on them, so that errors do not add up from window to window."""

    def __post_init__(self) -> None:
        if not 1 <= self.context_slots < (self.window_slots or math.inf):
            raise UsageError(
                f"context_slots {self.context_slots} must be at least 1 and below window_slots, {self.window_slots}"
            )
        if not 0 <= self.context_level < 1:
            raise UsageError(f"context_level is a flow time, from 0 to 1, got {self.context_level}")


def roll(
    studio: Studio, panels: Sequence[Panel], *, height: int, width: int, fps: float, seed: int = 0,
    config: RollConfig | None = None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Pieces of frames uint8 `[*, height, width, 3]`, as many as the panels last in all.

    A new prompt takes over where its panel begins, to the nearest slot, and goes on from what is there.
    """
    if not panels:
        raise UsageError("a storyboard needs at least one panel")
    total = max(round(sum(panel.seconds for panel in panels) * fps), 1)
    rolled = _Roll(studio, panels, height, width, fps, seed, config or RollConfig())
    left = total
    for video in decode_stream(studio.codec, rolled.latents(total)):
        frames = to_frames(video)[:left, :height, :width]
        yield frames
        left -= len(frames)
        if left <= 0:
            return


@dataclass(frozen=True)
class _Roll:
    studio: Studio
    panels: Sequence[Panel]
    height: int
    width: int
    fps: float
    seed: int
    config: RollConfig

    def latents(self, num_frames: int) -> Iterator[Tensor]:
        """Normalised latents `[1, z, *, h, w]` of new slots, window by window."""
        stride, patch = self.studio.codec.stride, self.studio.patch
        if patch[0] != 1:
            raise UsageError("rolling needs a model whose patches hold one latent frame")
        usual_slots = 1 + math.ceil((self.studio.usual["frames"] - 1) / stride[0])
        window_slots = self.config.window_slots or max(usual_slots, self.config.context_slots + 1)
        canvas = Canvas(frames=1, height=self.height, width=self.width, fps=self.fps, prompt=None)
        _, rows, columns = Layout.of(canvas, stride, patch).grid.shape
        context: Tensor | None = None  # [slots * rows * columns, P]
        done = number = 0
        end_s = 0.0
        for place, panel in enumerate(self.panels):
            end_s += panel.seconds
            is_last = place == len(self.panels) - 1
            later = (num_frames if is_last else end_s * self.fps) - 1  # frames after the first picture
            end = 1 + (math.ceil if is_last else round)(later / stride[0])
            while done < end:
                known = 0 if context is None else min(self.config.context_slots, done)
                slots = min(window_slots, known + end - done)
                tokens = self._window((slots, rows, columns), context, panel.prompt, number, is_start=known == done)
                new = tokens[known * rows * columns :]
                yield unpatchify(new, (slots - known, rows, columns), patch)[None].to(device_of(self.studio.codec))
                context = tokens if context is None else torch.cat([context, new])
                context = context[-self.config.context_slots * rows * columns :]
                done += slots - known
                number += 1

    def _window(
        self, shape: Shape, context: Tensor | None, prompt: str | None, number: int, *, is_start: bool
    ) -> Tensor:
        """Tokens of a window that begins with the context; `is_start`: with the very first picture."""
        stride = self.studio.codec.stride[0]
        grid = Grid(shape=shape, fps=self.fps, stride=stride, single=is_start)
        n, values = grid.num_tokens, self.studio.model.dit.config.patch_values
        given, ceiling, floor = torch.zeros(n, values), torch.ones(n), torch.zeros(n)
        if context is not None:
            given[: len(context)] = context
            ceiling[: len(context)] = floor[: len(context)] = self.config.context_level
        size = picture_conditions(fps=self.fps, width_px=self.width, height_px=self.height)
        noise = job_noise(self.seed, n, values, "window", number)
        job = Job(
            grid=grid, given=given, ceiling=ceiling, floor=floor, noise=noise, text=prompt,
            negative=self.studio.negative, conditions={**size, **self.studio.scores},
        )  # fmt: skip
        return draw_samples(self.studio.model, [job], self.studio.config)[0]
