"""What a measurement asks of an engine: whole answers, and, where it can be, what is behind them.

``engine_mlx`` runs model folders itself and can do both; a server only answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from specd.bench.costs import Costs
from specd.bench.predict import Answer
from specd.bench.prompts import Prompt
from specd.bench.result import EngineName
from specd.bench.sampling import Sampled


@dataclass(frozen=True, slots=True)
class Timed:
    """One whole answer and the ``seconds`` it took, the prompt included.

    ``said`` is compared with other answers and never kept: token ids, or a text. ``from_draft``
    are the tokens that a draft guessed, ``drafted`` all that it did, None where the engine does not
    say. ``first_token_s`` are the seconds until the first token.
    """

    said: tuple[int, ...] | str
    tokens: int
    seconds: float
    from_draft: int | None = None
    drafted: int | None = None
    first_token_s: float | None = None


@dataclass(frozen=True, slots=True)
class Study:
    """What both models think of an answer, token by token."""

    answer: Answer
    sampled: Sampled


class Engine(Protocol):
    """A main model with one draft, ready to answer greedily."""

    @property
    def name(self) -> EngineName:
        """How it is called in results."""

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        """A whole answer; ``draft_tokens`` 0 is without the draft."""

    def clock(self) -> float:
        """Seconds, from an arbitrary start."""


class Replayable(Engine, Protocol):
    """An engine that shows what both models think of a text, and what their steps cost."""

    def warm_up(self) -> None:
        """Have done what only the first answer would have to wait for."""

    def study(self, prompt: Prompt, answer: Timed) -> Study:
        """Which tokens of the main's answer the draft would have guessed."""

    def near_ties(self, prompt: Prompt, answer: Timed) -> int:
        """How many tokens the main itself would have chosen otherwise when it reads many at once.

        There two logits are so close that rounding decides, and an answer with a draft may differ.
        """

    def costs(
        self,
        prompt: Prompt,
        *,
        checking: Sequence[int],
        seconds: float,
        known: Costs | None = None,
    ) -> Costs:
        """What steps cost: the draft's, and the main's over each of ``checking`` tokens.

        Each is measured at least twice, and more often within about ``seconds``. With ``known``,
        only the latter are measured, and added to it.
        """
