"""mlx-engine's sequential path over mlx-lm, as far as a draft is concerned. In the worker only.

It keeps one list of caches between requests, the main's and then the draft's; fills both with the
prompt, the draft's first, and parts the list at the number of the main's layers. mlx-lm left to
itself makes two lists for every request, and so proves nothing about LM Studio.
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
"""How many tokens of a prompt mlx-engine processes at once."""


@dataclass(frozen=True, slots=True)
class Said:
    """An answer's ids, and how many of them the draft had guessed."""

    tokens: tuple[int, ...]
    drafted: int


class Session:
    """A main, its draft or None, and the caches that stay between requests."""

    def __init__(self, main: Any, draft: Any = None, draft_tokens: int = 3) -> None:
        self._main = main
        self._draft = draft
        self._draft_tokens = draft_tokens
        self._tokens: list[int] = []
        self._cache = self._fresh()

    def answer(
        self, prompt: Sequence[int], tokens: int, sampler: Callable[[Any], Any] | None = None
    ) -> Said:
        """``tokens`` more tokens; what ends an answer ends none here.

        Raises:
            ValueError: mlx-lm refuses to speculate with these caches; whatever else it raises.
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
        """Keep what the caches hold of the prompt's start; how many tokens that is."""
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
