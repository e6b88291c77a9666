"""Where pictures meet that were made apart: slots of a codec, what was made and what was given, the ends of a loop."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor


def eased(frames: Tensor, before: Tensor, *, most: float = math.inf) -> Tensor:
    """Frames `[..., T, H, W]` whose first half is moved so that they go on from the picture before, `[..., 1, H, W]`.

    Where the frames alone would have come from is a straight line through their first two. What that misses `before`
    by, `most` at each value, is added to the first frame almost whole, and less to each after it. Fewer than two frames
    stay as they are.
    """
    over = frames.shape[-3] // 2
    if over < 1:
        return frames
    missed = before - (2 * frames[..., :1, :, :] - frames[..., 1:2, :, :])
    weights = 1 - torch.arange(1, over + 1, dtype=frames.dtype, device=frames.device) / (over + 1)
    moved = frames[..., :over, :, :] + weights[:, None, None] * missed.clamp(-most, most)
    return torch.cat([moved, frames[..., over:, :, :]], dim=-3)


def closed(frames: Tensor, *, slot: int, most: float) -> Tensor:
    """Frames `[..., T, H, W]` of a loop in slots of `slot` frames, each of which goes over into the next, the last into
    the first, as frames within them do.

    What a join misses of that, by the movement before and after it, is taken up half by the slot on either side: by its
    frame at the join, and less by each further away. Values that miss more than `most` have changed, and stay. Slots of
    one frame stay as they are.
    """
    if slot < 2:
        return frames
    slots = frames.unflatten(-3, (-1, slot))  # [..., S, slot, H, W]
    before = slots.roll(1, dims=-4)
    first, last = slots[..., 0, :, :], before[..., -1, :, :]
    ahead = (last - before[..., -2, :, :] + slots[..., 1, :, :] - first) / 2
    missed = last + ahead - first  # [..., S, H, W], before each slot
    missed = torch.where(missed.abs() <= most, missed, 0.0)[..., None, :, :]
    weights = torch.linspace(0.5, 0.0, slot, dtype=frames.dtype, device=frames.device)[:, None, None]
    moved = slots + weights * missed - weights.flip(0) * missed.roll(-1, dims=-4)
    return moved.flatten(-4, -3)


def joined(made: np.ndarray, *, before: np.ndarray | None, after: np.ndarray | None, over: int) -> np.ndarray:
    """Frames uint8 `[T, H, W, 3]`, of which up to `over` at each end are eased to the pictures that stand there."""
    frames = torch.from_numpy(made.astype(np.float32)).movedim(-1, 0)
    for picture in (before, after):
        if picture is not None:
            end = torch.from_numpy(picture.astype(np.float32)).movedim(-1, 0)[:, None]
            frames = torch.cat([eased(frames[:, : 2 * over], end), frames[:, 2 * over :]], dim=1)
        frames = frames.flip(1)
    return frames.round().clamp(0, 255).to(torch.uint8).movedim(0, -1).numpy()
