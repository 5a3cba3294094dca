"""Exact replay: the rounds of every draft length, computed from one pass over one text (pure).

Greedy speculative decoding writes exactly the main model's greedy text. So it is enough to know,
for each position, whether the draft predicts the next token from the text so far. A round is a run
of correct drafted tokens, at most as many as the draft length, and one token of the main model. The
loop follows mlx-lm's ``speculative_generate_step``, including its shorter last round.
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
    rounds: int
    drafted: int
    accepted: int
    caught_up: int


def replay(agrees: Sequence[bool], draft_tokens: int, max_tokens: int) -> Replay:
    """The counts for an answer of ``len(agrees)`` tokens with this draft length.

    ``agrees[i]``: the draft predicts token i correctly. ``max_tokens`` is the limit with which the
    answer was generated; a shorter answer ended by itself.
    """
    tokens = len(agrees)
    at = rounds = drafted = accepted = caught_up = 0
    all_right = False
    while at < tokens:
        guesses = min(max_tokens - at, draft_tokens)
        right = 0
        while right < guesses and at + right < tokens and agrees[at + right]:
            right += 1
        rounds += 1
        drafted += guesses
        accepted += right
        caught_up += all_right and guesses > 0
        all_right = 0 < right == guesses
        at += right
        if at < tokens:
            at += 1
    return Replay(tokens, rounds, drafted, accepted, caught_up)
