"""Weights of diffusers' WanTransformer3DModel, read into our transformer (`layout="wan"`) and written back.

Ours keeps queries, keys and values in one matrix, pairs channels of a head for rotation as (i, i + E/2) where Wan pairs
(2i, 2i + 1), and orders the values of an output patch with the channel first. All three are permutations of rows,
so that both compute the same function.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from model.dit import DiTConfig

_TOP = {
    "patch_in": "patch_embedding",
    "time_in.0": "condition_embedder.time_embedder.linear_1",
    "time_in.2": "condition_embedder.time_embedder.linear_2",
    "time_out": "condition_embedder.time_proj",
    "text_in.0": "condition_embedder.text_embedder.linear_1",
    "text_in.2": "condition_embedder.text_embedder.linear_2",
    "patch_out": "proj_out",
}
_BLOCK = {
    "out": "attn1.to_out.0",
    "cross_norm": "norm2",
    "cross_q": "attn2.to_q",
    "cross_out": "attn2.to_out.0",
    "ffn_in": "ffn.net.0.proj",
    "ffn_out": "ffn.net.2",
}
_NORMS = {
    "q_norm": "attn1.norm_q",
    "k_norm": "attn1.norm_k",
    "cross_q_norm": "attn2.norm_q",
    "cross_k_norm": "attn2.norm_k",
}


def config_from_wan(config: Mapping[str, Any]) -> DiTConfig:
    """Our configuration for the `config.json` of a WanTransformer3DModel. Raises ValueError for what ours lacks."""
    if config.get("added_kv_proj_dim") or config.get("image_dim"):
        raise ValueError("this Wan model takes image tokens in cross-attention; only text-to-video weights can be read")
    if not config.get("cross_attn_norm") or config["in_channels"] != config["out_channels"]:
        raise ValueError("this Wan model has extra input channels or no norm before cross-attention; ours has neither")
    return DiTConfig(
        layout="wan",
        conditions=(),
        width=config["num_attention_heads"] * config["attention_head_dim"],
        heads=config["num_attention_heads"],
        depth=config["num_layers"],
        ffn_width=config["ffn_dim"],
        patch=tuple(config["patch_size"]),
        latent_channels=config["in_channels"],
        text_dim=config["text_dim"],
        frequency_dim=config["freq_dim"],
    )


def from_wan(weights: Mapping[str, Tensor], config: DiTConfig) -> dict[str, Tensor]:
    """The state of our `DiT(config)` that computes what these weights compute."""
    pair = _paired(config)
    state: dict[str, Tensor] = {
        "no_text": torch.zeros(1, config.text_dim or 0),
        "table": weights["scale_shift_table"][0],
    }
    for ours, theirs in _TOP.items():
        for part in ("weight", "bias"):
            state[f"{ours}.{part}"] = weights[f"{theirs}.{part}"]
    state["patch_in.weight"] = state["patch_in.weight"].flatten(1)
    for part in ("weight", "bias"):
        state[f"patch_out.{part}"] = state[f"patch_out.{part}"][_channel_first(config)]
    for index in range(config.depth):
        mine, yours = f"blocks.{index}", f"blocks.{index}"
        for ours, theirs in _BLOCK.items():
            for part in ("weight", "bias"):
                state[f"{mine}.{ours}.{part}"] = weights[f"{yours}.{theirs}.{part}"]
        for ours, theirs in _NORMS.items():
            state[f"{mine}.{ours}.weight"] = weights[f"{yours}.{theirs}.weight"]
        for part in ("weight", "bias"):
            q, k, v = (weights[f"{yours}.attn1.to_{name}.{part}"] for name in "qkv")
            state[f"{mine}.qkv.{part}"] = torch.cat([q[pair], k[pair], v])
            state[f"{mine}.cross_kv.{part}"] = torch.cat([weights[f"{yours}.attn2.to_{n}.{part}"] for n in "kv"])
        for norm in ("q_norm", "k_norm"):
            state[f"{mine}.{norm}.weight"] = state[f"{mine}.{norm}.weight"][pair]
        state[f"{mine}.table"] = weights[f"{yours}.scale_shift_table"][0]
    return state


def to_wan(state: Mapping[str, Tensor], config: DiTConfig) -> dict[str, Tensor]:
    """The inverse of `from_wan`: keys and shapes of WanTransformer3DModel."""
    unpair = _paired(config).argsort()
    weights = {"scale_shift_table": state["table"][None]}
    for ours, theirs in _TOP.items():
        for part in ("weight", "bias"):
            weights[f"{theirs}.{part}"] = state[f"{ours}.{part}"]
    weights["patch_embedding.weight"] = state["patch_in.weight"].unflatten(
        1, (config.latent_channels or 0, *config.patch)
    )
    for part in ("weight", "bias"):
        weights[f"proj_out.{part}"] = state[f"patch_out.{part}"][_channel_first(config).argsort()]
    for index in range(config.depth):
        block = f"blocks.{index}"
        for ours, theirs in _BLOCK.items():
            for part in ("weight", "bias"):
                weights[f"{block}.{theirs}.{part}"] = state[f"{block}.{ours}.{part}"]
        for ours, theirs in _NORMS.items():
            weights[f"{block}.{theirs}.weight"] = state[f"{block}.{ours}.weight"]
        for part in ("weight", "bias"):
            q, k, v = state[f"{block}.qkv.{part}"].chunk(3)
            for name, rows in {"q": q[unpair], "k": k[unpair], "v": v}.items():
                weights[f"{block}.attn1.to_{name}.{part}"] = rows
            for name, rows in zip("kv", state[f"{block}.cross_kv.{part}"].chunk(2), strict=True):
                weights[f"{block}.attn2.to_{name}.{part}"] = rows
        for norm in ("norm_q", "norm_k"):
            weights[f"{block}.attn1.{norm}.weight"] = weights[f"{block}.attn1.{norm}.weight"][unpair]
        weights[f"{block}.scale_shift_table"] = state[f"{block}.table"][None]
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _paired(config: DiTConfig) -> Tensor:
    """Rows of Wan's queries in our order: within each head the even channels, then the odd ones."""
    head_dim = config.width // config.heads
    within = torch.cat([torch.arange(0, head_dim, 2), torch.arange(1, head_dim, 2)])
    return (torch.arange(config.heads)[:, None] * head_dim + within).flatten()


def _channel_first(config: DiTConfig) -> Tensor:
    """Rows of Wan's output (frame, row, column, channel) in our order (channel, frame, row, column)."""
    positions = torch.arange(config.patch_values).reshape(*config.patch, -1)
    return positions.permute(3, 0, 1, 2).flatten()
