"""What a section measured: rows of figures, and claims that a figure stays within a bound.

Ratios come with a 95 % interval from a bootstrap over the samples of both sides: with a hundred
samples a percentile is an estimate, and a table that hides this invites reading noise.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, TypeAlias

RESAMPLES = 300

Statistic: TypeAlias = Callable[[Sequence[float]], float]
Sense: TypeAlias = Literal["≤", "≥"]


@dataclass(frozen=True, slots=True)
class Ratio:
    """``value`` with the interval in which 95 % of its resamplings fall."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None when there is no spread to tell."""
        return None if self.low == self.high else (self.low, self.high)

    def __str__(self) -> str:
        return f"{number(self.value)}× [{number(self.low)}, {number(self.high)}]"


@dataclass(frozen=True, slots=True)
class Claim:
    """A figure to hold."""

    what: str
    value: float
    unit: str
    sense: Sense
    bound: float
    interval: tuple[float, float] | None = None

    @property
    def held(self) -> bool:
        """Whether the figure is within its bound."""
        return self.value <= self.bound if self.sense == "≤" else self.value >= self.bound

    @property
    def smoke(self) -> bool:
        """Whether it may be judged on a machine that does other things too: ratios and counts."""
        return self.unit in ("×", "")

    def far_off(self, factor: float) -> bool:
        """Whether the bound is missed by more than ``factor``."""
        if self.sense == "≤":
            return self.value > self.bound * factor
        return self.value < self.bound / factor


@dataclass(frozen=True, slots=True)
class Section:
    """One table. ``rows`` maps what was measured to its cells, in the order of ``columns``.

    ``taken`` says when, and beside what load of the machine.
    """

    title: str
    about: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | int | str | None, ...]]
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()
    raw: dict[str, list[float]] = field(default_factory=dict)
    taken: str = ""


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least ``share`` (0..1) of all do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))]


def p99(samples: Sequence[float]) -> float:
    """The 99th percentile."""
    return percentile(samples, 0.99)


def ratio(of: Sequence[float], to: Sequence[float], statistic: Statistic = median) -> Ratio:
    """``statistic(of) / statistic(to)`` with its bootstrap interval; both hold positive numbers."""
    chance = random.Random(0)
    drawn = sorted(
        statistic(chance.choices(of, k=len(of))) / statistic(chance.choices(to, k=len(to)))
        for _ in range(RESAMPLES)
    )
    return Ratio(
        statistic(of) / statistic(to),
        drawn[int(0.025 * RESAMPLES)],
        drawn[int(0.975 * RESAMPLES) - 1],
    )


def exactly(value: float) -> Ratio:
    """A ratio of two single measurements: it has no spread to tell."""
    return Ratio(value, value, value)


def at_most(what: str, found: Ratio, bound: float) -> Claim:
    """The claim that a ratio does not exceed ``bound``."""
    return Claim(what, found.value, "×", "≤", bound, found.interval)


def at_least(what: str, found: Ratio, bound: float) -> Claim:
    """The claim that a ratio reaches ``bound``."""
    return Claim(what, found.value, "×", "≥", bound, found.interval)


def number(value: float) -> str:
    """Three significant digits, and no more zeros than that."""
    size = abs(value)
    if isinstance(value, int) or size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}"
