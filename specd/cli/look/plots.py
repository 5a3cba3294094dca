"""Plots as inline SVG: no script, no request, readable in light and dark.

Series also differ in dash, so that colour is not needed. Every point has its text as a ``<title>``;
screen readers get the plot's description, and the page has the figures as a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader

from specd.cli.paint import safe

LEFT, RIGHT, TOP, BOTTOM = 62, 676, 16, 254
"""The edges of the area with the points."""

DASHES = ("none", "7 4", "2 4", "9 3 2 3", "4 4", "1 3")


def _shown(value: object) -> object:
    return safe(value) if type(value) is str else value  # not of markup, whose lines have ends


TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    finalize=_shown,
)
"""All templates escape text from files."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point; ``says`` is shown when the mouse is over it, ``mark`` always stands above it."""

    x: float
    y: float
    says: str
    interval: tuple[float, float] | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together, from left to right; ``joined`` by a line or not."""

    name: str
    points: tuple[Point, ...]
    joined: bool = True


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: its name, and how a value on it is written.

    ``zero``: it begins at 0. ``steps`` are the allowed distances between two ticks, in ascending
    order; () for decimal ones.
    """

    name: str
    spell: Callable[[float], str]
    zero: bool = False
    steps: tuple[float, ...] = ()


def plot(
    name: str,
    about: str,
    series: Sequence[Series],
    across: Axis,
    up: Axis,
    *,
    level: tuple[float, str] | None = None,
) -> str:
    """An SVG element. ``level`` is a horizontal line for comparison, and its name.

    ``name`` must be unique in the page: it identifies the element's title.
    """
    points = [point for each in series for point in each.points]
    heights = [y for p in points for y in (p.y, *(p.interval or ()))]
    if level is not None:
        heights.append(level[0])
    xs, ys = _ticks([p.x for p in points], across), _ticks(heights, up)
    return TEMPLATES.get_template("plot.svg.j2").render(
        id="".join(c if c.isalnum() else "-" for c in name.lower()),
        name=name,
        about=about,
        series=series,
        across=across,
        up=up,
        level=level,
        xs=xs,
        ys=ys,
        x=_scale(xs, LEFT, RIGHT),
        y=_scale(ys, BOTTOM, TOP),
        left=LEFT,
        right=RIGHT,
        top=TOP,
        bottom=BOTTOM,
        dashes=DASHES,
    )


def _scale(ticks: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """Where a value stands between ``start`` and ``end``, the places of the outer ticks."""
    low, high = ticks[0], ticks[-1]
    return lambda value: start + (value - low) / (high - low) * (end - start)


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
