"""What the benchmarks say a main should draft with (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specd.bench.result import BenchResult
from specd.config import Benchmark

HYSTERESIS = 0.02
"""What was slower must be this much above 1 before it is taken in again, so that a noisy night
does not flip it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The draft's name as in the results, None for no speculation; and the sentence why."""

    draft: str | None
    draft_tokens: int
    reason: str


def decide(results: Sequence[BenchResult], wanted: Benchmark) -> Choice | None:
    """The best of several drafts' latest results for one main; None without any result."""
    if not results:
        return None
    best = max(results, key=lambda each: each.best.measured_speedup or 0.0)
    measured = best.best.measured_speedup or 0.0
    if best.best.draft_tokens > 0 and measured >= wanted.min_speedup:
        return Choice(
            best.draft,
            best.best.draft_tokens,
            f"measured {measured:.2f}× with {best.best.draft_tokens} draft tokens",
        )
    if wanted.on_slower == "disable":
        return Choice(
            None,
            0,
            f"taken out: the best draft, {best.draft}, was measured {measured:.2f}×, below the "
            f"wanted {wanted.min_speedup:.2f}×",
        )
    fastest = max(
        (each for each in best.lengths if each.draft_tokens > 0),
        key=lambda each: (each.predicted_tps, -each.draft_tokens),
    )
    return Choice(
        best.draft,
        fastest.draft_tokens,
        f'kept although no gain was measured ({measured:.2f}×): on_slower is "warn"',
    )
