"""How sure is a speed-up: a bootstrap interval on the ratio of paired times (scipy).

What varies is time, not the questions: every prompt of the suite is answered by both sides in every
pass, and the interval is about the speed-up on this suite. So each answer is compared with the mean
of its own prompt, and what remains is resampled, both sides of a pair together. Such remainders are
too small by sqrt((n - 1) / n), and a handful of them tells its own spread badly; both are put
right, the second with Student's t on the bootstrap's standard error (Hesterberg, "What Teachers
Should Know about the Bootstrap", 2015). Nothing is thrown away: a pass in which the machine did
something else too widens the interval, and is named.

Runs in the worker only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95

LOOKS = (2, 3, 5, 8)
"""After which passes a measurement is looked at; at the last it ends."""

LEVEL_OF_A_LOOK = 1 - 0.0182
"""What every one of four looks is held to, so that ending at any of them keeps ``LEVEL`` (Pocock,
"Group sequential methods in the design and analysis of clinical trials", 1977)."""

RESAMPLES = 2000

FAR = 5.0
"""The modified z-score of an outlier (Iglewicz & Hoaglin, 1993, advise 3.5 for larger samples: of
a handful, the median is one itself, which makes the usual distance small)."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Seconds of one prompt's answers on both sides, pass by pass.

    ``share`` is what a second of it counts in the suite.
    """

    share: float
    one: tuple[float, ...]
    other: tuple[float, ...]


def speedup(pairs: Sequence[Paired]) -> float:
    """How much faster the other side is than the one, over the suite."""
    return float(np.exp(_log_speedup(*_centres(pairs), _shares(pairs))))


def interval(pairs: Sequence[Paired], *, level: float = LEVEL) -> tuple[float, float] | None:
    """The interval of the speed-up; None before there is a second pass of any prompt."""
    freedom = sum(len(each.one) - 1 for each in pairs)
    if freedom < 1:
        return None
    one, other = _centres(pairs)
    place = np.repeat(np.arange(len(pairs)), [len(each.one) for each in pairs])
    shares = _shares(pairs)
    residuals = _residuals(pairs)
    middle = float(_log_speedup(one, other, shares))
    if all(float(np.ptp(side)) == 0 for side in residuals):
        return float(np.exp(middle)), float(np.exp(middle))
    counts = np.bincount(place)

    def resampled(ones: np.ndarray, others: np.ndarray, axis: int = -1) -> np.ndarray:
        del axis  # always the last
        sides = [
            np.add.reduceat(each, np.cumsum(counts) - counts, axis=-1) / counts
            for each in (ones, others)
        ]
        return _log_speedup(one + sides[0], other + sides[1], shares)

    found = stats.bootstrap(
        residuals,
        resampled,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    reach = float(stats.t.ppf((1 + level) / 2, freedom) * found.standard_error)
    return float(np.exp(middle - reach)), float(np.exp(middle + reach))


def outliers(pairs: Sequence[Paired]) -> tuple[tuple[int, int, float], ...]:
    """Answers that took unlike their prompt's others: (prompt, pass, times as long as usual)."""
    found: list[tuple[int, int, float]] = []
    logs = [
        np.log(np.asarray(side)) - np.median(np.log(np.asarray(side)))
        for each in pairs
        for side in (each.one, each.other)
    ]
    if not logs:
        return ()
    usual = float(np.median(np.abs(np.concatenate(logs))))
    for number, of_prompt in enumerate(logs):
        for at, off in enumerate(of_prompt):
            if usual > 0 and 0.6745 * abs(off) / usual > FAR:
                found.append((number // 2, at, float(np.exp(off))))
    return tuple(found)


def _shares(pairs: Sequence[Paired]) -> np.ndarray:
    return np.asarray([each.share for each in pairs])


def _centres(pairs: Sequence[Paired]) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the logarithms of each prompt's seconds, on both sides."""
    one = np.asarray([np.mean(np.log(each.one)) for each in pairs])
    other = np.asarray([np.mean(np.log(each.other)) for each in pairs])
    return one, other


def _residuals(pairs: Sequence[Paired]) -> tuple[np.ndarray, np.ndarray]:
    sides: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for each in pairs:
        passes = len(each.one)
        widened = np.sqrt(passes / (passes - 1)) if passes > 1 else 1.0
        for side, times in zip(sides, (each.one, each.other), strict=True):
            logs = np.log(np.asarray(times))
            side.append((logs - logs.mean()) * widened)
    return np.concatenate(sides[0]), np.concatenate(sides[1])


def _log_speedup(one: np.ndarray, other: np.ndarray, shares: np.ndarray) -> np.ndarray:
    difference: np.ndarray = np.log(np.exp(one) @ shares) - np.log(np.exp(other) @ shares)
    return difference
