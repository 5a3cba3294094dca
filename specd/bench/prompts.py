"""The prompts of a benchmark, by class: the gain depends on the kind of text.

A formula or code is predictable, so its acceptance is high; a story's is low, and a long context or
a temperature reduces the gain. Suite ``standard`` covers typical use, ``basic`` only its short
prompts. Suite ``seed`` is the check that a user would do by hand: one sentence and one long
explanation. ``brief`` is that one sentence, for a first look and for slow machines.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt and the most tokens that its answer may have.

    ``stream``: request a streamed answer, if the engine offers both. ``context``: approximate
    tokens of a long prompt, 0 for a short one. ``temperature`` 0 is greedy.
    """

    kind: str
    text: str
    max_tokens: int
    stream: bool = False
    context: int = 0
    temperature: float = 0.0

    @property
    def thinks(self) -> bool:
        """Whether a reasoning model thinks first; a short answer would be its thoughts alone."""
        return self.kind == "thinking"


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
"""The expected figures of ``SEED``: an 8B main with a 0.5B draft, both in 4 bits, on a Mac."""

BASIC: Final = (
    *SEED,
    Prompt("code", "Write a Python function that returns the n-th Fibonacci number.", 120),
    Prompt("table", "List the days of the week in a Markdown table with their numbers.", 120),
    Prompt("formula", "State the quadratic formula and solve x^2 - 5x + 6 = 0 step by step.", 120),
    Prompt("translation", "Translate into French: The weather is nice and we go for a walk.", 60),
    Prompt("creative", "Tell a short story about a lighthouse keeper and a strange sound.", 120),
)

_FILE: Final = """\
import csv
from dataclasses import dataclass


@dataclass
class Loan:
    book: str
    reader: str
    days: int

    def overdue(self, allowed: int = 28) -> bool:
        return self.days > allowed


def read(path: str) -> list[Loan]:
    with open(path, newline="") as file:
        return [Loan(row["book"], row["reader"], int(row["days"])) for row in csv.DictReader(file)]


def report(loans: list[Loan]) -> str:
    late = [loan for loan in loans if loan.overdue()]
    return "\\n".join(f"{loan.reader}: {loan.book} ({loan.days} days)" for loan in late)
"""

_TOOL: Final = """\
You can call one function: {"name": "book_table", "parameters": {"restaurant": "string", \
"guests": "integer", "date": "YYYY-MM-DD", "time": "HH:MM", "wishes": ["string"]}}.
Answer with the JSON of one call and nothing else.
Book a table for four at Trattoria Verde on 3 May 2027 at half past seven in the evening; we need \
a high chair and a quiet corner."""

WORK: Final = (
    Prompt(
        "rewrite",
        "Write this file again as a whole. Rename the class Loan to Lending wherever it stands and "
        f"allow 21 days instead of 28; change nothing else.\n\n{_FILE}",
        220,
    ),
    Prompt("tools", _TOOL, 90),
    Prompt(
        "thinking",
        "Think step by step, then answer: a train leaves at 9:40 and drives 150 km at 90 km/h, "
        "waits 12 minutes, and drives 60 km at 80 km/h. When does it arrive?",
        160,
    ),
)

_NAMES: Final = ("Amber", "Birch", "Cedar", "Dune", "Ember", "Fjord", "Grove", "Harbor", "Iris")
_WORK: Final = (
    "moved its nightly backup to another disk", "found a leak in the cooling of the second hall",
    "asked for two more weeks of testing", "measured a third less traffic than expected",
    "replaced the old scheduler", "lost a day to an expired certificate",
    "agreed with its customers on a new format", "reported that three sensors drift in the cold",
)  # fmt: skip
_TOKENS_A_LINE: Final = 24


def _document(tokens: int) -> str:
    """A text of about ``tokens`` tokens: minutes of meetings, the same ones on every call."""
    chance = random.Random(tokens)  # noqa: S311 - a text, not a secret
    lines = [
        f"{day + 1}. Team {chance.choice(_NAMES)} {chance.choice(_WORK)}; "
        f"{chance.randint(2, 90)} hours, {chance.randint(1, 400) * 50} euros."
        for day in range(tokens // _TOKENS_A_LINE)
    ]
    return "\n".join(lines)


def _of_length(name: str, tokens: int) -> Prompt:
    question = "Summarize these minutes in one paragraph, then list the five dearest entries.\n\n"
    return Prompt(name, question + _document(tokens), 120, context=tokens)


LONG: Final = (_of_length("2k", 2_000), _of_length("8k", 8_000), _of_length("32k", 32_000))
"""Long contexts, the shortest first; used as far as memory, the model and the time allow."""

CONTEXTS: Final = tuple(each.kind for each in LONG)

KINDS: Final = ("tools", "thinking")
"""The short classes that the figures of chats tell from the others."""

STANDARD: Final = (*BASIC, *WORK, *LONG)

BRIEF: Final = (Prompt("short", "Explain SQL injection in one sentence.", 24),)

SUITES: Final = {"seed": SEED, "basic": BASIC, "standard": STANDARD, "brief": BRIEF}

QUICK_TOKENS: Final = 32


def suite(name: str, *, quick: bool) -> tuple[Prompt, ...]:
    """The prompts of a suite; ``quick`` cuts every answer short and leaves out long contexts.

    Raises:
        KeyError: there is no such suite.
    """
    prompts = SUITES[name]
    if not quick:
        return prompts
    return tuple(
        replace(each, max_tokens=min(each.max_tokens, QUICK_TOKENS))
        for each in prompts
        if not each.context
    )
