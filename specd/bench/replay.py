"""Exact replay: the rounds of every draft length, computed from one pass over one text (pure).

Greedy speculative decoding writes exactly the main model's greedy text. So it is enough to know,
for each position, whether the draft predicts the next token from the text so far. A round is a run
of correct drafted tokens, at most as many as the draft length, and one token of the main model. The
loop follows mlx-lm's ``speculative_generate_step``, including its shorter last round.

At a temperature mlx-lm accepts a drafted token when it equals the token that the main model samples
at the same position; both samples are independent. With the main's probabilities p and the draft's
q, a token is accepted with probability Σ p·q, and the counts are expected values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replay:
    """Counts over one answer: tokens ``drafted`` and ``accepted``, in how many ``rounds``.

    ``caught_up`` counts the rounds in which the draft must first process its own last token. This
    happens after a round in which every drafted token was accepted.
    """

    tokens: int
    rounds: float
    drafted: float
    accepted: float
    caught_up: float


def replay(chances: Sequence[float], draft_tokens: int, max_tokens: int) -> Replay:
    """The counts for an answer of ``len(chances)`` tokens with this draft length.

    ``chances[i]`` is the probability that token i, if drafted, is accepted: 0 or 1 for a greedy
    answer, and then the counts are exact. ``max_tokens`` is the limit with which the answer was
    generated; a shorter answer ended by itself.

    Given the main's text, the draft's samples are independent, so the rounds are a Markov chain
    over the positions where a round may begin.
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
    return Replay(tokens, rounds, drafted, accepted, caught_up)
