"""Real generation with mlx-lm on model folders: timed answers, what both models think, step costs.

Steps are measured in the shape in which mlx-lm takes them: the main alone asks for the next token
before it reads the last, a draft's guesses are chained, a check reads all its tokens at once.

Runs in the worker only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm import load, stream_generate
from mlx_lm.models.cache import make_prompt_cache, trim_prompt_cache

from specd.bench.costs import Costs, Spread, Steps, spread
from specd.bench.engine import Study, Timed
from specd.bench.predict import Answer
from specd.bench.prompts import Prompt
from specd.bench.result import EngineName
from specd.bench.sampling import Sampled

REPEATS = 9
"""How often a step is measured, if there is time for it."""

CHAIN = 4
"""Guesses, or plain tokens, that are timed in one go."""

LONG = (1024, 512, 256, 128)
LONG_S = 2.0
"""The long context is the longest of these whose prompt both models read in this time."""

AT_ONCE = 32
"""Places whose logits are looked at in one go; more would only take memory."""

TEMPERATURE = 0.8
"""LM Studio's default."""


@dataclass(frozen=True, slots=True)
class Main:
    """A main model in memory."""

    model: Any
    tokenizer: Any


def open_main(folder: Path) -> Main:
    """Load a main model; raises what mlx-lm raises for one it refuses."""
    # trust_remote_code stays off: mlx-lm builds its own classes from config.json.
    model, tokenizer, *_ = load(str(folder))
    return Main(model, tokenizer)


def open_draft(folder: Path) -> Any:
    """Load a draft; raises what mlx-lm raises for one it refuses."""
    return load(str(folder))[0]


class MlxEngine:
    """A main and a draft in memory."""

    def __init__(self, main: Main, draft: Any) -> None:
        self.main = main.model
        self.tokenizer = main.tokenizer
        self.draft = draft
        self._caches: dict[int, Any] = {}

    @property
    def name(self) -> EngineName:
        """How it is called in results."""
        return "mlx"

    def clock(self) -> float:
        """Wall time."""
        return time.perf_counter()

    def encode(self, prompt: Prompt) -> list[int]:
        """The prompt as the chat template puts it, in token ids."""
        if self.tokenizer.chat_template is None:
            return list(self.tokenizer.encode(prompt.text))
        messages = [{"role": "user", "content": prompt.text}]
        template: Any = self.tokenizer.apply_chat_template
        return list(template(messages, add_generation_prompt=True))

    def answer(self, prompt: Prompt, draft_tokens: int, **sampling: Any) -> Timed:
        """Generate, greedily unless mlx-lm is told otherwise; 0 is without the draft."""
        extra: dict[str, Any] = dict(sampling)
        if draft_tokens:
            extra |= {"draft_model": self.draft, "num_draft_tokens": draft_tokens}
        ids = self.encode(prompt)
        said: list[int] = []
        from_draft, first = 0, None
        started = time.perf_counter()
        for response in stream_generate(
            self.main, self.tokenizer, ids, max_tokens=prompt.max_tokens, **extra
        ):
            said.append(int(response.token))
            first = first or time.perf_counter() - started
            from_draft += bool(response.from_draft)
        seconds = time.perf_counter() - started
        # mlx-lm has already begun a token that nobody asks for: it is not to disturb what follows.
        mx.synchronize()
        return Timed(tuple(said), len(said), seconds, from_draft, first_token_s=first)

    def study(self, prompt: Prompt, answer: Timed) -> Study:
        """One pass of each model over the answer, the right tokens shown whatever it would say."""
        ids, said = self.encode(prompt), [int(token) for token in answer.said]
        caches = [make_prompt_cache(model) for model in (self.main, self.draft)]
        shown = [*ids, *said[:-1]]
        agrees: list[bool] = []
        sums = mx.zeros(2)
        near_ties = 0
        for start in range(0, len(shown), AT_ONCE):
            part = mx.array([shown[start : start + AT_ONCE]])
            first = max(0, len(ids) - 1 - start)
            logits = [
                model(part, cache=cache)[0, first:]
                for model, cache in zip((self.main, self.draft), caches, strict=True)
            ]
            mx.eval([each.state for cache in caches for each in cache])
            if logits[0].shape[0] == 0:
                continue
            at = len(agrees)
            told = mx.array(said[at : at + logits[0].shape[0]])
            right = [mx.argmax(each, axis=-1) == told for each in logits]
            sums = sums + _acceptance(*logits)
            mx.eval(*right, sums)
            near_ties += sum(not same for same in right[0].tolist())  # type: ignore[union-attr]
            agrees.extend(bool(same) for same in right[1].tolist())  # type: ignore[union-attr]
        matching, rejection = (float(each) / len(said) for each in sums.tolist())  # type: ignore[union-attr,arg-type]
        return Study(
            Answer(prompt.kind, len(ids), tuple(agrees), prompt.max_tokens),
            near_ties,
            Sampled(TEMPERATURE, len(said), sum(agrees) / len(said), matching, rejection),
        )

    def costs(
        self,
        prompt: Prompt,
        *,
        checking: Sequence[int],
        seconds: float,
        known: Costs | None = None,
    ) -> Costs:
        """Measure steps after this prompt and after a long one; warm-up excluded.

        Where the first alone takes longer than ``seconds``, it stands for both.
        """
        ids = self.encode(prompt)
        each_s = seconds / 2
        if known is not None:
            short = self._also(known.short, ids, checking, each_s)
            if known.long is known.short:
                return Costs(short, short)
            return Costs(short, self._also(known.long, ids, checking, each_s))
        begun = time.perf_counter()
        short = self._steps(ids, len(ids), checking, each_s)
        if time.perf_counter() - begun > seconds:
            return Costs(short, short)
        per_token = (short.main_prefill.median + short.draft_prefill.median) / len(ids)
        affordable = [each for each in LONG if each * per_token < LONG_S]
        long = max([*affordable, len(ids) + LONG[-1]])
        return Costs(short, self._steps(ids, long, checking, each_s))

    def _steps(
        self, ids: Sequence[int], context: int, checking: Sequence[int], seconds: float
    ) -> Steps:
        main_cache, main_prefill = _prefill(self.main, ids, context)
        draft_cache, draft_prefill = _prefill(self.draft, ids, context)
        # Every step leaves the cache as it was, so that further counts need no second prefill.
        self._caches[context] = main_cache
        steps: dict[str, Callable[[], float]] = {
            "plain": lambda: _chain(self.main, main_cache, ids) / CHAIN,
            "draft": lambda: _chain(self.draft, draft_cache, ids) / CHAIN,
            "one": lambda: _check(self.draft, draft_cache, ids, 1),
            "two": lambda: _check(self.draft, draft_cache, ids, 2),
        }
        taken = _in_turn(steps | _checks(self.main, main_cache, ids, checking), seconds)
        catch_up = [two - one for one, two in zip(taken["one"], taken["two"], strict=True)]
        return Steps(
            context=context,
            plain=spread(taken["plain"]),
            main={count: spread(taken[str(count)]) for count in checking},
            draft=spread(taken["draft"]),
            catch_up=spread(catch_up),
            main_prefill=main_prefill,
            draft_prefill=draft_prefill,
        )

    def _also(
        self, known: Steps, ids: Sequence[int], checking: Sequence[int], seconds: float
    ) -> Steps:
        cache = self._caches[known.context]
        taken = _in_turn(_checks(self.main, cache, ids, checking), seconds)
        more = {count: spread(taken[str(count)]) for count in checking}
        return replace(known, main={**known.main, **more})


def _acceptance(main: Any, draft: Any) -> Any:
    """Σ p·q and Σ min(p, q) at the temperature, each summed over the places."""
    width = min(main.shape[-1], draft.shape[-1])
    p, q = (
        mx.softmax(each.astype(mx.float32) / TEMPERATURE, axis=-1)[..., :width]
        for each in (main, draft)
    )
    return mx.stack([(p * q).sum(), mx.minimum(p, q).sum()])


def _prefill(model: Any, ids: Sequence[int], context: int) -> tuple[Any, Spread]:
    """A cache that holds ``context`` tokens, and the time that took.

    The first time is warm-up, unless it takes so long that warming up is nothing beside it.
    """
    shown = mx.array([_cycled(ids, context)])
    taken: list[float] = []
    cache = make_prompt_cache(model)
    while len(taken) < 3 and sum(taken) < LONG_S / 2:
        if taken:
            trim_prompt_cache(cache, context)
        started = time.perf_counter()
        mx.eval(model(shown, cache=cache), [each.state for each in cache])
        taken.append(time.perf_counter() - started)
    return cache, spread(taken[1:] or taken)


def _cycled(ids: Sequence[int], count: int) -> list[int]:
    return [ids[index % len(ids)] for index in range(count)]


def _checks(
    model: Any, cache: Any, ids: Sequence[int], counts: Sequence[int]
) -> dict[str, Callable[[], float]]:
    def check(count: int) -> Callable[[], float]:
        return lambda: _check(model, cache, ids, count)

    return {str(count): check(count) for count in counts}


def _check(model: Any, cache: Any, ids: Sequence[int], count: int) -> float:
    """One pass over ``count`` tokens, as mlx-lm checks guesses."""
    shown = mx.array([_cycled(ids, count)])
    started = time.perf_counter()
    logits = model(shown, cache=cache)[0]
    chosen = mx.argmax(logits - mx.logsumexp(logits, axis=-1, keepdims=True), axis=-1)
    mx.eval(chosen)
    chosen.tolist()
    taken = time.perf_counter() - started
    trim_prompt_cache(cache, count)
    return taken


def _chain(model: Any, cache: Any, ids: Sequence[int]) -> float:
    """``CHAIN`` tokens one after the other, each asked for before the last is there."""
    token = mx.array([ids[0]])
    started = time.perf_counter()
    for _ in range(CHAIN):
        logits = model(token[None], cache=cache)[:, -1]
        token = mx.argmax(logits - mx.logsumexp(logits, axis=-1, keepdims=True), axis=-1)
        mx.async_eval(token)  # type: ignore[no-untyped-call]
    mx.eval(token)
    taken = time.perf_counter() - started
    trim_prompt_cache(cache, CHAIN)
    return taken


def _in_turn(steps: Mapping[str, Callable[[], float]], seconds: float) -> dict[str, list[float]]:
    """Every step several times, in turn, so that a passing disturbance hits all alike."""
    until = time.perf_counter() + seconds
    for step in steps.values():
        step()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(REPEATS):
        if number > 1 and time.perf_counter() > until:
            break
        for name, step in steps.items():
            taken[name].append(step())
    return taken
