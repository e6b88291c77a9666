"""Evidence for shot transitions: geometry of thumbnails in time, from which `curate.shots` decides.

A film is a path through the space of pictures. A cut is a step that stays; a flash is a step that returns; a dissolve
is a straight line between two places; a wipe goes there pixel by pixel; a pan wanders. All evidence measures that path,
with lengths in seconds, so that it means the same at 12 and at 120 frames per second.

Everything here is a function of arrays: `luma` uint8 `[N, h, w]`, `colour` uint8 `[N, 3, h', w']` (luma and both
chroma). A difference of two pictures is the mean over pixels of the absolute difference, summed over the three planes.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

SCALES_S = (0.1, 0.2, 0.4, 0.8)
"""Half lengths over which gradual transitions are looked for."""

RETURN_S = 0.17
"""A step that returns within this time is a flash."""

REACH_S = 2 * SCALES_S[-1] + 0.1
"""How far, in time, the evidence of a frame looks to either side."""

FAINT_JUMP, FAINT_CHANGE = 1.5, 4.0
"""Differences below these are no candidates for anything, and what else is known about them is left out (null)."""

STEP = {
    "relief": "Standard deviation of brightness inside black bars, 0 to 127; 0 in a black frame.",
    "step": "Difference to the frame before.",
    "jump": "The part of it that movement by 3 % of the picture cannot explain.",
    "kept": "Share of the structure of the frame before that is still there.",
    "slide_x": "How far the whole picture moved to the right since the frame before, in widths; 0 if it did not.",
    "slide_y": "How far it moved down, in heights.",
    "returns": "Smallest difference between the frame before and those that follow within 0.17 s.",
    "was_before": "Smallest difference between this frame and those in the 0.17 s before the frame before.",
}
GRADUAL = {
    "apart": "Difference between the pictures {ms} ms before and after that a change of light cannot explain.",
    "drift": "Difference of these to the pictures {ms} ms further away: how much each side moves.",
    "blend": "Share of the difference that no mixture of the two explains; near 0 in a dissolve.",
    "share": "Share of the later picture in the best mixture.",
    "pieces": "Share of the difference that no patchwork of the two explains; near 0 in a wipe.",
    "order": "How well lines and circles that move over the picture explain when each part of it changes; 1 in a wipe.",
    "pushed": "Share of the difference that is left when one picture pushes the other out; null where nothing wipes.",
    "extent": "Share of the picture that the difference is spread over.",
    "kept": "Share of the structure of the two pictures that both have.",
}


def gradual_column(name: str, scale_s: float) -> str:
    """The column of a name of `GRADUAL` at a scale: apart_400 for 0.4 s."""
    return f"{name}_{round(1000 * scale_s)}"


EVIDENCE = STEP | {
    gradual_column(name, scale_s): doc.format(ms=round(1000 * scale_s))
    for scale_s in SCALES_S
    for name, doc in GRADUAL.items()
}
"""All columns, a sentence each."""

_LUMA_TOLERANCE, _CHROMA_TOLERANCE = 2, 1  # pixels of movement that count as none, on each side
_BAR_LUMA = 30  # a row or column with no pixel above this is black
_NOISE = 1.0  # differences below that are compression
_GAIN = (0.4, 2.5)  # changes of light that a camera or lamp makes within one shot
_BLOCK = (6, 8)  # rows and columns of the thumbnail over which structure is compared
_FAINT, _STRONG = 2.0, 20.0  # standard deviation up to which a block has no structure, and from which it counts in full
_UNLIKE, _ALIKE = 0.6, 0.9  # correlation of a block up to which it is another one, and from which it is the same
_SLIDE_GAIN = 0.6  # how much better than standing still a shift must fit
_MOSTLY_KEPT = 0.5  # of the structure: beyond that nothing is a wipe
_CACHED_PICTURES = 32  # as many as stay in the cache while they are compared
_PATH = (-0.6, -0.3, 0.0, 0.3, 0.6)  # where the order of a wipe is looked for, in scales
_WIPE_FULL, _WIPE_NOISE = 60, 6  # change of a pixel that counts in full, and that counts for little
_ORDERLY, _HARDLY_KEPT = 0.3, 0.15  # what wipes as a push does, and leaves little of the picture
_SAME_TIME = 0.01  # variance of the times of change, -1 to 1, up to which there is no order


class _Pictures(NamedTuple):
    """Thumbnails in the forms in which they are compared. The first axis is time."""

    flat: np.ndarray  # uint8 [N, 3 P], three planes of P pixels
    centred: np.ndarray  # float32 [N, 3, P], without the mean of each plane
    power: np.ndarray  # [N, 3], sum of squares of that
    blocks: (
        np.ndarray
    )  # float32 [N, B, pixels], luma in blocks without their means: structure, which light leaves alone
    spread: np.ndarray  # [N, B], standard deviation of each block
    inside: np.ndarray  # bool [N, B], blocks that lie between black bars: the edge of a bar is no structure
    shapes: np.ndarray  # float32 [P, 6 + 21], from which lines and circles are made: 1, x, y, x², xy, y², and products

    @staticmethod
    def of(luma: np.ndarray, colour: np.ndarray) -> _Pictures:
        flat = colour.reshape(len(colour), -1)
        centred = flat.reshape(len(flat), 3, -1).astype(np.float32)
        centred -= centred.mean(2, keepdims=True)
        count, height, width = luma.shape
        rows, columns = min(_BLOCK[0], height), min(_BLOCK[1], width)
        down, across = height // rows, width // columns
        blocks = luma[:, : down * rows, : across * columns].reshape(count, down, rows, across, columns)
        blocks = blocks.transpose(0, 1, 3, 2, 4).reshape(count, down * across, -1).astype(np.float32)
        blocks -= blocks.mean(2, keepdims=True)
        lit_rows = _between_bars(luma.max(2))[:, : down * rows].reshape(count, down, 1, rows).all(3)
        lit_columns = _between_bars(luma.max(1))[:, : across * columns].reshape(count, 1, across, columns).all(3)
        return _Pictures(
            flat,
            centred,
            np.einsum("npi,npi->np", centred, centred),
            blocks,
            np.sqrt(np.einsum("nbp,nbp->nb", blocks, blocks) / blocks.shape[2]),
            np.logical_and(lit_rows, lit_columns).reshape(count, -1),
            _shapes(*colour.shape[2:]),
        )


def evidence(
    seconds: np.ndarray, luma: np.ndarray, colour: np.ndarray, rows: slice, is_start: bool
) -> dict[str, np.ndarray]:
    """The columns of `EVIDENCE` for the frames `rows`; the others are context.

    `is_start` tells that the first frame given is the first of the video; there, what looks back is NaN.
    """
    index = np.arange(len(seconds))[rows]
    pictures = _Pictures.of(luma, colour)
    columns = {"relief": _relief(luma[rows]), **_step(luma, colour, pictures, seconds, index)}
    if is_start and len(index) and index[0] == 0:
        for name in STEP.keys() - {"relief"}:
            columns[name][0] = np.nan
    for scale_s in SCALES_S:
        columns |= _gradual(colour[:, 0], pictures, seconds, index, scale_s)
    return columns


def at(seconds: np.ndarray, when_s: np.ndarray) -> np.ndarray:
    """Index of the frame nearest to each time; the first or last frame for times outside."""
    right = np.clip(np.searchsorted(seconds, when_s), 1, max(1, len(seconds) - 1))
    left = right - 1
    right = np.minimum(right, len(seconds) - 1)
    return np.where(when_s - seconds[left] <= seconds[right] - when_s, left, right)


def _relief(luma: np.ndarray) -> np.ndarray:
    inside = _between_bars(luma.max(2))[:, :, None] & _between_bars(luma.max(1))[:, None, :]
    values = np.where(inside, luma, 0).astype(np.float32).reshape(len(luma), -1)
    count = inside.reshape(len(luma), -1).sum(1) + 1e-6
    mean = values.sum(1) / count
    variance = np.einsum("np,np->n", values, values) / count - mean * mean
    return np.asarray(np.sqrt(np.maximum(variance, 0)) * (255 / 219), np.float32)


def _between_bars(brightest: np.ndarray) -> np.ndarray:
    """Which rows or columns `[N, n]` lie between the bars, without the outermost, which a bar may darken."""
    lit = brightest > _BAR_LUMA
    between = np.logical_or.accumulate(lit, 1) & np.logical_or.accumulate(lit[:, ::-1], 1)[:, ::-1]
    inner = between.copy()
    inner[:, 1:] &= between[:, :-1]
    inner[:, :-1] &= between[:, 1:]
    return inner


def _step(
    luma: np.ndarray, colour: np.ndarray, pictures: _Pictures, seconds: np.ndarray, index: np.ndarray
) -> dict[str, np.ndarray]:
    """What happens from each frame to the next."""
    before = np.maximum(index - 1, 0)
    jump = _unexplained(luma, index, before, _LUMA_TOLERANCE)
    for plane in (1, 2):
        jump += _unexplained(colour[:, plane], index, before, _CHROMA_TOLERANCE)
    columns = {"step": _difference(pictures.flat[before], pictures.flat[index]), "jump": jump}
    columns |= {name: _nothing(index) for name in ("kept", "slide_x", "slide_y", "returns", "was_before")}
    some = jump >= FAINT_JUMP
    a, b = before[some], index[some]
    # Five frames on each side, evenly within the time of a flash, and the next one whatever the frame rate.
    last = len(seconds) - 1
    ahead = [RETURN_S * k / 5 for k in range(1, 6)]
    later = [np.clip(at(seconds, seconds[b] + wait_s), np.minimum(b + 1, last), last) for wait_s in ahead]
    earlier = [np.clip(at(seconds, seconds[a] - wait_s), 0, np.maximum(a - 1, 0)) for wait_s in ahead]
    columns["kept"][some] = _kept(pictures, a, b)
    columns["slide_x"][some], columns["slide_y"][some] = _slide(luma, a, b)
    columns["returns"][some] = _nearest(pictures.flat, a, later)
    columns["was_before"][some] = _nearest(pictures.flat, b, earlier)
    return columns


def _gradual(
    luma: np.ndarray, pictures: _Pictures, seconds: np.ndarray, index: np.ndarray, scale_s: float
) -> dict[str, np.ndarray]:
    """What happens between the pictures `scale_s` before and after each frame."""
    flat = pictures.flat
    columns = {name: _nothing(index) for name in GRADUAL}
    last = len(seconds) - 1
    # At low frame rates a scale may be less than a frame: then it is one.
    a = np.clip(at(seconds, seconds[index] - scale_s), 0, np.maximum(index - 1, 0))
    b = np.clip(at(seconds, seconds[index] + scale_s), np.minimum(index + 1, last), last)
    change = _difference(flat[a], flat[b])
    columns["apart"][:] = change
    some = np.flatnonzero(change >= FAINT_CHANGE)
    a, b, m, change = a[some], b[some], index[some], change[some]
    a_before = np.clip(at(seconds, seconds[m] - 2 * scale_s), 0, np.maximum(a - 1, 0))
    b_after = np.clip(at(seconds, seconds[m] + 2 * scale_s), np.minimum(b + 1, last), last)
    length, share, unmixed = _mixture(flat, a, b, m)
    pieces = _sums(np.minimum(_apart(flat[m], flat[a]), _apart(flat[m], flat[b]))) / (change + _NOISE)
    columns["apart"][some] = np.minimum(change, _beyond_light(pictures, a, b))
    columns["drift"][some] = 0.5 * (_difference(flat[a_before], flat[a]) + _difference(flat[b], flat[b_after]))
    columns["blend"][some] = unmixed / (change + _NOISE)
    columns["share"][some] = np.clip(share, -1, 2)
    columns["pieces"][some] = pieces
    columns["extent"][some] = change * change / (9 * length / flat.shape[1] + 1e-6)  # participation ratio
    columns["kept"][some] = kept = _kept(pictures, a, b)
    other = kept < _MOSTLY_KEPT
    a, b, m = a[other], b[other], m[other]
    path = [np.clip(at(seconds, seconds[m] + part * scale_s), a, b) for part in _PATH]
    order = _order(flat, pictures.shapes, a, b, path)
    columns["order"][some[other]] = order
    wipes = (order > _ORDERLY) & (kept[other] < _HARDLY_KEPT)
    columns["pushed"][some[other][wipes]] = _pushed(luma, a[wipes], b[wipes], m[wipes])
    return {gradual_column(name, scale_s): values for name, values in columns.items()}


def _nothing(index: np.ndarray) -> np.ndarray:
    return np.full(len(index), np.nan, np.float32)


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _sums(_apart(a, b))


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return cv2.absdiff(a, b) if len(a) else a  # OpenCV knows no empty arrays


def _sums(differences: np.ndarray) -> np.ndarray:
    """Means over pixels, summed over planes, of uint8 `[N, 3 P]`."""
    if not len(differences):
        return np.zeros(0)
    return np.asarray(cv2.reduce(differences, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S)[:, 0] * (3 / differences.shape[1]))


def _mixture(flat: np.ndarray, a: np.ndarray, b: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of the pictures m as mixtures of a and b: squared length from a to b, share of b, and what is no mixture."""
    length, share, unmixed = (np.zeros(len(m), np.float32) for _ in range(3))
    for start in range(0, len(m), _CACHED_PICTURES):
        rows = slice(start, start + _CACHED_PICTURES)
        first = flat[a[rows]].astype(np.float32)
        way, from_a = flat[b[rows]] - first, flat[m[rows]] - first
        length[rows] = np.einsum("ij,ij->i", way, way)
        share[rows] = np.einsum("ij,ij->i", from_a, way) / (length[rows] + 1e-3)
        from_a -= share[rows, None] * way
        unmixed[rows] = np.abs(from_a, out=from_a).sum(1) * (3 / flat.shape[1])
    return length, share, unmixed


def _nearest(flat: np.ndarray, index: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    return np.asarray(np.min([_difference(flat[index], flat[other]) for other in others], axis=0))


def _beyond_light(pictures: _Pictures, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Difference that is left when the first picture is made brighter, darker or more colourful to match the second."""
    shared = np.einsum("npi,npi->np", pictures.centred[a], pictures.centred[b])
    gain = np.clip(shared / (pictures.power[a] + 1e-3), *_GAIN)
    left = np.abs(pictures.centred[b] - gain[:, :, None] * pictures.centred[a])
    return np.asarray(left.sum((1, 2)) / left.shape[2])


def _kept(pictures: _Pictures, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Share of the blocks that look alike in both pictures, those with more structure counting more."""
    shared = np.einsum("nbp,nbp->nb", pictures.blocks[a], pictures.blocks[b]) / pictures.blocks.shape[2]
    spread_a, spread_b = pictures.spread[a], pictures.spread[b]
    correlation = shared / (spread_a * spread_b + _FAINT**2)
    alike = np.clip((correlation - _UNLIKE) / (_ALIKE - _UNLIKE), 0, 1)
    weight = np.clip(np.maximum(spread_a, spread_b) - _FAINT, 0, _STRONG - _FAINT)
    weight *= pictures.inside[a] | pictures.inside[b]
    return np.asarray((weight * alike).sum(1) / (weight.sum(1) + 1.0))


def _slide(luma: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far the whole picture moved, as shares of width and height; 0 where no shift explains the change."""
    height, width = luma.shape[1:]
    right = _best_shift(luma.mean(1, dtype=np.float32), a, b)
    down = _best_shift(luma.mean(2, dtype=np.float32), a, b)
    moved = np.flatnonzero((right != 0) | (down != 0))
    # Profiles alone are easily fooled: the pictures themselves must fit, where they overlap.
    y, x = np.arange(height)[None, :, None], np.arange(width)[None, None, :]
    from_y, from_x = y - down[moved, None, None], x - right[moved, None, None]
    overlap = (from_y >= 0) & (from_y < height) & (from_x >= 0) & (from_x < width)
    now, before = luma[b[moved]].astype(np.float32), luma[a[moved]].astype(np.float32)
    rows = np.arange(len(moved))[:, None, None]
    shifted = before[rows, np.clip(from_y, 0, height - 1), np.clip(from_x, 0, width - 1)]
    area = overlap.sum((1, 2))
    apart = (np.abs(now - shifted) * overlap).sum((1, 2)) / area
    still = (np.abs(now - before) * overlap).sum((1, 2)) / area
    fooled = moved[apart > _SLIDE_GAIN * still]
    right[fooled] = down[fooled] = 0
    return right / width, down / height


def _best_shift(profiles: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pixels by which the profiles `[N, n]` of two pictures match best, if much better than unmoved."""
    before, now = profiles[a], profiles[b]
    best, shift = np.abs(now - before).mean(1) * _SLIDE_GAIN, np.zeros(len(a), np.int64)
    for pixels in range(1, profiles.shape[1] * 3 // 8 + 1):
        for way in (pixels, -pixels):
            x, y = (now[:, way:], before[:, :-way]) if way > 0 else (now[:, :way], before[:, -way:])
            apart = np.abs(x - y).mean(1)
            better = apart < best
            best[better], shift[better] = apart[better], way
    return shift


def _shapes(height: int, width: int) -> np.ndarray:
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    shapes = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1)
    rows, columns = np.triu_indices(6)
    return np.vstack([shapes, shapes[rows] * shapes[columns]]).T.astype(np.float32)


def _order(flat: np.ndarray, shapes: np.ndarray, a: np.ndarray, b: np.ndarray, path: list[np.ndarray]) -> np.ndarray:
    """How much of the variance of the times at which pixels change from a to b a surface of second degree explains."""
    pixels = len(shapes)
    rows, columns = np.triu_indices(6)
    result = np.empty(len(a), np.float32)

    def apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:  # by pixel, summed over the planes
        planes = _apart(flat[x], flat[y])
        return cv2.add(cv2.add(planes[:, :pixels], planes[:, pixels : 2 * pixels]), planes[:, 2 * pixels :])

    for start in range(0, len(a), _CACHED_PICTURES):
        part = slice(start, start + _CACHED_PICTURES)
        weight = np.minimum(apart(a[part], b[part]), _WIPE_FULL).astype(np.float32)
        weight /= weight.sum(1, keepdims=True) + 1e-3
        time = np.zeros_like(weight)  # -1 where a pixel is as in a all the way, 1 where it is as in b
        for m in path:
            to_a, to_b = apart(m[part], a[part]), apart(m[part], b[part])
            time += cv2.subtract(to_a, to_b, dtype=cv2.CV_32F) / (cv2.add(to_a, to_b, dtype=cv2.CV_32F) + _WIPE_NOISE)
        time /= len(path)
        weighted = weight * time
        # One frame at a time: with more, sums would depend on how many there are.
        sums = np.matmul(np.stack([weight, weighted], 1), shapes)
        moments = np.empty((len(weight), 6, 6), np.float32)
        moments[:, rows, columns] = moments[:, columns, rows] = sums[:, 0, 6:]
        moments += 1e-3 * np.eye(6, dtype=np.float32)
        along = sums[:, 1, :6]
        mean = along[:, 0]
        variance = np.einsum("np,np->n", weighted, time) - mean * mean
        fitted = np.linalg.solve(moments, along[:, :, None])[:, :, 0]
        explained = np.einsum("nk,nk->n", fitted, along) - mean * mean
        result[part] = np.clip(explained / (variance + _SAME_TIME), 0, 1)
    return result


def _pushed(luma: np.ndarray, a: np.ndarray, b: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Difference of the pictures m to the best push from a to b, as a share of that from a to b; infinite if tiny."""
    height, width = luma.shape[1:]
    left = np.full(len(m), np.inf, np.float32)
    for start in range(0, len(m), _CACHED_PICTURES):
        part = slice(start, start + _CACHED_PICTURES)
        old, new, now = (luma[i[part]].astype(np.float32) for i in (a, b, m))
        for axis, size in ((2, width), (1, height)):
            if size < 2:
                continue
            line = now.mean(3 - axis)
            for first, second in ((old, new), (new, old)):
                strip = np.concatenate([first, second], axis)
                lines = np.lib.stride_tricks.sliding_window_view(strip.mean(3 - axis), size, 1)
                apart = np.abs(lines[:, 1:size] - line[:, None]).mean(2)
                places = 1 + apart.argmin(1, keepdims=True) + np.arange(size)
                seen = np.take_along_axis(strip, np.expand_dims(places, 3 - axis), axis)
                left[part] = np.minimum(left[part], np.abs(seen - now).mean((1, 2)))
        left[part] /= np.abs(new - old).mean((1, 2)) + _NOISE
    return left


def _unexplained(planes: np.ndarray, index: np.ndarray, before: np.ndarray, tolerance: int) -> np.ndarray:
    """How far values lie outside those of their neighbourhood in the other frame, mean of both directions of time."""
    high, low = _around(planes, np.maximum, tolerance), _around(planes, np.minimum, tolerance)
    total = np.zeros(len(index), np.float32)
    for x, y in ((index, before), (before, index)):
        now, top, bottom = (part.reshape(len(index), -1) for part in (planes[x], high[y], low[y]))
        total += _sums(cv2.add(cv2.subtract(now, top), cv2.subtract(bottom, now)))  # they saturate at zero
    return total / 6


def _around(planes: np.ndarray, extreme: np.ufunc, tolerance: int) -> np.ndarray:
    """The largest or smallest value within `tolerance` pixels; the border is repeated."""
    for axis in (1, 2):
        padding = [(0, 0)] * 3
        padding[axis] = (tolerance, tolerance)
        padded = np.moveaxis(np.pad(planes, padding, mode="edge"), axis, 0)
        size = planes.shape[axis]
        result = padded[:size]
        for shift in range(1, 2 * tolerance + 1):
            result = extreme(result, padded[shift : shift + size])
        planes = np.moveaxis(result, 0, axis)
    return planes
