"""Exact replay: what every draft length would have done, from one text and one pass (pure).

Greedy speculative decoding writes exactly the main model's greedy text. So at each position it is
enough to know whether the draft, shown the text so far, would have guessed the next token. A round
is a run of right guesses capped at the draft length, then one token of the main's own; the loop is
that of mlx-lm's ``speculative_generate_step``, with its shorter last round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Replay:
    """Counts over one answer: ``drafted`` guesses made, ``accepted`` of them, in ``rounds``.

    ``caught_up`` counts the rounds in which the draft first had to read a token of its own that it
    had not seen: those that follow a round of nothing but right guesses.
    """

    tokens: int
    rounds: int
    drafted: int
    accepted: int
    caught_up: int


def replay(agrees: Sequence[bool], draft_tokens: int, max_tokens: int) -> Replay:
    """What a draft of this length does with an answer of ``len(agrees)`` tokens.

    ``agrees[i]`` says whether the draft guesses token i rightly. ``max_tokens`` is the limit the
    answer was generated under; an answer shorter than it ended by itself.
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
