"""How much arithmetic a packed batch needs: exact, from the lengths of its segments and texts.

Attention costs the sum of the squares of the lengths, not the square of the longest: padding is not work, and an idle
token is not useful. A multiply-add counts as two operations, as in `torch.utils.flop_counter`.
"""

from __future__ import annotations

from collections.abc import Sequence

from model.dit import CONDITION_FEATURES, MARK_FEATURES, DiTConfig


def batch_flops(
    config: DiTConfig, lengths: Sequence[int], text_lengths: Sequence[int], *, num_times: int | None = None
) -> float:
    """Operations of one forward pass over segments of these lengths with these texts (in tokens).

    A training step needs three times as many. `num_times` is one per segment unless pins have times of their own. The
    text encoder is not counted.
    """
    d, depth = config.width, config.depth
    tokens, texts = sum(lengths), sum(text_lengths)
    times = num_times or len(lengths)
    attention = sum(length * length for length in lengths)
    cross = sum(length * text for length, text in zip(lengths, text_lengths, strict=True))
    multiply_adds = (
        tokens * token_weights(config)
        + texts * (config.text_dim or d) * d + texts * d * d + texts * depth * 2 * d * d
        + times * (config.frequency_dim * d + d * d + 6 * d * d)
        + len(lengths) * len(config.conditions) * CONDITION_FEATURES * d
        + 2 * d * depth * (attention + cross)
    )  # fmt: skip
    return 2.0 * multiply_adds


def token_weights(config: DiTConfig) -> int:
    """Weights that each video token is multiplied by."""
    d = config.width
    block = 3 * d * d + d * d + 2 * d * d + 2 * d * config.ffn_width
    marks = 0 if config.layout == "wan" else MARK_FEATURES * d
    return config.depth * block + 2 * config.patch_values * d + marks
