"""The result of running an engine with a pair, and the common parts of both engines' proofs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from specd.tokenizer.verdict import EngineText, Segmentation, VerdictKind

TOKENS: Final = 32
"""Tokens in each answer that is compared."""

DRAFT_TOKENS: Final = 3

OVERHEAD: Final = 1.25
"""Memory that answering takes, as a multiple of the weights."""

Tick: TypeAlias = Callable[[str], None]
"""Progress callback: a clause for the user."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The result of running the engine with a pair; ``words`` is a sentence for a person.

    ``kind``: the verdict that it forces, None if the proof succeeded; ``refusal`` says why.
    "incompatible": MLX contradicts the files. "unsupported": a model does not load, the engine
    fails, or the draft changes the answer; ``text`` is then "may differ". ``whole``: no part of the
    proof was skipped for lack of memory. ``segmentation``: how differently the two split text.
    ``context``: the settings and the installed engines that it was made with, as JSON.
    """

    words: str
    kind: VerdictKind | None = None
    refusal: str = ""
    whole: bool = True
    segmentation: Segmentation | None = None
    text: EngineText = "unknown"
    context: dict[str, Any] = field(default_factory=dict)


class Refused(Exception):
    """The pair must not be used: the engine fails with it, or answers with other text."""

    def __init__(
        self, why: str, kind: VerdictKind = "unsupported", text: EngineText = "unknown"
    ) -> None:
        super().__init__(why)
        self._kind = kind
        self._text = text

    def proof(self, covered: str, segmentation: Segmentation | None = None) -> Proof:
        """The proof that failed; ``covered`` says what was run before."""
        why = str(self)
        return Proof(f"{covered}{why}", self._kind, why, segmentation=segmentation, text=self._text)


def lack_of_memory(weights: int) -> str | None:
    """Why a pair with this many bytes of weights cannot be run; None if it can."""
    import psutil  # noqa: PLC0415 - takes 20 ms, and the daemon only reads proofs

    needed, free = int(OVERHEAD * weights), psutil.virtual_memory().available
    if needed <= free:
        return None
    return f"the pair needs {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} GiB are free"
