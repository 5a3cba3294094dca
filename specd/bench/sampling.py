"""Acceptance when tokens are drawn at a temperature, and in closed form (pure).

mlx-lm accepts a drafted token when it equals the one that the main model draws for that place, each
drawn by itself. So a place where the main's probabilities are p and the draft's are q accepts with
Σ p·q, and the text is the main's own. Leviathan et al. ("Fast Inference from Transformers via
Speculative Decoding", 2023) accept with Σ min(p, q), never less: what mlx-lm's simpler rule gives
away is the difference of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampled:
    """Expected acceptance of one guess, the mean over the places of the answers looked at.

    ``matching`` is mlx-lm's rule, ``rejection`` that of Leviathan et al.; ``greedy`` is the share
    of places where both models' likeliest tokens agree.
    """

    temperature: float
    places: int
    greedy: float
    matching: float
    rejection: float


@dataclass(frozen=True, slots=True)
class Expected:
    """What a draft is expected to do with an answer; the fields are those of a replay."""

    tokens: int
    rounds: float
    drafted: float
    accepted: float


def expected(chances: Sequence[float], draft_tokens: int, max_tokens: int) -> Expected:
    """Replay with chances in place of certainties: ``chances[i]`` is how likely the draft draws i.

    Given the main's text, the draft's draws are independent of each other, so the rounds are a
    Markov chain over the places where a round may begin. With chances of 0 and 1 this is exact
    replay.
    """
    tokens = len(chances)
    begins = [0.0] * (tokens + 1)
    begins[0] = 1.0
    rounds = drafted = accepted = 0.0
    for at in range(tokens):
        chance = begins[at]
        if chance == 0.0:
            continue
        guesses = min(max_tokens - at, draft_tokens)
        rounds += chance
        drafted += chance * guesses
        reached = chance
        for right in range(min(guesses, tokens - at)):
            hit = chances[at + right]
            begins[at + right + 1] += reached * (1 - hit)
            reached *= hit
            accepted += reached
        begins[min(tokens, at + min(guesses, tokens - at) + 1)] += reached
    return Expected(tokens, rounds, drafted, accepted)


def tokens_per_round(acceptance: float, draft_tokens: int) -> float:
    """Expected tokens of one round, when each guess is right by itself with ``acceptance``.

    Leviathan et al., equation 1: (1 - a^(g+1)) / (1 - a).
    """
    if acceptance >= 1.0:
        return draft_tokens + 1.0
    return float((1 - acceptance ** (draft_tokens + 1)) / (1 - acceptance))


def speedup(acceptance: float, draft_tokens: int, cost: float) -> float:
    """Leviathan et al., theorem 3.8: (1 - a^(g+1)) / ((1 - a)(g·c + 1)).

    ``cost`` is the draft's step over the main's; checking several tokens costs as much as one here.
    """
    return tokens_per_round(acceptance, draft_tokens) / (draft_tokens * cost + 1)
