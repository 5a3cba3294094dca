"""The interfaces of the engines that a benchmark measures.

Every engine gives timed answers (``Engine``). ``engine_mlx`` runs model folders itself and also
gives token-level data and step costs (``Replayable``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from specd.bench.costs import Costs
from specd.bench.predict import StudiedAnswer
from specd.bench.prompts import Prompt
from specd.bench.result import EngineName


@dataclass(frozen=True, slots=True)
class Timed:
    """One whole answer and the ``seconds`` it took, including the prompt.

    ``output``: the answer's token ids or text, compared with other answers and never stored.
    ``drafted``: tokens that the draft proposed, ``from_draft``: those that were accepted; None if
    the engine does not report them. ``first_token_s``: seconds until the first token. ``joules``:
    energy that the processor used, None if the machine does not count it.
    """

    output: tuple[int, ...] | str
    tokens: int
    seconds: float
    from_draft: int | None = None
    drafted: int | None = None
    first_token_s: float | None = None
    joules: float | None = None


class TimeUp(Exception):
    """The benchmark's time was up before the answer was whole."""


class Engine(Protocol):
    """A main model with one draft, ready to answer."""

    @property
    def name(self) -> EngineName:
        """The engine's name in results."""

    def fits(self, prompt: Prompt) -> bool:
        """Whether the model and the memory allow the prompt with its answer."""

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        """A whole answer; ``draft_tokens`` 0 is without the draft. May raise ``TimeUp``."""

    def clock(self) -> float:
        """Seconds, from an arbitrary start."""


class Replayable(Engine, Protocol):
    """An engine that gives both models' predictions for a text, and the costs of their steps."""

    def warm_up(self) -> None:
        """Do the work that would otherwise delay the first answer, such as compiling kernels."""

    def study(self, prompt: Prompt, answer: Timed) -> StudiedAnswer:
        """For each token of the main's answer: whether, or how likely, the draft predicts it."""

    def same_but_for_rounding(self, prompt: Prompt, alone: Timed, drafted: Timed) -> bool:
        """Whether two greedy answers differ only because of rounding.

        A pass over several tokens sums in another order than a pass over one token. So rounding can
        decide between two tokens whose logits are nearly equal.
        """

    def costs(
        self,
        prompt: Prompt,
        *,
        verifying: Sequence[int],
        seconds: float,
        known: Costs | None = None,
    ) -> Costs:
        """Measure the draft's step costs, and the main's verify costs for ``verifying`` tokens.

        Each is measured at least twice, and more often within about ``seconds``. With ``known``,
        only the main's passes are measured and added to ``known``.
        """
