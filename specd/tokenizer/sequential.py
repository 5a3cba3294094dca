"""mlx-engine's sequential path over mlx-lm, reduced to what concerns drafts. In the worker only.

mlx-engine keeps one list of caches between requests: the main's, then the draft's. It fills both
with the prompt, the draft's first, and splits the list at the number of the main's layers. mlx-lm
alone makes two new lists for every request, so a proof with it does not apply to LM Studio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final

import mlx.core as mx
from mlx_lm.generate import generate_step, generation_stream, speculative_generate_step
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache

CHUNK: Final = 2048
"""Tokens of a prompt that mlx-engine processes at once."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer's token ids, and how many of them the draft produced."""

    tokens: tuple[int, ...]
    drafted: int


class Session:
    """A main, its draft or None, and the caches that are kept between requests."""

    def __init__(self, main: Any, draft: Any = None, draft_tokens: int = 3) -> None:
        self._main = main
        self._draft = draft
        self._draft_tokens = draft_tokens
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
                self._fill(self._draft, self._cache[layers:], rest[:-1])
            self._fill(self._main, self._cache[:layers], rest[:-1])
        options: dict[str, Any] = {
            "max_tokens": tokens,
            "sampler": sampler,
            "prompt_cache": self._cache,
        }
        last = mx.array(rest[-1:])
        if self._draft is None:
            steps = ((token, False) for token, _ in generate_step(last, self._main, **options))
        else:
            steps = (
                (token, guessed)
                for token, _, guessed in speculative_generate_step(
                    last,
                    self._main,
                    self._draft,
                    num_draft_tokens=self._draft_tokens,
                    **options,
                )
            )
        said = [(int(token), bool(guessed)) for token, guessed in steps]
        self._tokens = [*prompt, *(token for token, _ in said)]
        return Said(tuple(token for token, _ in said), sum(guessed for _, guessed in said))

    def _fresh(self) -> list[Any]:
        made = list(make_prompt_cache(self._main))
        return made if self._draft is None else made + list(make_prompt_cache(self._draft))

    def _keep(self, prompt: Sequence[int]) -> int:
        """Trim the caches to the common start with ``prompt``; returns its tokens."""
        held = next((each.offset for each in self._cache if hasattr(each, "offset")), 0)
        pairs = zip(self._tokens[:held], prompt[:-1], strict=False)
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        if common < held and can_trim_prompt_cache(self._cache):
            trim_prompt_cache(self._cache, held - common)
        elif common < held or held > len(self._tokens):
            self._cache = self._fresh()
            return 0
        return common

    def _fill(self, model: Any, caches: list[Any], tokens: list[int]) -> None:
        for start in range(0, len(tokens), CHUNK):
            model(mx.array([tokens[start : start + CHUNK]]), cache=caches)
            mx.eval([each.state for each in caches])
