"""Plots as inline SVG: no script, no request, readable in light and dark.

Colours come from the page's style sheet through classes ``s0`` … ``s5``; series also differ in
dash, so that colour is not needed. Every point carries its words as a ``<title>`` for whoever
points at it; screen readers get the plot's description, and the page has the figures as a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 44, 16, 46
SERIES = 6
DASHES = ("none", "7 4", "2 4", "9 3 2 3", "4 4", "1 3")


@dataclass(frozen=True, slots=True)
class Point:
    """One point; ``low`` and ``high`` are the ends of its interval, ``says`` its words.

    ``mark`` is what stands above it for everybody to see.
    """

    x: float
    y: float
    says: str
    low: float | None = None
    high: float | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together; ``joined`` by a line or not."""

    name: str
    points: tuple[Point, ...]
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis is called and how a value on it is spelled.

    ``zero`` begins it at nought. ``steps`` are the only distances between two ticks that look round
    (in ascending order); () for decimal ones.
    """

    name: str
    spell: Callable[[float], str]
    zero: bool = False
    steps: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def plot(
    name: str,
    about: str,
    series: Sequence[Series],
    across: Axis,
    up: Axis,
    *,
    level: tuple[float, str] | None = None,
) -> str:
    """An SVG element. ``level`` is a horizontal line worth comparing with, and what it is.

    ``name`` must be unique in the page: the element's title is found by it.
    """
    points = [point for each in series for point in each.points]
    heights = [y for p in points for y in (p.y, p.low, p.high) if y is not None]
    if level is not None:
        heights.append(level[0])
    xs, ys = _ticks([p.x for p in points], across), _ticks(heights, up)
    x = _Scale(xs[0], xs[-1], LEFT, WIDTH - RIGHT)
    y = _Scale(ys[0], ys[-1], HEIGHT - BOTTOM, TOP)
    identity = "".join(c if c.isalnum() else "-" for c in name.lower())
    labels = f"{identity}-t {identity}-d"
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{labels}">',
        f'<title id="{identity}-t">{escape(name)}</title>',
        f'<desc id="{identity}-d">{escape(about)}</desc>',
        *_grid(xs, ys, x, y, across, up),
    ]
    if level is not None:
        at = y(level[0])
        parts.append(
            f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(_label(WIDTH - RIGHT - 4, at - 5, level[1], "end"))
    for number, each in enumerate(series):
        parts += _drawn(each, number % SERIES, x, y)
    return "\n".join([*parts, "</svg>"])


def _grid(
    xs: list[float], ys: list[float], x: _Scale, y: _Scale, across: Axis, up: Axis
) -> list[str]:
    parts: list[str] = []
    for value in ys:
        at = y(value)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(_label(LEFT - 8, at + 4, up.spell(value), "end"))
    under = HEIGHT - BOTTOM + 18
    parts += [_label(x(value), under, across.spell(value), "middle") for value in xs]
    parts.append(_label((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, across.name, "middle"))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text transform="translate(14 {middle:.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(up.name)}</text>"
    )
    return parts


def _drawn(series: Series, number: int, x: _Scale, y: _Scale) -> list[str]:
    parts: list[str] = []
    ordered = sorted(series.points, key=lambda point: point.x)
    if series.joined and len(ordered) > 1:
        path = " ".join(f"{x(p.x):.1f},{y(p.y):.1f}" for p in ordered)
        parts.append(
            f'<polyline class="s{number}" points="{path}" stroke-dasharray="{DASHES[number]}"/>'
        )
    for point in ordered:
        if point.low is not None and point.high is not None:
            parts.append(
                f'<line class="s{number}" x1="{x(point.x):.1f}" x2="{x(point.x):.1f}" '
                f'y1="{y(point.low):.1f}" y2="{y(point.high):.1f}"/>'
            )
        parts.append(
            f'<circle class="s{number}" cx="{x(point.x):.1f}" cy="{y(point.y):.1f}" r="4.5">'
            f"<title>{escape(point.says)}</title></circle>"
        )
        if point.mark:
            parts.append(_label(x(point.x), y(point.y) - 10, point.mark, "middle"))
    return parts


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _ticks(values: list[float], axis: Axis) -> list[float]:
    """Five or so round values around ``values``; the first and last are the axis's ends."""
    low = 0.0 if axis.zero else min(values, default=0.0)
    high = max(values, default=1.0)
    if high <= low:
        low, high = low - (0 if axis.zero else 0.5), high + 0.5
    rough = (high - low) / 4
    size = 10 ** math.floor(math.log10(rough))
    decimal = next(size * each for each in (1, 2, 5, 10) if size * each >= rough)
    step = next((each for each in axis.steps if each >= rough), decimal)
    first = math.floor(low / step)
    count = math.ceil(high / step) - first
    return [(first + i) * step for i in range(max(1, count) + 1)]
