"""Letters as strokes: text that is legible at 8 pixels and smooth at 80, the same everywhere, without a font file."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

# Strokes on a grid 4 wide and 6 high, y down: polylines of digit pairs "xy", separated by blanks.
_STROKES = {
    "A": "0602204246 0444",
    "B": "06003041423303 3344453606",
    "C": "4130100105163645",
    "D": "00304145360600",
    "E": "40000646 0333",
    "F": "400006 0333",
    "G": "41301001051636454323",
    "H": "0006 4046 0343",
    "I": "2026",
    "J": "4045361605",
    "K": "0006 4003 0346",
    "L": "000646",
    "M": "0600234046",
    "N": "06004640",
    "O": "100105163645413010",
    "P": "060030414233 0333",
    "Q": "100105163645413010 2446",
    "R": "060030414233 0333 2346",
    "S": "413010010213334445361605",
    "T": "0040 2026",
    "U": "000516364540",
    "V": "002640",
    "W": "0016233640",
    "X": "0046 4006",
    "Y": "002340 2326",
    "Z": "00400646",
    "0": "100105163645413010 3115",
    "1": "112026 1636",
    "2": "01103041420646",
    "3": "01103041423323 334445361605",
    "4": "36300444",
    "5": "400003334445361605",
    "6": "4130100105163645443303",
    "7": "004016",
    "8": "103041423313020110 1304051636454433",
    "9": "0516364541301001021343",
}


def text_width(text: str) -> float:
    """Width of a line of text, in units of its height."""
    return (len(text) * 5.6 - 1.6) / 6 if text else 0.0


@lru_cache(maxsize=256)
def text_distance(text: str, height_px: float, pad_px: int) -> np.ndarray:
    """Distance in pixels of each pixel to the nearest stroke of a line of text; `[h, w]` with `pad_px` around it.

    Letters are upper case, digits and blanks; anything else is left blank.
    """
    unit = height_px / 6
    shape = (int(np.ceil(height_px)) + 2 * pad_px, int(np.ceil(text_width(text) * height_px)) + 2 * pad_px)
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5 - pad_px
    distance = np.full(shape, 1e6)
    for index, letter in enumerate(text.upper()):
        for stroke in _STROKES.get(letter, "").split():
            points = [
                ((index * 5.6 + int(stroke[i])) * unit, int(stroke[i + 1]) * unit) for i in range(0, len(stroke) - 1, 2)
            ]
            for (ax, ay), (bx, by) in pairwise(points):
                along = ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
                along = np.clip(along, 0, 1)
                np.minimum(distance, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)), out=distance)
    distance.flags.writeable = False
    return distance
