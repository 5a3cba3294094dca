"""What a benchmark's costs promise on the user's own prompts, by their acceptance (pure).

Exact replay needs a text; of chats only the pattern is kept: how many draft tokens each round
accepted. That is enough. A round of the benchmark with n draft tokens took as long as one of the
user's would; how many tokens it yields is the user's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specd.bench.result import BenchResult, LengthResult
from specd.bench.use import Use, accepted_per_round

ENOUGH_ROUNDS = 200
"""Fewer rounds say too little of how often a draft is right."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One draft length on the user's prompts: tokens accepted per round, tokens per second."""

    draft_tokens: int
    accepted_per_round: float
    tps: float
    speedup: float


def expected(uses: Sequence[Use], measured: BenchResult) -> tuple[Expected, ...]:
    """Every length that the pattern tells of; () where there is too little of one."""
    use = max(uses, key=lambda each: sum(each.rounds), default=None)
    if use is None or sum(use.rounds) < ENOUGH_ROUNDS or not measured.lengths:
        return ()
    baseline = measured.lengths[0].predicted_tps
    found: list[Expected] = []
    for length in measured.lengths:
        accepted = accepted_per_round(use.rounds, length.draft_tokens)
        seconds = _round_seconds(length)
        if length.draft_tokens and accepted is not None and seconds is not None:
            tps = (1 + accepted) / seconds
            found.append(Expected(length.draft_tokens, accepted, tps, tps / baseline))
    return tuple(found)


def _round_seconds(length: LengthResult) -> float | None:
    """Seconds of one round with this length; None where its rounds were not told."""
    if not length.rounds or length.accepted is None or length.predicted_tps <= 0:
        return None
    return (length.rounds + length.accepted) / length.predicted_tps / length.rounds
