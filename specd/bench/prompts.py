"""What is asked in a benchmark: prompts by class, because one number lies.

A formula or code is predictable and drafts well; a story is not. The suite ``seed`` is the check a
user would do by hand: one sentence, and one long explanation; ``brief`` is that one sentence, for
a first look and for slow machines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Prompt:
    """One question and how many tokens its answer may have.

    ``stream`` is whether it is to come piece by piece, where an engine has the choice.
    """

    kind: str
    text: str
    max_tokens: int
    stream: bool = False


SEED: Final = (
    Prompt("short", "Explain SQL injection in one sentence.", 50),
    Prompt(
        "long",
        "Write a detailed explanation of how neural networks work, including backpropagation.",
        200,
        stream=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Tokens per second before and after (least, most), and the gain (least, most) as a share."""

    before: float
    after: tuple[float, float]
    gain: tuple[float, float]


SEED_EXPECTED: Final = Expectation(18.0, (22.0, 27.0), (0.20, 0.50))
"""What was hoped for from ``SEED``: an 8B main with a 0.5B draft, both in 4 bits, on a Mac."""

STANDARD: Final = (
    *SEED,
    Prompt("code", "Write a Python function that returns the n-th Fibonacci number.", 120),
    Prompt("table", "List the days of the week in a Markdown table with their numbers.", 120),
    Prompt("formula", "State the quadratic formula and solve x^2 - 5x + 6 = 0 step by step.", 120),
    Prompt("translation", "Translate into French: The weather is nice and we go for a walk.", 60),
    Prompt("creative", "Tell a short story about a lighthouse keeper and a strange sound.", 120),
)

BRIEF: Final = (Prompt("short", "Explain SQL injection in one sentence.", 24),)

SUITES: Final = {"seed": SEED, "standard": STANDARD, "brief": BRIEF}

QUICK_TOKENS: Final = 32


def suite(name: str, *, quick: bool) -> tuple[Prompt, ...]:
    """The prompts of a suite; ``quick`` cuts every answer short.

    Raises:
        KeyError: there is no such suite.
    """
    prompts = SUITES[name]
    if not quick:
        return prompts
    return tuple(replace(each, max_tokens=min(each.max_tokens, QUICK_TOKENS)) for each in prompts)
