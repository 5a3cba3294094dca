"""Real generation behind the stand-in server: mlx-lm on one thread, with draft statistics.

All MLX work happens on one thread, because MLX's streams belong to the thread that made them; so
requests are answered one after the other, as LM Studio does when it speculates.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import mlx_lm
from mlx_lm.sample_utils import make_sampler

from specd.demo.installed import Installed


@dataclass(frozen=True, slots=True)
class Question:
    """A request to generate. ``max_tokens`` None: until the model ends."""

    messages: list[dict[str, Any]]
    max_tokens: int | None
    temperature: float
    top_p: float
    draft_tokens: int


@dataclass(slots=True)
class Statistics:
    """The figures of an answer; without a draft ``draft`` is None. Times in seconds.

    Of the tokens drafted, the accepted ones are in the answer, the ignored ones came after its end,
    and the rest was rejected by the main model.
    """

    prompt_tokens: int = 0
    tokens: int = 0
    first_token_s: float = 0.0
    total_s: float = 0.0
    stop_reason: str = "userStopped"
    draft: str | None = None
    drafted: int = 0
    accepted: int = 0
    ignored: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first over the time after the first."""
        generating = self.total_s - self.first_token_s
        return (self.tokens - 1) / generating if self.tokens > 1 and generating > 0 else 0.0


@dataclass(slots=True)
class Loaded:
    """A model in memory. ``ttl`` seconds after its last use it goes, None: it stays.

    ``defaults`` are the fields of its defaults at the time when it was loaded. ``model`` is None
    where there is no engine for it.
    """

    installed: Installed
    model: Any
    tokenizer: Any
    context_length: int
    parallel: int
    ttl: float | None
    used_at: float
    defaults: dict[str, Any]


@dataclass(slots=True)
class Generation:
    """An answer in the making: iterate for pieces of text, then read ``statistics``.

    ``pieces`` gets text, an exception, and None at the end. ``stop`` may be set by another thread;
    the generation then ends at the next token.
    """

    statistics: Statistics = field(default_factory=Statistics)
    stop: threading.Event = field(default_factory=threading.Event)
    pieces: queue.Queue[str | Exception | None] = field(default_factory=queue.Queue)

    def __iter__(self) -> Iterator[str]:
        while (piece := self.pieces.get()) is not None:
            if isinstance(piece, Exception):
                raise piece
            yield piece


class Engine:
    """The models in memory, and generation with them."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlx")
        self._loaded: dict[str, Loaded] = {}
        self.expired: set[str] = set()
        """The keys of models that were unloaded by their ``ttl``."""

    def loaded(self) -> dict[str, Loaded]:
        """The models in memory by key, without those past their ``ttl``."""
        now = time.monotonic()
        for key, entry in list(self._loaded.items()):
            if entry.ttl is not None and now - entry.used_at > entry.ttl:
                self._loaded.pop(key, None)
                self.expired.add(key)
        return dict(self._loaded)

    def load(
        self,
        installed: Installed,
        *,
        context_length: int | None,
        parallel: int,
        ttl: float | None,
        defaults: dict[str, Any],
    ) -> Loaded:
        """Load a model; one that is in memory already is returned as it is.

        Raises:
            ValueError, OSError: mlx-lm cannot load it.
        """

        def loaded() -> Loaded:
            entry = self._loaded.get(installed.key)
            if entry is None:
                model, tokenizer = None, None
                if installed.format == "mlx":
                    model, tokenizer = mlx_lm.load(str(installed.path))[:2]
                length = min(context_length or 4096, installed.context_length)
                entry = Loaded(installed, model, tokenizer, length, parallel, ttl, 0.0, defaults)
                self._loaded[installed.key] = entry
            entry.used_at = time.monotonic()
            return entry

        return self._thread.submit(loaded).result()

    def unload(self, key: str) -> bool:
        """Unload a model; returns whether it was loaded."""
        return self._loaded.pop(key, None) is not None

    def answer(self, main: Loaded, draft: Loaded | None, question: Question) -> Generation:
        """Start generating; returns at once."""
        answer = Generation()
        self._thread.submit(_generate, main, draft, question, answer)
        return answer


_STOP_REASONS = {"stop": "eosFound", "length": "maxPredictedTokensReached"}


@dataclass(slots=True)
class _Rounds:
    """Counts the drafted tokens, which mlx-lm does not report, by which tokens were drafted.

    A round is the drafted tokens that the main agrees with, then one of the main's own. ``left``
    are those drafted in this round that have not been seen in the answer.
    """

    limit: int
    draft_tokens: int
    left: int = 0
    _open: bool = False

    def count(self, figures: Statistics, *, from_draft: bool) -> None:
        """See the next token of the answer; ``figures`` does not yet count it."""
        if not self._open:
            self.left = min(self.limit - figures.tokens, self.draft_tokens)
            figures.drafted += self.left
        if from_draft:
            figures.accepted += 1
            self.left -= 1
        else:
            self.left = 0
        self._open = from_draft


def _generate(main: Loaded, draft: Loaded | None, question: Question, answer: Generation) -> None:
    try:
        _generate_pieces(main, draft, question, answer)
    except Exception as failure:  # noqa: BLE001 - the thread that iterates raises it
        answer.pieces.put(failure)
    answer.pieces.put(None)


def _generate_pieces(
    main: Loaded, draft: Loaded | None, question: Question, answer: Generation
) -> None:
    prompt = main.tokenizer.apply_chat_template(question.messages, add_generation_prompt=True)
    room = main.context_length - len(prompt)
    limit = min(question.max_tokens or room, room)
    if limit < 1:
        raise ValueError(
            f"the prompt has {len(prompt)} tokens and the context length is {main.context_length}"
        )
    speculation: dict[str, Any] = {}
    if draft is not None:
        speculation = {"draft_model": draft.model, "num_draft_tokens": question.draft_tokens}
    sampler = make_sampler(temp=question.temperature, top_p=question.top_p)
    figures = answer.statistics
    figures.prompt_tokens = len(prompt)
    figures.draft = draft.installed.key if draft else None
    rounds = _Rounds(limit, question.draft_tokens) if draft else None
    began = time.perf_counter()
    for response in mlx_lm.stream_generate(
        main.model, main.tokenizer, prompt, max_tokens=limit, sampler=sampler, **speculation
    ):
        if rounds:
            rounds.count(figures, from_draft=response.from_draft)
        figures.tokens += 1
        figures.total_s = time.perf_counter() - began
        figures.first_token_s = figures.first_token_s or figures.total_s
        answer.pieces.put(response.text)
        if response.finish_reason:
            figures.stop_reason = _STOP_REASONS[response.finish_reason]
        if answer.stop.is_set():
            break
    if rounds and figures.stop_reason == "eosFound":
        figures.ignored = rounds.left
    for used in (main, draft):
        if used is not None:
            used.used_at = time.monotonic()
