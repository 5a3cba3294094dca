"""Real runs, side by side: no draft, the length in question, and the length everybody uses.

First the main answers alone. Then every prompt is answered each way in a pass, in an order that
turns, so that whatever the machine does meanwhile falls on all sides alike. After some passes the
interval is looked at, and the runs end as soon as it excludes 1. Any ``Engine`` will do.

The main's first answers count as the first pass without a draft, unless the second says that the
machine has become another since: then they are answered once more.

Runs in the worker only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from specd.bench import statistics
from specd.bench.engine import Engine, Timed
from specd.bench.predict import token_shares
from specd.bench.prompts import QUICK_TOKENS, Prompt
from specd.bench.result import Ending, Outlier
from specd.bench.statistics import LEVEL_OF_A_LOOK, LOOKS, Paired

ANSWERING = 1 / 8
"""Of the time there is, what the main's own answers may take: with it, two passes of three ways and
what comes before them fit into the time, however slow the main is."""

MOVED = 0.05
"""The main's first answers are no longer to be compared with when it has become so much faster or
slower since, in the median of all prompts."""

Say = Callable[[float], None]
"""Told how much of the most that may be run is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Answers by draft length and prompt, one for every pass that ran the length."""

    prompts: tuple[Prompt, ...]
    answers: Mapping[int, tuple[tuple[Timed, ...], ...]]
    ended: Ending
    weights: Mapping[str, float]

    @property
    def passes(self) -> int:
        """How often every prompt was answered each way."""
        return len(self.answers[0][0])

    def pairs(self, one: int, other: int) -> tuple[Paired, ...]:
        """Seconds per token of two draft lengths, prompt by prompt, of passes that ran both."""
        tokens = [(p.kind, a[0].tokens) for p, a in zip(self.prompts, self.answers[0], strict=True)]
        shares = token_shares(tokens, self.weights)
        found: list[Paired] = []
        for at, (share, (_, count)) in enumerate(zip(shares, tokens, strict=True)):
            both = list(zip(self.answers[one][at], self.answers[other][at], strict=False))
            found.append(
                Paired(
                    share * count,
                    tuple(each.seconds / each.tokens for each, _ in both),
                    tuple(each.seconds / each.tokens for _, each in both),
                )
            )
        return tuple(found)

    def speedup(self, one: int, other: int) -> float:
        """How much faster ``other`` draft tokens are than ``one``."""
        return statistics.speedup(self.pairs(one, other))

    def interval(self, one: int, other: int) -> tuple[float, float] | None:
        """Its interval, at a level that holds although the runs ended when it was decided."""
        return statistics.interval(self.pairs(one, other), level=LEVEL_OF_A_LOOK)

    def unequal(self) -> tuple[int, ...]:
        """The prompt of every answer with a draft that differs from the one without."""
        return tuple(
            at
            for length, of_length in self.answers.items()
            if length
            for at, answers in enumerate(of_length)
            for answer in answers
            if answer.said != self.answers[0][at][0].said
        )

    def outliers(self) -> tuple[Outlier, ...]:
        """Answers that took unlike the others of their prompt; they count all the same."""
        found = {
            Outlier(self.prompts[prompt].kind, run + 1, times)
            for length in self.answers
            for prompt, run, times in statistics.outliers(self.pairs(length, length))
        }
        return tuple(sorted(found, key=lambda each: (each.run, each.kind, each.times)))


def answer_alone(
    engine: Engine, prompts: Sequence[Prompt], *, seconds: float, say: Say = lambda _: None
) -> tuple[tuple[Prompt, ...], tuple[Timed, ...]]:
    """The main's own answers within about ``seconds``, and the prompts as they were asked.

    A slow main answers all of them, but shorter; only one so slow that this would leave less than
    ``QUICK_TOKENS`` of each is asked fewer, and at least one.
    """
    asked: list[Prompt] = []
    answers: list[Timed] = []
    begun = engine.clock()
    for number, prompt in enumerate(prompts):
        if answers:
            spent = engine.clock() - begun
            affordable = sum(each.tokens for each in answers) * (seconds - spent) / spent
            prompt = _shortened(prompt, prompts[number:], affordable)  # noqa: PLW2901
            if prompt.max_tokens > affordable:
                break
        asked.append(prompt)
        answers.append(engine.answer(asked[-1], 0))
        say(len(answers) / len(prompts))
    return tuple(asked), tuple(answers)


def _shortened(prompt: Prompt, to_come: Sequence[Prompt], tokens: float) -> Prompt:
    """``prompt``, which is the first of those to come, with its fair share of ``tokens``."""
    least = min(QUICK_TOKENS, prompt.max_tokens)
    more = [max(0, each.max_tokens - QUICK_TOKENS) for each in to_come]
    left = tokens - sum(min(QUICK_TOKENS, each.max_tokens) for each in to_come)
    share = min(1.0, max(0.0, left / sum(more))) if any(more) else 1.0
    return replace(prompt, max_tokens=least + int(more[0] * share))


def cut_down(prompts: Sequence[Prompt], asked: Sequence[Prompt]) -> str | None:
    """What to say when there was no time for all prompts, or for their whole answers."""
    if len(asked) < len(prompts):
        return (
            f"only {len(asked)} of {len(prompts)} prompts were asked: the main is too slow for "
            "all of them in the time given"
        )
    share = sum(each.max_tokens for each in asked) / sum(each.max_tokens for each in prompts)
    if share < 1:
        return (
            f"answers were cut to {share:.0%} of their length: the main is too slow for whole ones "
            "in the time given"
        )
    return None


def confirm(
    engine: Engine,
    prompts: Sequence[Prompt],
    lengths: Mapping[int, float],
    *,
    alone: Sequence[Timed],
    weights: Mapping[str, float],
    seconds: float,
    say: Say = lambda _: None,
) -> Runs | None:
    """Answer every prompt with each of ``lengths``: 0 first, then the one in question.

    Further lengths are there to be compared with the one in question, and run until that is
    decided. ``alone`` are answers to all prompts without a draft. Begins no pass that would not end
    within ``seconds``, told by the speed-ups that the lengths promise until one has been made. None
    when there is no time for any.
    """
    answers: dict[int, list[list[Timed]]] = {length: [[] for _ in prompts] for length in lengths}
    answers[0] = [[each] for each in alone]
    once = sum(each.seconds for each in alone)
    expected = sum(once / promised for promised in lengths.values())
    running = list(lengths)
    _, tried, *_ = running
    until = engine.clock() + seconds
    begun = engine.clock() - once  # with the answers that are there
    ended: Ending = "enough"
    runs: Runs | None = None
    for number in range(LOOKS[-1]):
        if number:
            expected = (engine.clock() - begun) / number
        if begun + expected * (number + 1) > until:
            ended = "time"
            break
        for at, prompt in enumerate(prompts):
            for length in _turned(running, number + at):
                if length or number:
                    answers[length][at].append(engine.answer(prompt, length))
            say((number + (at + 1) / len(prompts)) / LOOKS[-1])
        if number == 1 and _moved(answers[0]):
            _replace_first(engine, prompts, answers, until - engine.clock())
        runs = _runs(prompts, answers, "enough", weights)
        if number + 1 in LOOKS:
            if _decided(runs.interval(0, tried)):
                ended = "decided"
                break
            others = [each for each in running[2:] if not _decided(runs.interval(each, tried))]
            running = [0, tried, *others]
    return runs and _runs(prompts, answers, ended, weights)


def _moved(alone: Sequence[Sequence[Timed]]) -> bool:
    changes = [math.log(second.seconds / first.seconds) for first, second in alone]
    return abs(median(changes)) > MOVED


def _replace_first(
    engine: Engine,
    prompts: Sequence[Prompt],
    answers: Mapping[int, list[list[Timed]]],
    seconds: float,
) -> None:
    """Answer alone anew in place of the first time; without time for it, drop that pass."""
    in_time = sum(second.seconds for _, second in answers[0]) <= seconds
    if in_time:
        for prompt, of_prompt in zip(prompts, answers[0], strict=True):
            of_prompt[0] = engine.answer(prompt, 0)
        return
    for of_length in answers.values():
        for of_prompt in of_length:
            del of_prompt[0]


def _runs(
    prompts: Sequence[Prompt],
    answers: Mapping[int, Sequence[Sequence[Timed]]],
    ended: Ending,
    weights: Mapping[str, float],
) -> Runs:
    kept = {length: tuple(map(tuple, each)) for length, each in answers.items()}
    return Runs(tuple(prompts), kept, ended, weights)


def _turned(lengths: Sequence[int], by: int) -> list[int]:
    """Every order of two in turn, and every length first equally often."""
    start = by % len(lengths)
    return [*lengths[start:], *lengths[:start]]


def _decided(interval: tuple[float, float] | None) -> bool:
    return interval is not None and (interval[0] > 1 or interval[1] < 1)
