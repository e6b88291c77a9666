"""Writing captions token by token: open_clip's text blocks with a cache of keys and values.

open_clip computes the whole text anew for every token. Here a step costs one token: the same weights, the same result.
Letters: `B` texts, `L` new tokens, `M` video tokens, `D` width, `V` vocabulary.
"""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from open_clip.transformer import MultimodalTransformer, ResidualAttentionBlock, TextTransformer
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer


def num_cache_layers(text: TextTransformer, decoder: MultimodalTransformer) -> int:
    """Layers of the cache: self-attention of both towers, then the decoder's attention to the video."""
    return len(text.transformer.resblocks) + 2 * len(decoder.resblocks)


def next_logits(
    text: TextTransformer, decoder: MultimodalTransformer, input_ids: Tensor, video_tokens: Tensor, cache: Cache
) -> Tensor:
    """Logits `[B, L, V]` after each of the new tokens `[B, L]`, given the cached ones and the video `[B, M, D]`."""
    past = cache.get_seq_length()
    if past and input_ids.shape[1] > 1:
        raise ValueError("one token at a time once the cache is filled")
    positions = text.positional_embedding[past : past + input_ids.shape[1]]
    x = text.token_embedding(input_ids) + positions  # [B L D]
    layer = 0
    for block in text.transformer.resblocks:
        x = _attend_to_past(block, x, cache, layer)
        layer += 1
    cross_layer = layer + len(decoder.resblocks)
    for block, cross_block in zip(decoder.resblocks, decoder.cross_attn, strict=True):
        x = _attend_to_past(block, x, cache, layer)
        x = _attend_to_video(cross_block, x, video_tokens, cache, cross_layer, first=past == 0)
        layer, cross_layer = layer + 1, cross_layer + 1
    return decoder.ln_final(x) @ decoder.text_projection


def _attend_to_past(block: ResidualAttentionBlock, x: Tensor, cache: Cache, layer: int) -> Tensor:
    attention = block.attn
    packed = F.linear(block.ln_1(x), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (_heads(part, attention) for part in packed.chunk(3, dim=-1))
    key, value = cache.update(key, value, layer)
    return _finish(block, x, query, key, value, is_causal=x.shape[1] > 1)


def _attend_to_video(
    block: ResidualAttentionBlock, x: Tensor, video_tokens: Tensor, cache: Cache, layer: int, *, first: bool
) -> Tensor:
    attention = block.attn
    width = attention.embed_dim
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = _heads(F.linear(block.ln_1(x), weight[:width], bias[:width]), attention)
    if first:  # the video does not change: its keys and values are computed once
        packed = F.linear(block.ln_1_kv(video_tokens), weight[width:], bias[width:])
        key, value = (_heads(part, attention) for part in packed.chunk(2, dim=-1))
        cache.update(key, value, layer)
    else:
        stored = cast(DynamicLayer, cache.layers[layer])
        key, value = cast(Tensor, stored.keys), cast(Tensor, stored.values)
    return _finish(block, x, query, key, value, is_causal=False)


def _finish(
    block: ResidualAttentionBlock, x: Tensor, query: Tensor, key: Tensor, value: Tensor, *, is_causal: bool
) -> Tensor:
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=is_causal)
    mixed = mixed.transpose(1, 2).flatten(2)  # [B L D]
    x = x + block.ls_1(block.attn.out_proj(mixed))
    return x + block.ls_2(block.mlp(block.ln_2(x)))


def _heads(x: Tensor, attention: nn.MultiheadAttention) -> Tensor:
    """`[B, L, D]` to `[B, heads, L, D / heads]`."""
    return x.unflatten(-1, (attention.num_heads, attention.head_dim)).transpose(1, 2)
