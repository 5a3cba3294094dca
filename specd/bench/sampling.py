"""Acceptance when tokens are drawn at a temperature (pure).

mlx-lm accepts a drafted token when it equals the one that the main model draws for that place, each
drawn by itself. So a place where the main's probabilities are p and the draft's are q accepts with
Σ p·q, and the text is the main's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_TEMPERATURE = 0.8
"""LM Studio's default."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a draft is expected to do with an answer; the fields are those of a replay."""

    tokens: int
    rounds: float
    drafted: float
    accepted: float
    caught_up: float


def expected(chances: Sequence[float], draft_tokens: int, max_tokens: int) -> Expected:
    """Replay with chances in place of certainties: ``chances[i]`` is how likely the draft draws i.

    Given the main's text, the draft's draws are independent of each other, so the rounds are a
    Markov chain over the places where a round may begin. With chances of 0 and 1 this is exact
    replay.
    """
    tokens = len(chances)
    # How likely a round begins at each place: after one with a wrong guess, and after one without.
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
    return Expected(tokens, rounds, drafted, accepted, caught_up)
