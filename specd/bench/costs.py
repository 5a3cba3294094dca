"""Step costs in seconds: measured at a short and a long context, interpolated between (pure).

The main's pass over several tokens is measured for a few token counts, and interpolated too.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of ``samples`` measurements, and the quartiles around it."""

    median: float
    low: float
    high: float
    samples: int


def spread(samples: Sequence[float]) -> Spread:
    """The spread of one or more measurements."""
    ordered = sorted(samples)
    return Spread(
        _quantile(ordered, 0.5), _quantile(ordered, 0.25), _quantile(ordered, 0.75), len(ordered)
    )


def _quantile(ordered: Sequence[float], share: float) -> float:
    at = share * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


@dataclass(frozen=True, slots=True)
class Steps:
    """Steps after ``context`` tokens.

    ``plain``: one token of the main alone. ``main[k]``: one pass of the main over k tokens, which
    verifies k - 1 drafted tokens. ``draft``: one token of the draft. ``catch_up``: the extra cost
    of the first drafted token when the draft has two tokens to process. The prefills are of
    ``context`` tokens.
    """

    context: int
    plain: Spread
    main: Mapping[int, Spread]
    draft: Spread
    catch_up: Spread
    main_prefill: Spread
    draft_prefill: Spread

    def checking(self, tokens: int) -> float:
        """One pass of the main over ``tokens`` tokens."""
        known = sorted(self.main)
        right = bisect_left(known, tokens)
        if right == len(known):
            return self.main[known[-1]].median * tokens / known[-1]
        if right == 0 or known[right] == tokens:
            return self.main[known[right]].median
        low, high = known[right - 1], known[right]
        return _between(tokens, low, self.main[low].median, high, self.main[high].median)


@dataclass(frozen=True, slots=True)
class Costs:
    """Step costs at a short and at a long context; other contexts by linear interpolation."""

    short: Steps
    long: Steps

    def plain(self, context: float) -> float:
        """One token of the main alone."""
        return self._at(context, self.short.plain.median, self.long.plain.median)

    def checking(self, tokens: int, context: float) -> float:
        """One pass of the main over ``tokens`` tokens."""
        return self._at(context, self.short.checking(tokens), self.long.checking(tokens))

    def draft(self, context: float) -> float:
        """One drafted token."""
        return self._at(context, self.short.draft.median, self.long.draft.median)

    def catch_up(self, context: float) -> float:
        """The extra cost of the first drafted token after a round that was wholly accepted."""
        return self._at(context, self.short.catch_up.median, self.long.catch_up.median)

    def prefill(self, tokens: int, *, draft: bool) -> float:
        """Prompt processing by the main; with ``draft``, by the draft as well."""
        main = self._at(tokens, self.short.main_prefill.median, self.long.main_prefill.median)
        if not draft:
            return main
        return main + self._at(
            tokens, self.short.draft_prefill.median, self.long.draft_prefill.median
        )

    def _at(self, context: float, short: float, long: float) -> float:
        found = _between(context, self.short.context, short, self.long.context, long)
        # A line through two noisy points may become negative far outside them.
        return max(found, min(short, long) * 0.1)


def _between(at: float, low: float, at_low: float, high: float, at_high: float) -> float:
    if high == low:
        return (at_low + at_high) / 2
    return at_low + (at - low) / (high - low) * (at_high - at_low)


def at_least(costs: Costs, longest: int) -> Costs:
    """Lower bounds: a pass of up to ``longest`` tokens costs as much as the measured one below."""
    return Costs(_at_least(costs.short, longest), _at_least(costs.long, longest))


def _at_least(steps: Steps, longest: int) -> Steps:
    main = {
        count: steps.main[max(known for known in steps.main if known <= count)]
        for count in range(1, longest + 1)
    }
    return replace(steps, main=main)


def to_json(costs: Costs) -> dict[str, Any]:
    """``{"short": {"context", "plain": {"median", …}, "main": {"1": {…}, …}, …}, "long": {…}}``."""
    found = asdict(costs)
    for steps in found.values():
        steps["main"] = {str(count): each for count, each in steps["main"].items()}
    return found


def from_json(record: Mapping[str, Any]) -> Costs | None:
    """The costs that ``to_json`` wrote; None if ``record`` is something else."""
    try:
        return msgspec.convert(record, Costs, strict=False)
    except msgspec.ValidationError:
        return None
