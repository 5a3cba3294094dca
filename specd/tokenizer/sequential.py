"""mlx-engine's sequential path over mlx-lm, reduced to what concerns drafts. In the worker only.

mlx-engine keeps one list of caches between requests: the main's, then the draft's. It fills both
with the prompt, the draft's first, and splits the list at the number of the main's layers. mlx-lm
alone makes two new lists for every request, so a proof with it does not apply to LM Studio.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

import mlx.core as mx
from mlx_lm.generate import (
    generate_step,
    generation_stream,
    maybe_quantize_kv_cache,
    speculative_generate_step,
)
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache

CHUNK: Final = 2048
"""Tokens of a prompt that mlx-engine processes at once."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer's token ids, how many of them the draft produced, the main's log-probabilities."""

    tokens: tuple[int, ...]
    drafted: int
    logprobs: tuple[Any, ...]


class Session:
    """A main, its draft or None, and the caches that are kept between requests.

    With ``kv_bits`` the caches are quantized from token ``kv_start`` on.
    """

    def __init__(
        self,
        main: Any,
        draft: Any = None,
        draft_tokens: int = 3,
        kv_bits: int | None = None,
        kv_group: int = 64,
        kv_start: int = 0,
    ) -> None:
        self._main = main
        self._draft = draft
        self._draft_tokens = draft_tokens
        self._kv = {"kv_bits": kv_bits, "kv_group_size": kv_group}
        self._kv["quantized_kv_start"] = kv_start
        self._tokens: list[int] = []
        self._cache = self._fresh()

    def answer(
        self, prompt: Sequence[int], tokens: int, sampler: Callable[[Any], Any] | None = None
    ) -> Said:
        """Generate exactly ``tokens`` tokens; EOS tokens do not end the answer.

        Raises:
            ValueError: mlx-lm refuses to speculate with these caches. mlx-lm may raise others.
        """
        rest = list(prompt)[self._keep(prompt) :]
        layers = len(self._main.layers)
        with mx.stream(generation_stream):
            if self._draft is not None:
                self._fill(self._draft, slice(layers, None), rest[:-1])
            self._fill(self._main, slice(layers), rest[:-1])
        options: dict[str, Any] = {
            "max_tokens": tokens,
            "sampler": sampler,
            "prompt_cache": self._cache,
            **self._kv,
        }
        last = mx.array(rest[-1:])
        steps: Iterator[Any]
        if self._draft is None:
            steps = ((*step, False) for step in generate_step(last, self._main, **options))
        else:
            options["num_draft_tokens"] = self._draft_tokens
            steps = speculative_generate_step(last, self._main, self._draft, **options)
        steps_run = [(int(token), logprobs, bool(guessed)) for token, logprobs, guessed in steps]
        written, logprobs, guessed = zip(*steps_run, strict=True)
        self._tokens = [*prompt, *written]
        return Said(written, sum(guessed), logprobs)

    def _fresh(self) -> list[Any]:
        made = list(make_prompt_cache(self._main))
        return made if self._draft is None else made + list(make_prompt_cache(self._draft))

    def _keep(self, prompt: Sequence[int]) -> int:
        """Trim the caches to the common start with ``prompt``; returns its tokens."""
        held = next((each.offset for each in self._cache if hasattr(each, "offset")), None)
        if held is None:  # like CacheList: mlx-engine starts with a new cache
            self._cache = self._fresh()
            return 0
        pairs = zip(self._tokens[:held], prompt[:-1], strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if common < held and can_trim_prompt_cache(self._cache):
            trim_prompt_cache(self._cache, held - common)
        elif common < held or held > len(self._tokens):
            self._cache = self._fresh()
            return 0
        return common

    def _fill(self, model: Any, part: slice, tokens: list[int]) -> None:
        for start in range(0, len(tokens), CHUNK):
            caches = self._cache[part]
            model(mx.array([tokens[start : start + CHUNK]]), cache=caches)
            maybe_quantize_kv_cache(caches, **self._kv)  # type: ignore[no-untyped-call]
            self._cache[part] = caches
            mx.eval([each.state for each in caches])
