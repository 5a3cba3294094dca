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


@dataclass(frozen=True, slots=True)
class Timed:
    """One whole answer and the ``seconds`` it took, the prompt included.

    ``said`` is compared with other answers and never kept: token ids, or a text. ``from_draft``
    are the tokens that a draft guessed, ``drafted`` all that it did, None where the engine does not
    say. ``first_token_s`` are the seconds until the first token. ``joules`` is
    what the processor used meanwhile, None where the machine does not count it.
    """

    said: tuple[int, ...] | str
    tokens: int
    seconds: float
    from_draft: int | None = None
    drafted: int | None = None
    first_token_s: float | None = None
    joules: float | None = None


class Engine(Protocol):
    """A main model with one draft, ready to answer."""

    @property
    def name(self) -> EngineName:
        """How it is called in results."""

    @property
    def longest(self) -> int:
        """How many tokens a prompt and its answer may have: what the model and the memory allow."""

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        """A whole answer; ``draft_tokens`` 0 is without the draft."""

    def clock(self) -> float:
        """Seconds, from an arbitrary start."""


class Replayable(Engine, Protocol):
    """An engine that shows what both models think of a text, and what their steps cost."""

    def warm_up(self) -> None:
        """Have done what only the first answer would have to wait for."""

    def study(self, prompt: Prompt, answer: Timed) -> Answer:
        """Which tokens of the main's answer the draft would have guessed, or how likely."""

    def same_but_for_rounding(self, prompt: Prompt, alone: Timed, drafted: Timed) -> bool:
        """Whether two greedy answers part where rounding decides between two tokens.

        A pass over several tokens sums in another order than one over a single token.
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
