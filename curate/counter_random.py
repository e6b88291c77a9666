"""Random numbers by counter: what is drawn depends on what it is for, not on who draws it, or when.

uniform(seed, "caption", epoch, clip_id)        the same number for one worker or sixty-four, before and after a resume
generator(seed, "noise", epoch, clip_id)        a NumPy generator of its own
"""

from __future__ import annotations

import hashlib
from typing import TypeAlias

import numpy as np

Key: TypeAlias = str | int


def _bits(seed: int, key: tuple[Key, ...]) -> int:
    # The type is part of the key: 1 and "1" are different purposes. Lengths keep ("ab", "c") apart from ("a", "bc").
    parts = [f"{type(part).__name__[0]}{len(str(part))}:{part}" for part in (seed, *key)]
    return int.from_bytes(hashlib.sha256("|".join(parts).encode()).digest()[:16], "little")


def uniform(seed: int, *key: Key) -> float:
    """A number in [0, 1) that depends on the seed and the key alone."""
    return (_bits(seed, key) >> 75) / 2**53


def generator(seed: int, *key: Key) -> np.random.Generator:
    """A NumPy generator that depends on the seed and the key alone (Philox, a counter-based generator)."""
    return np.random.Generator(np.random.Philox(key=_bits(seed, key)))
