"""Which device to use, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Literal

import torch


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name; auto is a GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def autocast(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> AbstractContextManager[Any]:
    """Half precision where it is asked for and safe, auto on GPUs; `DiT` keeps its own islands of full precision."""
    half = precision == "bf16" or (precision == "auto" and device.type == "cuda")
    return torch.autocast(device.type, torch.bfloat16, enabled=half)
