"""Step costs in seconds: measured at a short and a long context, interpolated between (pure).

The verify cost is measured for a few token counts, and interpolated between them too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Steps:
    """Seconds of steps after ``context`` tokens, each the median of several measurements.

    ``plain``: one token of the main alone. ``main[k]``: one pass of the main over k tokens, which
    verifies k - 1 drafted tokens. ``draft``: one token of the draft. ``catch_up``: the extra cost
    of the first drafted token when the draft has two tokens to process. The prefills are of
    ``context`` tokens.
    """

    context: int
    plain: float
    main: Mapping[int, float]
    draft: float
    catch_up: float
    main_prefill: float
    draft_prefill: float

    def verify_cost(self, tokens: int) -> float:
        """One pass of the main over ``tokens`` tokens, in seconds."""
        known = sorted(self.main)
        right = bisect_left(known, tokens)
        if right == len(known):
            return self.main[known[-1]] * tokens / known[-1]
        if right == 0 or known[right] == tokens:
            return self.main[known[right]]
        low, high = known[right - 1], known[right]
        return _between(tokens, low, self.main[low], high, self.main[high])


@dataclass(frozen=True, slots=True)
class Costs:
    """Step costs at a short and at a long context; other contexts by linear interpolation."""

    short: Steps
    long: Steps

    def at(self, context: float) -> Steps:
        """The steps after ``context`` tokens."""

        def between(short: float, long: float) -> float:
            found = _between(context, self.short.context, short, self.long.context, long)
            # A line through two noisy points may become negative far outside them.
            return max(found, min(short, long) * 0.1)

        short, long = self.short, self.long
        return Steps(
            context=round(context),
            plain=between(short.plain, long.plain),
            main={n: between(cost, long.verify_cost(n)) for n, cost in short.main.items()},
            draft=between(short.draft, long.draft),
            catch_up=between(short.catch_up, long.catch_up),
            main_prefill=between(short.main_prefill, long.main_prefill),
            draft_prefill=between(short.draft_prefill, long.draft_prefill),
        )


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
    """``{"short": {"context", "plain": seconds, "main": {"1": seconds, …}, …}, "long": {…}}``."""
    found: dict[str, Any] = msgspec.to_builtins(costs, str_keys=True)
    return found


def from_json(record: Mapping[str, Any]) -> Costs | None:
    """The costs that ``to_json`` wrote; None if ``record`` is something else."""
    try:
        return msgspec.convert(record, Costs, strict=False)
    except msgspec.ValidationError:
        return None
