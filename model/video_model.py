"""The model that is trained and sampled: the transformer, and the text encoder that learns with it (or is given)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from model.dit import Context, DiT
from model.flow import FlowConfig, network_input, velocity
from model.packed import PackedBatch
from model.text.base import TextEncoder


class VideoModel(nn.Module):
    """Packed batch in, velocities out.

    A text encoder that is a module and requires gradients is part of the weights and learns with the transformer; any
    other one is only asked for states.
    """

    deviation: Tensor  # [P] of clean values, measured on the training set

    def __init__(self, dit: DiT, text: TextEncoder, flow: FlowConfig) -> None:
        super().__init__()
        self.dit = dit
        self.flow = flow
        self.trains_text = isinstance(text, nn.Module) and any(p.requires_grad for p in text.parameters())
        if self.trains_text:
            self.text = text
        else:
            # Not a submodule: a pretrained encoder is neither saved with the weights nor moved or sharded with them.
            object.__setattr__(self, "text", text)
        # Beside the weights only where it is used: a model that puts out velocities has none.
        self.register_buffer("deviation", torch.ones(dit.config.patch_values), persistent=flow.prediction == "residual")
        self.text_lengths: tuple[int, ...] = ()
        """Tokens of the texts of the last batch, for counting operations."""

    def read(self, texts: Sequence[str | None], *, keep: bool = False) -> Context:
        """Encode captions, each distinct one once; None is no caption. See `DiT.read`."""
        distinct = list(dict.fromkeys(text for text in texts if text is not None))
        unread = self.text.encode([""]) if self.trains_text and not distinct else []
        states = dict(zip(distinct, self.text.encode(distinct), strict=True))
        return self.dit.read([None if text is None else states[text] for text in texts], unread=unread, keep=keep)

    def forward(self, batch: PackedBatch, context: Context | None = None) -> Tensor:
        """Velocity of every token, `[N, P]`."""
        context = context or self.read(batch.texts)
        self.text_lengths = context.lengths
        times = batch.times[batch.time_index, None]
        seen = network_input(batch.x, times, self.deviation, self.flow.prediction)
        output = self.dit(replace(batch, x=seen), context)
        return velocity(output, batch.x, times, self.deviation, self.flow.prediction)
