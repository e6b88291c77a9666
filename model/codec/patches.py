"""Videos as grids of patches of one latent cell each: what a linear codec sees.

The first frame of a video is repeated to fill a cell, so an image is a video that stands still, and one linear map
serves images, first frames and moving frames alike.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from model.codec.base import Stride

_PATCHES = "B C (t st) (h sh) (w sw) -> B t h w (C st sh sw)"
_VIDEO = "B t h w (C st sh sw) -> B C (t st) (h sh) (w sw)"


def patch_values(stride: Stride) -> int:
    """Values in the patch of one cell."""
    return 3 * stride[0] * stride[1] * stride[2]


def to_patches(video: Tensor, stride: Stride, *, is_start: bool) -> Tensor:
    """Patches `[B, t, h, w, P]` of a video `[B, 3, T, H, W]`, whose first frame stands alone if it `is_start`."""
    if is_start:
        still = video[:, :, :1].expand(-1, -1, stride[0], -1, -1)
        video = torch.cat([still, video[:, :, 1:]], dim=2)
    st, sh, sw = stride
    return rearrange(video, _PATCHES, st=st, sh=sh, sw=sw)


def from_patches(patches: Tensor, stride: Stride, *, is_start: bool) -> Tensor:
    """The video of patches; the first frame is the mean of the frames of its cell, the best estimate of a still."""
    st, sh, sw = stride
    video = rearrange(patches, _VIDEO, C=3, st=st, sh=sh, sw=sw)
    if not is_start or st == 1:
        return video
    return torch.cat([video[:, :, :st].mean(2, keepdim=True), video[:, :, st:]], dim=2)
