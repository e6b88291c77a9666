"""Long videos through a codec in pieces: constant memory for a minute or an hour.

    for latents in encode_stream(codec, pieces_of_video): ...      # pieces of any length
    for frames in decode_stream(codec, pieces_of_latent): ...

With a codec whose `exact_chunks` holds, the bits are those of the whole video. Other codecs cannot carry on where they
stopped: they get the whole video at once, and need the memory for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from model.codec.base import Codec
from model.codec.units import UnitCodec


def encode_stream(codec: Codec, video: Iterable[Tensor]) -> Iterator[Tensor]:
    """Normalised latent (posterior mean) of a video that comes in pieces `[B, 3, *, H, W]` of any length.

    Raises ValueError at the end when frames remain that do not fill a latent frame.
    """
    if not isinstance(codec, UnitCodec):
        yield codec.encode(torch.cat(list(video), 2))
        return
    state = None
    waiting: Tensor | None = None
    for piece in video:
        waiting = piece if waiting is None else torch.cat([waiting, piece], 2)
        head = int(state is None)
        ready = head + (waiting.shape[2] - head) // codec.stride[0] * codec.stride[0] if waiting.shape[2] >= head else 0
        if ready > 0:
            latent, _, state = codec.encode_chunk(waiting[:, :, :ready], state)
            yield latent
            waiting = waiting[:, :, ready:]
    if state is None or (waiting is not None and waiting.shape[2]):
        left = 0 if waiting is None else waiting.shape[2]
        raise ValueError(f"the video ends with {left} frames that fill no latent frame of {codec.stride[0]}")


def decode_stream(codec: Codec, latent: Iterable[Tensor]) -> Iterator[Tensor]:
    """The video of a normalised latent that comes in pieces `[B, z, *, h, w]`: pieces of frames in [-1, 1]."""
    if not isinstance(codec, UnitCodec):
        yield codec.decode(torch.cat(list(latent), 2))
        return
    state = None
    for piece in latent:
        for cell in piece.split(1, dim=2):  # a frame at a time, so that a long piece is not held as pixels
            frames, state = codec.decode_chunk(cell, state)
            yield frames
