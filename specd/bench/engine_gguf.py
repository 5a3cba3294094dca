"""Answers from llama.cpp's own server for a GGUF main, with and without a drafter.

For a GGUF main LM Studio loads the draft together with the main; a request cannot name it. This
engine does the same: one server for each draft length and one without a draft, all with one slot,
the same context, the user's types of KV cache, and no prompt cache. Runs in the worker only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Final

from specd.bench.engine import Timed, TimeUp
from specd.bench.prompts import Prompt
from specd.bench.result import EngineName
from specd.bench.tried import Repeated
from specd.llamacpp.engine import LlamaCpp
from specd.llamacpp.server import ANSWER_S, Load, Server, Speculation, TookTooLong
from specd.lmstudio.chat_settings import ChatSettings

LENGTHS: Final = (4, 16, 8, 2)
"""Draft lengths (``Load.draft_tokens``), tried in this order."""

CONTEXT: Final = 10_240
"""Tokens: holds the suite's context of 8k and an answer."""

RUNNING: Final = 2
"""Servers that run at a time: one without a draft, one with."""


TOO_LATE: Final = "the time was up before an answer was whole; `specd bench --minutes N` gives more"


class DraftSilent(Exception):
    """llama.cpp loaded the draft and never drafted with it: it does not accept the pair."""


@dataclass(slots=True)
class GgufEngine:
    """A main with a drafter: a draft model, a sidecar, its own heads, or repetitions (n-grams).

    No answer ends after ``until``, by ``clock``.
    """

    engine: LlamaCpp
    main: Path
    speculation: Speculation
    draft: Path | None
    settings: ChatSettings = ChatSettings()  # noqa: RUF009 - frozen
    until: float = math.inf
    fixed: int | None = None
    _servers: dict[int, Server] = field(default_factory=dict)
    _repeated: Repeated = field(default_factory=Repeated)

    name: ClassVar[EngineName] = "llama.cpp"
    clock = staticmethod(time.monotonic)

    def fits(self, prompt: Prompt) -> bool:
        """Whether the main's context, at most ``CONTEXT``, holds the prompt and its answer."""
        server = self._server(0)
        tokens = server.tokenize(server.chat(self._repeated.mark(prompt, 999)))
        return len(tokens) + prompt.max_tokens <= server.context

    def in_force(self, answers: Sequence[Timed], requested: int) -> int:
        """The draft length of the request. llama.cpp may draft fewer tokens, never more.

        Raises:
            DraftSilent: nothing was drafted.
        """
        nothing = all(each.drafted == 0 for each in answers)
        if self.speculation != "ngram-simple" and nothing:
            raise DraftSilent(f"{self.engine.name} drafts nothing with {self.draft or 'its heads'}")
        return requested

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        """A whole answer; ``draft_tokens`` 0 is without the draft.

        Raises:
            TimeUp: it would have ended after ``until``.
            DidNotStart, NoAnswer: llama.cpp did not start or answer.
        """
        server = self._server(draft_tokens)
        text = server.chat(self._repeated.text(prompt, draft_tokens), thinks=prompt.thinks)
        seconds = min(ANSWER_S, self.until - self.clock())
        if seconds <= 0:  # loading took it
            raise TimeUp(TOO_LATE)
        try:
            found = server.generate(
                text,
                prompt.max_tokens,
                temperature=prompt.temperature,
                narrowed=self.settings.narrowed,
                keep=False,
                seconds=seconds,
            )
        except TookTooLong as late:
            raise TimeUp(TOO_LATE) from late
        return Timed(
            found.tokens,
            max(1, len(found.tokens)),
            found.prefill_s + found.decode_s,
            from_draft=found.accepted,
            drafted=found.drafted,
            first_token_s=found.prefill_s,
        )

    def close(self) -> None:
        """End the servers."""
        for each in self._servers.values():
            each.close()
        self._servers.clear()

    def _server(self, draft_tokens: int) -> Server:
        if draft_tokens not in self._servers:
            drafting = [each for each in self._servers if each]
            if draft_tokens and len(drafting) >= RUNNING - 1:
                self._servers.pop(drafting[0]).close()
            load = Load(self.main, context=CONTEXT, kv_types=self.settings.kv_types)
            if draft_tokens:
                load = replace(
                    load,
                    speculation=self.speculation,
                    draft=self.draft,
                    draft_tokens=draft_tokens,
                )
            self._servers[draft_tokens] = Server(self.engine, load)
        return self._servers[draft_tokens]
