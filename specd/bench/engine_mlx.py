"""Real generation with mlx-lm on model folders: texts, guesses, step costs, timed answers.

Runs in the worker only.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm import load, stream_generate
from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

from specd.bench.predict import Costs
from specd.bench.prompts import Prompt

STEPS = (1, 2, 3, 5, 9, 17)
REPEATS = 5
ENOUGH_S = 1.0  # a step this slow is measured twice: what disturbs it is small beside it


@dataclass(frozen=True, slots=True)
class Timed:
    """One whole answer: its tokens, how many came from the draft, and the seconds it took."""

    tokens: tuple[int, ...]
    from_draft: int
    seconds: float


class Pairing:
    """A main and a draft in memory."""

    def __init__(self, main: Path, draft: Path) -> None:
        # trust_remote_code stays off: mlx-lm builds its own classes from config.json.
        self.main, self.tokenizer, *_ = load(str(main))
        self.draft, *_ = load(str(draft))

    def encode(self, prompt: Prompt) -> list[int]:
        """The prompt as the chat template puts it, in token ids."""
        if self.tokenizer.chat_template is None:
            return list(self.tokenizer.encode(prompt.text))
        messages = [{"role": "user", "content": prompt.text}]
        template: Any = self.tokenizer.apply_chat_template
        return list(template(messages, add_generation_prompt=True))

    def answer(self, ids: Sequence[int], max_tokens: int, draft_tokens: int) -> Timed:
        """Generate greedily; ``draft_tokens`` 0 is without the draft."""
        extra: dict[str, Any] = {}
        if draft_tokens:
            extra = {"draft_model": self.draft, "num_draft_tokens": draft_tokens}
        tokens: list[int] = []
        from_draft = 0
        started = time.perf_counter()
        for response in stream_generate(
            self.main, self.tokenizer, list(ids), max_tokens=max_tokens, **extra
        ):
            tokens.append(int(response.token))
            from_draft += bool(response.from_draft)
        return Timed(tuple(tokens), from_draft, time.perf_counter() - started)

    def guesses(self, ids: Sequence[int], answer: Sequence[int]) -> tuple[bool, ...]:
        """For each token of the answer, whether the draft would have guessed it."""
        cache = make_prompt_cache(self.draft)
        shown = mx.array([[*ids, *answer[:-1]]])
        logits = self.draft(shown, cache=cache)[0, len(ids) - 1 :]
        guessed: Any = mx.argmax(logits, axis=-1).tolist()
        return tuple(guess == token for guess, token in zip(guessed, answer, strict=True))

    def costs(self, ids: Sequence[int], tick: Callable[[], None] = lambda: None) -> Costs:
        """Measure what a step costs after this prompt; warm-up excluded, medians."""
        main_cache, main_prefill = _prefill(self.main, ids)
        draft_cache, draft_prefill = _prefill(self.draft, ids)
        steps: dict[int, float] = {}
        for count in STEPS:
            steps[count] = _step(self.main, main_cache, ids, count)
            tick()
        return Costs(steps, _step(self.draft, draft_cache, ids, 1), main_prefill, draft_prefill)


def _prefill(model: Any, ids: Sequence[int]) -> tuple[Any, float]:
    cache = make_prompt_cache(model)
    mx.eval(model(mx.array([list(ids)]), cache=cache))
    trim_prompt_cache(cache, len(ids))
    started = time.perf_counter()
    mx.eval(model(mx.array([list(ids)]), cache=cache))
    return cache, time.perf_counter() - started


def _step(model: Any, cache: Any, ids: Sequence[int], count: int) -> float:
    shown = mx.array([[ids[index % len(ids)] for index in range(count)]])
    taken: list[float] = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        mx.eval(mx.argmax(model(shown, cache=cache), axis=-1))
        taken.append(time.perf_counter() - started)
        trim_prompt_cache(cache, count)
        if len(taken) > 2 and sum(taken) > ENOUGH_S:
            break
    return statistics.median(taken[1:])
