"""Generation with mlx-lm on model folders: timed answers, both models' predictions, step costs.

Steps are measured as mlx-lm runs them: the main alone requests the next token before it reads the
last, a draft's tokens are chained, a verification pass processes all its tokens at once.

Runs in the worker only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import mlx.core as mx
import psutil
from mlx_lm import load, stream_generate
from mlx_lm.generate import maybe_quantize_kv_cache
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache
from mlx_lm.sample_utils import apply_min_p, apply_top_k, apply_top_p, make_sampler

from specd.bench.costs import Costs, Steps
from specd.bench.engine import Timed
from specd.bench.predict import StudiedAnswer
from specd.bench.prompts import Prompt
from specd.bench.result import EngineName
from specd.lmstudio.chat_settings import ChatSettings
from specd.tokenizer.kv_cache import flat, smallest_window

REPEATS = 9
"""Measurements of each step, if there is time."""

CHAIN = 4
"""Drafted or plain tokens in one timing."""

LONG = (8192, 2048, 1024, 512, 256, 128)
LONG_S = 2.0
"""The long context is the longest one that both models process within this time."""

AT_ONCE = 32
"""Positions whose logits are computed at once; more would only take memory."""

READ_AT_ONCE = 512
"""Tokens of a prompt in one pass."""

KEPT_BYTES = 128 << 20
"""Most bytes of the main's log-probabilities that are stored; the rest is computed again."""

WARM = Prompt("warm-up", "Hi", 4)

ROUNDING = 4
"""Two logits at most this many units of their type's precision apart are a tie."""


@dataclass(frozen=True, slots=True)
class Main:
    """A main model in memory.

    ``thoughts``: its log-probabilities at every position of a greedy answer without a draft, by
    prompt and token ids. Drafts are compared with them.
    """

    model: Any
    tokenizer: Any
    thoughts: dict[tuple[Prompt, tuple[int, ...]], list[Any]] = field(default_factory=dict)

    def keep(self, prompt: Prompt, output: tuple[int, ...], thoughts: list[Any]) -> None:
        """Store the log-probabilities if they are complete and there is room."""
        kept = sum(each.nbytes for known in self.thoughts.values() for each in known)
        if (
            output
            and len(thoughts) == len(output)
            and kept + sum(each.nbytes for each in thoughts) < KEPT_BYTES
        ):
            self.thoughts.setdefault((prompt, output), thoughts)


def open_main(folder: Path) -> Main:
    """Load a main model; raises what mlx-lm raises for one it refuses."""
    # trust_remote_code stays off: mlx-lm builds its own classes from config.json.
    model, tokenizer, *_ = load(str(folder))
    return Main(model, tokenizer)


def open_draft(folder: Path) -> Any:
    """Load a draft; raises what mlx-lm raises for one it refuses."""
    return load(str(folder))[0]


class MlxEngine:
    """A main and a draft in memory; ``settings`` are those of chats.

    As in LM Studio's engine both KV caches are quantized, if one is, from the first token on.
    """

    name: ClassVar[EngineName] = "mlx"
    clock = staticmethod(time.perf_counter)

    def __init__(
        self,
        main: Main,
        draft: Any,
        settings: ChatSettings = ChatSettings(),  # noqa: B008 - frozen
    ) -> None:
        self.main = main.model
        self.tokenizer = main.tokenizer
        self._known = main
        self._narrowed: Mapping[str, Any] = settings.narrowed
        self._kv: dict[str, Any] = {
            "kv_bits": settings.kv_bits,
            "kv_group_size": settings.kv_group,
            "quantized_kv_start": 0,
        }
        self.draft = draft
        self._caches: dict[int, Any] = {}

    @property
    def longest(self) -> int:
        """Tokens: the smallest of the models' limits and what half of the free memory holds."""
        limits = [
            int(getattr(getattr(model, "args", None), "max_position_embeddings", 0) or 1 << 20)
            for model in (self.main, self.draft)
        ]
        per_token = sum(map(_cache_bytes, (self.main, self.draft)))
        return min(*limits, int(psutil.virtual_memory().available / 2 / max(1.0, per_token)))

    def fits(self, prompt: Prompt) -> bool:
        """Whether the prompt and its answer have at most ``longest`` tokens."""
        return len(self.encode(prompt)) + prompt.max_tokens <= self.longest

    def encode(self, prompt: Prompt) -> list[int]:
        """The token ids of the prompt, formatted by the chat template."""
        if self.tokenizer.chat_template is None:
            return list(self.tokenizer.encode(prompt.text))
        messages = [{"role": "user", "content": prompt.text}]
        template: Any = self.tokenizer.apply_chat_template
        return list(template(messages, add_generation_prompt=True, enable_thinking=prompt.thinks))

    def warm_up(self) -> None:
        """Generate a few tokens with and without the draft, which compiles the kernels."""
        for draft_tokens in (0, 1):
            self.answer(WARM, draft_tokens)

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        """Generate an answer; ``draft_tokens`` 0 is without the draft."""
        extra = dict(self._kv)
        if prompt.temperature:
            extra["sampler"] = make_sampler(prompt.temperature, **self._narrowed)
        if draft_tokens:
            extra |= {"draft_model": self.draft, "num_draft_tokens": draft_tokens}
        ids = self.encode(prompt)
        output: list[int] = []
        thoughts: list[Any] = []
        from_draft, first = 0, None
        started = time.perf_counter()
        for response in stream_generate(
            self.main, self.tokenizer, ids, max_tokens=prompt.max_tokens, **extra
        ):
            output.append(int(response.token))
            if not draft_tokens and not prompt.temperature:
                thoughts.append(response.logprobs)
            first = first or time.perf_counter() - started
            from_draft += bool(response.from_draft)
        seconds = time.perf_counter() - started
        # mlx-lm has already begun one more token; wait for it, so that it delays nothing timed.
        mx.synchronize()
        self._known.keep(prompt, tuple(output), thoughts)
        return Timed(tuple(output), len(output), seconds, from_draft, first_token_s=first)

    def study(self, prompt: Prompt, answer: Timed) -> StudiedAnswer:
        """One pass of the draft over the main's answer, with the main's tokens as its context.

        At a temperature also one pass of the main, for its probabilities.
        """
        ids, output = self.encode(prompt), [int(token) for token in answer.output]
        agrees: list[float] = []
        drawn: list[float] = []
        mains = self._shown(self.main, ids, output) if prompt.temperature else None
        for logits in self._shown(self.draft, ids, output):
            places = slice(len(agrees), len(agrees) + logits.shape[0])
            right: Any = mx.argmax(logits, axis=-1) == mx.array(output[places])
            agrees.extend(float(each) for each in right.tolist())
            if mains is not None:
                accepted = _acceptance(next(mains), logits, prompt.temperature, self._narrowed)
                drawn.extend(float(each) for each in accepted.tolist())
        left: list[float] = []
        cache = make_prompt_cache(self.draft)
        full = (smallest_window(cache) or inf) < len(ids) + len(output)
        if full or not can_trim_prompt_cache(cache):
            left = self._left_behind(ids, output)
            if drawn:
                share = sum(left) / max(1.0, sum(agrees))
                left = [min(1.0, each * share) for each in drawn]
        chances = tuple(drawn or agrees)
        return StudiedAnswer(prompt.kind, len(ids), chances, prompt.max_tokens, tuple(left))

    def same_but_for_rounding(self, prompt: Prompt, alone: Timed, drafted: Timed) -> bool:
        """Compare the main's two logits where the answers differ, in a pass over many tokens.

        If its log-probabilities from single tokens are known, twice the difference between both
        passes also counts as rounding. In a quantized cache this is far more than its type's.
        """
        one, other = ([int(token) for token in each.output] for each in (alone, drafted))
        at = next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        if at is None:
            return False  # one of them ended early
        ids = self.encode(prompt)
        *_, rows = self._shown(self.main, ids, one[: at + 1])
        logits = rows[-1]
        values = [float(logits[token].item()) for token in (one[at], other[at])]
        rounding = ROUNDING * float(mx.finfo(logits.dtype).eps) * max(1.0, *map(abs, values))
        gap = values[0] - values[1]
        thoughts = self._known.thoughts.get((prompt, tuple(one)))
        if thoughts is None and self._kv["kv_bits"]:
            again = stream_generate(self.main, self.tokenizer, ids, max_tokens=at + 1, **self._kv)
            thoughts = [each.logprobs for each in again]
        if thoughts is not None:
            alone_gap = float((thoughts[at][one[at]] - thoughts[at][other[at]]).item())
            rounding = max(rounding, 2 * abs(gap - alone_gap))
        return abs(gap) <= rounding

    def costs(
        self,
        prompt: Prompt,
        *,
        verifying: Sequence[int],
        seconds: float,
        known: Costs | None = None,
    ) -> Costs:
        """Measure steps after this prompt and after a long one, without the warm-up.

        If the first takes most of ``seconds``, it serves as both.
        """
        ids = self.encode(prompt)
        each_s = seconds / 2
        if known is not None:
            short = self._also(known.short, ids, verifying, each_s)
            if known.long is known.short:
                return Costs(short, short)
            return Costs(short, self._also(known.long, ids, verifying, each_s))
        begun = time.perf_counter()
        short = self._steps(ids, len(ids), verifying, each_s)
        if time.perf_counter() - begun > 1.5 * each_s:
            return Costs(short, short)
        per_token = (short.main_prefill + short.draft_prefill) / len(ids)
        affordable = [each for each in LONG if each * per_token < LONG_S]
        long = max([*affordable, len(ids) + LONG[-1]])
        return Costs(short, self._steps(ids, long, verifying, each_s))

    def _steps(
        self, ids: Sequence[int], context: int, verifying: Sequence[int], seconds: float
    ) -> Steps:
        until = time.perf_counter() + seconds
        main_cache, main_prefill = self._prefill(self.main, ids, context)
        draft_cache, draft_prefill = self._prefill(self.draft, ids, context)
        # Every step restores the cache, so that further counts need no second prefill.
        self._caches[context] = main_cache
        steps: dict[str, Callable[[], float]] = {
            "plain": lambda: _chain(self.main, main_cache, ids) / CHAIN,
            "draft": lambda: _chain(self.draft, draft_cache, ids) / CHAIN,
            "one": lambda: _check(self.draft, draft_cache, ids, 1),
            "two": lambda: _check(self.draft, draft_cache, ids, 2),
        }
        taken = _in_turn(steps | _checks(self.main, main_cache, ids, verifying), until)
        catch_up = [two - one for one, two in zip(taken["one"], taken["two"], strict=True)]
        return Steps(
            context=context,
            plain=median(taken["plain"]),
            main={count: median(taken[str(count)]) for count in verifying},
            draft=median(taken["draft"]),
            catch_up=median(catch_up),
            main_prefill=main_prefill,
            draft_prefill=draft_prefill,
        )

    def _also(
        self, known: Steps, ids: Sequence[int], verifying: Sequence[int], seconds: float
    ) -> Steps:
        cache = self._caches[known.context]
        taken = _in_turn(_checks(self.main, cache, ids, verifying), time.perf_counter() + seconds)
        more = {count: median(taken[str(count)]) for count in verifying}
        return replace(known, main={**known.main, **more})

    def _read(self, model: Any, ids: Sequence[int], cache: Any) -> Any:
        """The logits after each of ``ids``, which are appended to the cache, as mlx-lm does it."""
        logits = model(mx.array([ids]), cache=cache)[0]
        maybe_quantize_kv_cache(cache, **self._kv)  # type: ignore[no-untyped-call]
        mx.eval(logits, [each.state for each in cache])
        return logits

    def _before_last(self, model: Any, ids: Sequence[int]) -> Any:
        """A cache that holds all of ``ids`` but the last."""
        cache = make_prompt_cache(model)
        for start in range(0, len(ids) - 1, READ_AT_ONCE):
            self._read(model, ids[start : min(start + READ_AT_ONCE, len(ids) - 1)], cache)
        return cache

    def _shown(self, model: Any, ids: Sequence[int], output: Sequence[int]) -> Iterator[Any]:
        """The logits at every position of an answer, at most ``AT_ONCE`` at a time.

        Each array has the shape (positions, tokens).
        """
        cache = self._before_last(model, ids)
        shown = [ids[-1], *output[:-1]]
        for start in range(0, len(shown), AT_ONCE):
            yield self._read(model, shown[start : start + AT_ONCE], cache)

    def _left_behind(self, ids: Sequence[int], output: Sequence[int]) -> list[float]:
        """Which of an answer's tokens the draft predicts: 0 or 1.

        For a draft in whose cache refused tokens stay: mlx-lm's rounds are run, with one length.
        """
        cache = self._before_last(self.draft, ids)
        agrees: list[float] = []
        unread = [ids[-1]]
        while len(agrees) < len(output):
            rest = output[len(agrees) :]
            drafted: list[int] = []
            for _ in range(min(CHAIN, len(rest))):
                logits: Any = self._read(self.draft, unread, cache)[-1]
                unread = [int(logits.argmax().item())]
                drafted += unread
            right = next((n for n, each in enumerate(drafted) if each != rest[n]), len(drafted))
            trim_prompt_cache(cache, max(len(drafted) - right - 1, 0))
            agrees += [1.0] * right
            if right < len(rest):
                # The main writes this token; after a fully accepted round the draft predicts none.
                agrees.append(float(right == len(drafted)))
                unread = [*(drafted[-1:] if right == len(drafted) else []), rest[right]]
        return agrees

    def _prefill(self, model: Any, ids: Sequence[int], context: int) -> tuple[Any, float]:
        """A cache that holds ``context`` tokens, and the seconds of filling it.

        The first fill is warm-up, unless it takes so long that the warm-up hardly matters.
        """
        shown = _cycled(ids, context)
        taken: list[float] = []
        cache = make_prompt_cache(model)
        while len(taken) < 3 and sum(taken) < LONG_S / 2:
            if taken:
                trim_prompt_cache(cache, context)
            started = time.perf_counter()
            self._read(model, shown, cache)
            taken.append(time.perf_counter() - started)
        return cache, median(taken[1:] or taken)


def _acceptance(main: Any, draft: Any, temperature: float, narrowed: Mapping[str, float]) -> Any:
    """Σ p·q at each position: the probability that both models sample the same token."""
    width = min(main.shape[-1], draft.shape[-1])
    p, q = (_drawn(each, temperature, narrowed)[..., :width] for each in (main, draft))
    return (p * q).sum(axis=-1)


def _drawn(logits: Any, temperature: float, narrowed: Mapping[str, float]) -> Any:
    """The probabilities of mlx-lm's sampler."""
    logits = logits.astype(mx.float32)
    kept = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
    if 0 < narrowed["top_p"] < 1:
        kept = apply_top_p(kept, narrowed["top_p"])
    if narrowed["min_p"]:
        kept = apply_min_p(kept, narrowed["min_p"])
    if narrowed["top_k"]:
        kept = apply_top_k(kept, int(narrowed["top_k"]))
    return mx.softmax(kept / temperature, axis=-1)


def _cache_bytes(model: Any) -> float:
    """Bytes of one token in a model's cache, measured with a first step."""
    cache = make_prompt_cache(model)
    mx.eval(model(mx.array([[0]]), cache=cache))
    growing = [each for each in flat(cache) if hasattr(each, "keys")]  # recurrent state does not
    parts = [part for each in growing for part in (each.keys, each.values) if part is not None]
    return float(sum(part.nbytes / part.shape[2] for part in parts))


def _cycled(ids: Sequence[int], count: int) -> list[int]:
    return [ids[index % len(ids)] for index in range(count)]


def _checks(
    model: Any, cache: Any, ids: Sequence[int], counts: Sequence[int]
) -> dict[str, Callable[[], float]]:
    def check(count: int) -> Callable[[], float]:
        return lambda: _check(model, cache, ids, count)

    return {str(count): check(count) for count in counts}


def _check(model: Any, cache: Any, ids: Sequence[int], count: int) -> float:
    """Seconds of one pass over ``count`` tokens, as mlx-lm verifies drafted tokens."""
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
    """Seconds of ``CHAIN`` tokens in turn, each requested before the last is computed."""
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


def _in_turn(steps: Mapping[str, Callable[[], float]], until: float) -> dict[str, list[float]]:
    """Seconds of every step, several times in turn, so that a disturbance affects all alike."""
    first = {name: step() for name, step in steps.items()}
    # The first round is warm-up, unless it takes so long that the warm-up hardly matters.
    slow = time.perf_counter() > until
    taken = {name: [seconds] if slow else [] for name, seconds in first.items()}
    for number in range(slow, REPEATS):
        if number > 1 and time.perf_counter() > until:
            break
        for name, step in steps.items():
            taken[name].append(step())
    return taken
