"""Charts as inline SVG: histograms with limits, curves below them on the same axis, lines over steps.

Colours are CSS classes, so that a chart follows the page into the dark and onto paper. All charts are 360 units wide
and are laid out in columns of about that many pixels: their text keeps its size on a phone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from pipelines.report.page import number

WIDTH = 360
_LEFT, _RIGHT = 6, 354
_LINES_LEFT = 46  # where there are labels on the vertical axis


@dataclass(frozen=True, slots=True)
class Axis:
    """Values from `low` to `high` laid along pixels; what lies outside is drawn at the edge."""

    low: float
    high: float
    log: bool = False
    start: float = _LEFT
    end: float = _RIGHT

    def share(self, value: float) -> float:
        """Where a value lies, 0 to 1."""
        low, high, value = (self._scaled(each) for each in (self.low, self.high, value))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def at(self, value: float) -> float:
        return self.start + self.share(value) * (self.end - self.start)

    def edges(self, num_bins: int) -> list[float]:
        """Limits of equal bins along the axis."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        values = [low + index * (high - low) / num_bins for index in range(num_bins + 1)]
        return [math.exp(value) for value in values] if self.log else values

    def ticks(self, most: int = 6) -> list[float]:
        """Round values along the axis."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [step * 10.0**decade for decade in decades for step in steps]
                found = [tick for tick in found if self.low <= tick <= self.high * 1.0001]
                if len(found) <= most:
                    return found
            return found[:: -(-len(found) // most)]
        rough = (self.high - self.low) / (most - 1)
        magnitude = 10 ** math.floor(math.log10(rough))
        step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _scaled(self, value: float) -> float:
        return math.log(max(value, self.low)) if self.log else value


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of a rule, and what it asks: `min` or `max`."""

    value: float
    side: str


Point = tuple[float, float]


def histogram(
    axis: Axis,
    bins: Mapping[str, Sequence[float]],
    *,
    unit: str,
    label: str,
    limits: Sequence[Limit] = (),
    curves: Mapping[str, Sequence[Point]] | None = None,
    curve_unit: str = "",
) -> Markup:
    """Stacked bars over an axis, with limits drawn through.

    `bins` maps a CSS class to one value per bin, stacked in order. `curves` maps the side of a limit to what would be
    kept at other values of it; they are drawn below on the same axis.
    """
    height = 194 if curves else 130
    top, base = 18.0, 104.0
    num_bins = len(next(iter(bins.values())))
    edges = axis.edges(num_bins)
    totals = [sum(values[index] for values in bins.values()) for index in range(num_bins)]
    tallest = max(totals) or 1
    parts = []
    for index in range(num_bins):
        left, right, y = axis.at(edges[index]), axis.at(edges[index + 1]), base
        texts = [f"{number(edges[index])} to {number(edges[index + 1])}"]
        rects = []
        for name, values in bins.items():
            tall = values[index] / tallest * (base - top - 12)
            if tall:
                tall = max(tall, 1.0)  # one clip among a million is still there to be seen
                y -= tall
                rects.append(_rect(left + 0.5, y, right - left - 1, tall, name))
                texts.append(f"{name} {number(values[index])}")
        if rects:
            parts.append(f"<g><title>{escape(f'{texts[0]}: ' + ', '.join(texts[1:]) + f' {unit}')}</title>")
            parts += [*rects, "</g>"]
    parts.append(_line(axis.start, base, axis.end, base, "axis"))
    bottom = 172.0 if curves else base
    parts += [_line(axis.at(each.value), top - 4, axis.at(each.value), bottom, "limit") for each in limits]
    if curves:
        parts += _yield_curves(axis, curves, curve_unit)
    parts += [_limit_label(axis, each, top - 7) for each in limits]
    parts += _ticks(axis, bottom)
    return _svg(height, label, parts)


def lines(
    series: Mapping[str, Sequence[Point]],
    *,
    label: str,
    classes: Mapping[str, str] | None = None,
    from_zero: bool = False,
) -> Markup:
    """Lines over training steps; `classes` maps names to CSS classes. Empty where there are no values."""
    series = {name: [point for point in points if math.isfinite(point[1])] for name, points in series.items()}
    series = {name: thinned(points) for name, points in series.items() if points}
    if not series:
        return Markup("")
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    low = min(0.0, min(ys)) if from_zero else min(ys)
    high = max(ys) if max(ys) > low else low + (abs(low) or 1.0)
    x_axis = Axis(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, start=_LINES_LEFT)
    y_axis = Axis(low, high, start=166, end=12)
    parts = []
    for tick in y_axis.ticks(5):
        parts.append(_line(x_axis.start, y_axis.at(tick), x_axis.end, y_axis.at(tick), "grid"))
        parts.append(_text(x_axis.start - 5, y_axis.at(tick) + 4, number(tick), "end"))
    for index, (name, points) in enumerate(series.items()):
        css = (classes or {}).get(name, f"s{index % 6}")
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in points)
        title = f"<title>{escape(name)}: {number(points[0][1])} to {number(points[-1][1])}</title>"
        if len(points) == 1:
            x, y = points[0]
            parts.append(f'<circle class="dot {css}" cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="3">{title}')
            parts.append("</circle>")
        else:
            parts.append(f'<polyline class="curve {css}" points="{path}">{title}</polyline>')
    parts += _ticks(x_axis, 166.0, whole=True)
    parts.append(_text(x_axis.end, 200, "step", "end"))
    return _svg(204, label, parts)


def thinned(points: Sequence[Point], most: int = 240) -> list[Point]:
    """At most so many points: means of equal runs, so that a long training does not make a long page."""
    if len(points) <= most:
        return list(points)
    bounds = [index * len(points) // most for index in range(most + 1)]
    runs = [points[start:end] for start, end in itertools.pairwise(bounds)]
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs]


def _yield_curves(axis: Axis, curves: Mapping[str, Sequence[Point]], unit: str) -> list[str]:
    top, base = 130.0, 172.0
    most = max((y for points in curves.values() for _, y in points), default=0) or 1
    parts = [_text(axis.start, top - 7, f"kept at other limits, up to {number(most)} {unit}", "start")]
    for side, points in curves.items():
        places = [(axis.at(x), base - y / most * (base - top), x, y) for x, y in points]
        if not places:
            continue
        outline = " ".join(f"{x:.1f},{y:.1f}" for x, y, *_ in places)
        area = f"{places[0][0]:.1f},{base} {outline} {places[-1][0]:.1f},{base}"
        parts.append(f'<polygon class="area" points="{area}"/><polyline class="curve yield" points="{outline}"/>')
        sign = "at least" if side == "min" else "at most"
        for x, y, value, kept in places:
            title = f"<title>{sign} {number(value)}: {number(kept)} {escape(unit)} kept</title>"
            parts.append(f'<circle class="dot yield" cx="{x:.1f}" cy="{y:.1f}" r="2">{title}</circle>')
    return [*parts, _line(axis.start, base, axis.end, base, "axis")]


def _ticks(axis: Axis, y: float, *, whole: bool = False) -> list[str]:
    parts = []
    for tick in axis.ticks():
        if whole and not float(tick).is_integer():
            continue
        x = axis.at(tick)
        anchor = "start" if x < axis.start + 12 else "end" if x > axis.end - 12 else "middle"
        parts += [_line(x, y, x, y + 4, "axis"), _text(x, y + 17, number(tick), anchor)]
    return parts


def _limit_label(axis: Axis, limit: Limit, y: float) -> str:
    x = axis.at(limit.value)
    anchor = "start" if x < WIDTH / 3 else "end" if x > WIDTH * 2 / 3 else "middle"
    return _text(x, y, f"{'≥' if limit.side == 'min' else '≤'} {number(limit.value)}", anchor, "limit")


def _svg(height: float, label: str, parts: Sequence[str]) -> Markup:
    body = "".join(parts)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'
    )


def _rect(x: float, y: float, width: float, height: float, css: str) -> str:
    return f'<rect class="{css}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line class="{css}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, css: str = "") -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
