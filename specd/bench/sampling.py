"""Acceptance when tokens are sampled at a temperature (pure).

mlx-lm accepts a drafted token when it equals the token that the main model samples at the same
position; both samples are independent. With the main's probabilities p and the draft's q, a token
is accepted with probability Σ p·q, and the text has the main model's distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExpectedCounts:
    """Expected values of the counts of a ``Replay``."""

    tokens: int
    rounds: float
    drafted: float
    accepted: float
    caught_up: float


def expected(chances: Sequence[float], draft_tokens: int, max_tokens: int) -> ExpectedCounts:
    """The expected counts; ``chances[i]`` is the probability that drafted token i is accepted.

    Given the main's text, the draft's samples are independent, so the rounds are a Markov chain
    over the positions where a round may begin. With probabilities of 0 and 1 this is exact replay.
    """
    tokens = len(chances)
    # Probability that a round begins at each position: after a rejected token; after none.
    begins = [0.0] * (tokens + 1)
    behind = [0.0] * (tokens + 1)
    begins[0] = 1.0
    rounds = drafted = accepted = caught_up = 0.0
    for at in range(tokens):
        chance = begins[at] + behind[at]
        if chance == 0.0:
            continue
        guesses = min(max_tokens - at, draft_tokens)
        rounds += chance
        drafted += chance * guesses
        caught_up += behind[at] if guesses else 0.0
        reached = chance
        most = min(guesses, tokens - at)
        for right in range(most):
            hit = chances[at + right]
            begins[at + right + 1] += reached * (1 - hit)
            reached *= hit
            accepted += reached
        after = behind if most == guesses > 0 else begins
        after[min(tokens, at + most + 1)] += reached
    return ExpectedCounts(tokens, rounds, drafted, accepted, caught_up)
