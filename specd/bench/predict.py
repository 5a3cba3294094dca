"""From counts and costs to tokens per second of every draft length, and the best of them (pure)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from specd.bench.replay import Replay, replay, together
from specd.bench.result import LengthResult

LONGEST = 16
"""The longest draft looked at; the app's own list ends at 10."""

TIE = 0.01
"""Predictions this close are a tie, and the shorter draft wins it."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds, each the median of several measurements.

    ``main_step[k]`` is one pass of the main over k tokens for the k that were measured, the others
    lie between; ``draft_step`` one token of the draft; the prefills are of the whole prompts.
    """

    main_step: Mapping[int, float]
    draft_step: float
    main_prefill: float
    draft_prefill: float

    def main(self, tokens: int) -> float:
        """One pass of the main over ``tokens`` tokens, interpolated."""
        known = sorted(self.main_step)
        right = bisect_left(known, tokens)
        if right == len(known):
            return self.main_step[known[-1]] * tokens / known[-1]
        if known[right] == tokens or right == 0:
            return self.main_step[known[right]]
        low, high = known[right - 1], known[right]
        share = (tokens - low) / (high - low)
        return self.main_step[low] + share * (self.main_step[high] - self.main_step[low])


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer: which of its tokens the draft guesses, under which limit."""

    kind: str
    agrees: tuple[bool, ...]
    max_tokens: int


def seconds(counts: Replay, draft_tokens: int, costs: Costs) -> float:
    """How long the answers behind ``counts`` take with this draft length; 0 is without a draft."""
    if draft_tokens == 0:
        return costs.main_prefill + counts.tokens * costs.main(1)
    return (
        costs.main_prefill
        + costs.draft_prefill
        + counts.drafted * costs.draft_step
        + counts.rounds * costs.main(draft_tokens + 1)
    )


def lengths(answers: Sequence[Answer], costs: Costs) -> tuple[LengthResult, ...]:
    """Every draft length from 0 to ``LONGEST``."""
    found: list[LengthResult] = []
    baseline = 0.0
    for draft_tokens in range(LONGEST + 1):
        counts = together([replay(a.agrees, draft_tokens, a.max_tokens) for a in answers])
        speed = counts.tokens / seconds(counts, draft_tokens, costs)
        baseline = baseline or speed
        found.append(
            LengthResult(
                draft_tokens=draft_tokens,
                acceptance=counts.acceptance,
                accepted=counts.accepted,
                rounds=counts.rounds,
                predicted_tps=speed,
                predicted_speedup=speed / baseline,
            )
        )
    return tuple(found)


def best(found: Sequence[LengthResult]) -> LengthResult:
    """The fastest length; of those within a hundredth of it, the shortest, which may be 0."""
    fastest = max(each.predicted_tps for each in found)
    return next(each for each in found if each.predicted_tps >= fastest * (1 - TIE))
