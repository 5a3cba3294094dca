"""A confidence interval of the speed-up: the ratio of paired times, in closed form (pure).

The interval is about the speed-up on this suite: every prompt is answered by both sides in every
pass, and only the times vary. Two answers given directly after one another are a pair, so a change
of the machine's speed affects both. The suite's speed-up is a function of each prompt's mean
logarithms. Its variance follows from the prompts' paired differences (delta method), with Student's
t at the degrees of freedom of Welch and Satterthwaite. No pair is discarded: a disturbed pair
widens the interval, and ``outliers`` names it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95

LOOKS = (2, 3, 5, 8)
"""The interval is evaluated after these passes; after the last one the measurement ends."""

LEVEL_OF_A_LOOK = 1 - (1 - LEVEL) / len(LOOKS)
"""The level of the interval at each look: ending at any of them keeps ``LEVEL`` (Bonferroni, which
holds however the looks depend on each other)."""

FAR = 5.0
"""The modified z-score of an outlier. Iglewicz & Hoaglin (1993) advise 3.5 for larger samples; in a
small sample the median is one of the values, which makes the typical distance small."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Seconds of one prompt's answers on both sides, pass by pass.

    ``share`` is the weight of one of its seconds in the suite.
    """

    share: float
    one: tuple[float, ...]
    other: tuple[float, ...]


def speedup(pairs: Sequence[Paired]) -> float:
    """The suite's speed-up: seconds of ``one`` over seconds of ``other``."""
    one, other = _seconds(pairs)
    return sum(one) / sum(other)


def typical(pairs: Sequence[Paired]) -> float:
    """The suite's speed-up from medians: some disturbed answers hardly move it."""
    one = [each.share * statistics.median(each.one) for each in pairs]
    other = [
        seconds / statistics.median(a / b for a, b in zip(each.one, each.other, strict=True))
        for seconds, each in zip(one, pairs, strict=True)
    ]
    return sum(one) / sum(other)


def interval(pairs: Sequence[Paired], *, level: float = LEVEL) -> tuple[float, float] | None:
    """The interval of the speed-up; None until at least one prompt has two passes."""
    one, other = _seconds(pairs)
    variance = smaller = expected = fewer = 0.0
    for each, of_one, of_other in zip(pairs, one, other, strict=True):
        passes = len(each.one)
        if passes < 2:
            continue
        # Derivatives of the suite's log speed-up by this prompt's mean logarithms.
        weights = of_one / sum(one), of_other / sum(other)
        differences = [
            weights[0] * math.log(a) - weights[1] * math.log(b)
            for a, b in zip(each.one, each.other, strict=True)
        ]
        of_prompt = statistics.variance(differences) / passes
        variance += of_prompt
        smaller += of_prompt**2 / (passes - 1)
        # A prompt with most of the weight has by chance nearly equal passes now and then. So there
        # are never more degrees of freedom than with equal noise of all prompts.
        share = weights[0] * weights[1] / passes
        expected += share
        fewer += share**2 / (passes - 1)
    if all(len(each.one) < 2 for each in pairs):
        return None
    middle = sum(one) / sum(other)
    if smaller == 0:
        return middle, middle
    freedom = min(variance**2 / smaller, expected**2 / fewer)
    reach = math.exp(students_t((1 + level) / 2, freedom) * math.sqrt(variance))
    return middle / reach, middle * reach


def students_t(share: float, freedom: float) -> float:
    """The quantile of Student's t at ``share`` (above 0.5), for one degree of freedom or more.

    Hill, "Algorithm 396: Student's t-quantiles", 1970; exact to five digits.
    """
    tails = 2 * (1 - share)
    if freedom < 2:
        # Interpolate between the exact quantiles for 1 (Cauchy) and 2 degrees, over 1 / freedom.
        cauchy = 1 / math.tan(tails * math.pi / 2)
        two = math.sqrt(2 / (tails * (2 - tails)) - 2)
        return float(two * (cauchy / two) ** (2 / freedom - 1))
    a = 1 / (freedom - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * freedom
    x = d * tails
    y = x ** (2 / freedom)
    if y > a + 0.05:
        x = statistics.NormalDist().inv_cdf(tails / 2)
        y = x * x
        if freedom < 5:
            c += 0.3 * (freedom - 4.5) * (x + 0.6)
        c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:
        y = (
            (
                1 / (((freedom + 6) / (freedom * y) - 0.089 * d - 0.822) * (freedom + 2) * 3)
                + 0.5 / (freedom + 4)
            )
            * y
            - 1
        ) * (freedom + 1) / (freedom + 2) + 1 / y
    return math.sqrt(freedom * y)


def at_least(count: int, expected: float) -> float:
    """The probability of ``count`` or more events if ``expected`` are expected (Poisson)."""
    fewer, term = 0.0, math.exp(-expected)
    for number in range(count):
        fewer += term
        term *= expected / (number + 1)
    return max(0.0, 1 - fewer)


def outliers(pairs: Sequence[Paired]) -> tuple[tuple[int, int, float], ...]:
    """Answers with unusual times: (prompt, pass, time over the prompt's median)."""
    logs = [
        [math.log(each) - statistics.median(map(math.log, side)) for each in side]
        for pair in pairs
        for side in (pair.one, pair.other)
    ]
    if not logs:
        return ()
    usual = statistics.median(abs(off) for of_prompt in logs for off in of_prompt)
    return tuple(
        (number // 2, at, math.exp(off))
        for number, of_prompt in enumerate(logs)
        for at, off in enumerate(of_prompt)
        if usual > 0 and 0.6745 * abs(off) / usual > FAR
    )


def _seconds(pairs: Sequence[Paired]) -> tuple[list[float], list[float]]:
    """Each prompt's contribution to the suite's seconds per token, on both sides."""
    one = [each.share * statistics.geometric_mean(each.one) for each in pairs]
    other = [each.share * statistics.geometric_mean(each.other) for each in pairs]
    return one, other
