"""A length is judged by its answers, not by the time in which its models are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from specd.bench import tried
from specd.bench.engine import Timed, TimeUp
from specd.bench.prompts import Prompt
from specd.bench.result import BenchRequest, EngineName

PROMPTS = tuple(Prompt(kind, kind, 48) for kind in ("code", "chat", "json"))


@dataclass
class LoadsSlowly:
    """Loads its models for each draft length in ``load_s``; an answer takes ``answer_s``."""

    load_s: float
    until: float
    answer_s: dict[int, float]
    fixed: int | None = None
    now: float = 0.0
    loaded: set[int] = field(default_factory=set)

    name: ClassVar[EngineName] = "llama.cpp"

    def fits(self, prompt: Prompt) -> bool:
        return prompt.max_tokens > 0

    def in_force(self, answers: object, requested: int) -> int:
        assert answers
        return requested

    def clock(self) -> float:
        return self.now

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        if draft_tokens not in self.loaded:
            self.now += self.load_s
            self.loaded.add(draft_tokens)
        takes = self.answer_s[draft_tokens] * prompt.max_tokens / 48
        allowed = max(1.0, self.until - self.now)
        self.now += min(takes, allowed)
        if takes > allowed:
            raise TimeUp("the time is up")
        return Timed(tuple(range(prompt.max_tokens)), prompt.max_tokens, takes)


def asked(seconds: float) -> BenchRequest:
    return BenchRequest("main", PROMPTS, "standard", {}, seconds, "2026-01-01T00:00:00Z")


def test_a_slow_load_of_a_draft_tells_nothing_about_its_answers() -> None:
    engine = LoadsSlowly(load_s=30, until=60, answer_s={0: 2, 4: 20})
    with pytest.raises(TimeUp):
        tried.measure(engine, asked(60), "draft", (4,))


def test_an_answer_that_outlasts_the_time_is_at_most_that_fast() -> None:
    engine = LoadsSlowly(load_s=1, until=20, answer_s={0: 2, 4: 100})
    result, runs = tried.measure(engine, asked(20), "draft", (4,))
    assert runs is None
    assert result.far_slower
