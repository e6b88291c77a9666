"""Which device to use."""

from __future__ import annotations

import torch


def pick_device(name: str = "auto") -> torch.device:
    """The device of a name; auto is a GPU where there is one, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
