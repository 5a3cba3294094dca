"""The speed to expect on the user's own prompts, from their acceptance and a benchmark (pure).

Exact replay needs the text of an answer. From chats specd keeps only how many draft tokens each
round accepted. That is enough: the benchmark gives the seconds of a round with n draft tokens, and
the user's chats give the tokens that a round yields.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from specd.bench.result import BenchResult, LengthResult
from specd.bench.use import Use, accepted_per_round

ENOUGH_ROUNDS = 200
"""With fewer rounds the acceptance is too uncertain."""


@dataclass(frozen=True, slots=True)
class ExpectedSpeed:
    """One draft length on the user's prompts: tokens accepted per round, tokens per second."""

    draft_tokens: int
    accepted_per_round: float
    tps: float
    speedup: float


def expected(uses: Sequence[Use], measured: BenchResult) -> tuple[ExpectedSpeed, ...]:
    """One entry for each draft length that the user's rounds cover; () with too few rounds."""
    use = max(uses, key=lambda each: sum(each.rounds), default=None)
    if use is None or sum(use.rounds) < ENOUGH_ROUNDS or not measured.lengths:
        return ()
    baseline = measured.lengths[0].predicted_tps
    found: list[ExpectedSpeed] = []
    for length in measured.lengths:
        accepted = accepted_per_round(use.rounds, length.draft_tokens)
        seconds = _round_seconds(length)
        if length.draft_tokens and accepted is not None and seconds is not None:
            tps = (1 + accepted) / seconds
            found.append(ExpectedSpeed(length.draft_tokens, accepted, tps, tps / baseline))
    return tuple(found)


def _round_seconds(length: LengthResult) -> float | None:
    """Seconds of one round with this length; None if the rounds were not counted."""
    if not length.rounds or length.accepted is None or length.predicted_tps <= 0:
        return None
    return (length.rounds + length.accepted) / length.predicted_tps / length.rounds
