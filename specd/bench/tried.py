"""One benchmark on an engine that only gives answers: try draft lengths, then confirm the best.

The engine gives no token-level predictions, so exact replay is impossible. If requests can set the
draft length, several are tried; real runs confirm the best. A repeated prompt gets another
beginning, so that a server's prompt cache does not make it faster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from specd.bench import best, predict
from specd.bench.confirm import (
    ANSWERING,
    ANSWERING_TWICE,
    Runs,
    answer_alone,
    confirm_as_used,
    cut_down,
    of_mix,
)
from specd.bench.engine import Engine, Timed, TimeUp
from specd.bench.prompts import Prompt
from specd.bench.result import AtTemperature, BenchRequest, BenchResult, LengthResult

SWEEP_SHARE: Final = 0.4
"""The main's own answers and trying lengths take at most this share of the time."""

WARM: Final = Prompt("warm-up", "Count from one to ten.", 4)
"""Loads the models: this time is no answer's."""

HOPELESS: Final = 2.0
ENOUGH: Final = 3
"""A length that takes this many times as long as none over as many prompts is tried no further."""


class Answering(Engine, Protocol):
    """``fixed``: the length in force if requests cannot change it, known after the first try."""

    fixed: int | None

    def in_force(self, answers: Sequence[Timed], requested: int) -> int:
        """The draft length of ``answers``; the engine may have ignored the requested one."""


def measure(
    engine: Answering, request: BenchRequest, draft: str, try_lengths: Sequence[int]
) -> tuple[BenchResult, Runs | None]:
    """Run the benchmark: the result, without notes on the engine, and the real runs.

    The lengths are tried in the given order, at the request's temperature.
    """
    begun = engine.clock()
    until = begun + request.seconds
    request.progress({"step": "generating", "done": 0.05})
    answering_s = request.seconds * (ANSWERING_TWICE if request.temperature else ANSWERING)
    engine.answer(WARM, 0)
    prompts, alone = answer_alone(
        engine, request.prompts, seconds=answering_s, weights=request.weights
    )
    answered = replace(request, prompts=prompts)
    sampled = replace(request, prompts=answered.sampled())
    lengths = _sweep(engine, sampled, alone, try_lengths, begun + request.seconds * SWEEP_SHARE)
    to_run = best.to_run(lengths)
    runs, used_runs = confirm_as_used(
        engine,
        replace(answered, seconds=until - engine.clock()),
        to_run,
        to_run,
        alone=alone,
        drawn=alone if request.temperature else (),
    )
    chosen = best.decide(lengths, runs, used_runs=used_runs)
    tried = chosen.tried or lengths[1].draft_tokens
    result = BenchResult(
        main=request.main,
        draft=draft,
        engine=engine.name,
        suite=request.suite,
        started_at=request.started_at,
        baseline_tps=_tps(prompts, alone, request.weights),
        lengths=lengths,
        best=chosen,
        text_equal=True,
        model_seconds=engine.clock() - begun,
        by_class={} if runs is None else best.by_class(runs, tried),
        notes=cut_down(request.prompts, prompts, request.weights),
        of_mix=of_mix(request.prompts, prompts, request.weights),
        at_temperature=best.at_temperature(
            AtTemperature(request.temperature, tried, None, None), used_runs
        )
        if request.temperature
        else None,
    )
    if runs is not None:
        result = best.with_runs(result, runs, runs.other_text())
    return result, runs


def _sweep(
    engine: Answering,
    request: BenchRequest,
    alone: Sequence[Timed],
    try_lengths: Sequence[int],
    until: float,
) -> tuple[LengthResult, ...]:
    """Measure draft lengths while there is time, at least one; in the order of length, 0 first.

    A length that is far slower than none (``HOPELESS``), or whose time is up, is broken off; its
    speed-up is that of the prompts before.
    """
    baseline = _tps(request.prompts, alone, request.weights)
    found = {0: LengthResult(0, 0.0, 0, sum(each.tokens for each in alone), baseline, 1.0)}
    begun = engine.clock()
    for number, draft_tokens in enumerate(try_lengths):
        each_s = (engine.clock() - begun) / number if number else 0.0
        if number and engine.clock() + each_s > until:
            break
        answers: list[Timed] = []
        asked_at = math.inf  # loading the models is no answer's time
        try:
            engine.answer(WARM, draft_tokens)
            for prompt in request.prompts:
                asked_at = engine.clock()
                answers.append(engine.answer(prompt, draft_tokens))
                if engine.clock() > until or _hopeless(answers, alone):
                    break
        except TimeUp:
            at, waited = len(answers), engine.clock() - asked_at
            if waited > alone[at].seconds:
                # The rest of the answer was still to come: its speed is at most that.
                answers.append(Timed((), request.prompts[at].max_tokens, waited))
            if not answers and number:
                break
            if not answers:
                raise
        in_force = engine.in_force(answers, draft_tokens)
        asked = request.prompts[: len(answers)]
        over = _tps(asked, answers, request.weights) / _tps(asked, alone, request.weights)
        found[in_force] = _length(in_force, answers, over, baseline)
        done = 0.05 + 0.45 * (number + 1) / len(try_lengths)
        request.progress({"step": "generating", "done": done})
        if engine.fixed is not None:
            break
    return tuple(found[length] for length in sorted(found))


def _hopeless(answers: Sequence[Timed], alone: Sequence[Timed]) -> bool:
    # Per token: at a temperature an answer has another length.
    own = [each.seconds / each.tokens for each in alone[: len(answers)]]
    return len(answers) >= ENOUGH and sum(
        each.seconds / each.tokens for each in answers
    ) > HOPELESS * sum(own)


def _length(
    draft_tokens: int, answers: Sequence[Timed], over: float, baseline: float
) -> LengthResult:
    counted = [each for each in answers if each.drafted is not None]
    drafted = sum(each.drafted or 0 for each in counted)
    accepted = sum(each.from_draft or 0 for each in counted)
    return LengthResult(
        draft_tokens=draft_tokens,
        acceptance=(accepted / drafted if drafted else 0.0) if counted else None,
        accepted=accepted if counted else None,
        rounds=sum(each.tokens for each in counted) - accepted if counted else None,
        predicted_tps=over * baseline,
        predicted_speedup=over,
    )


def _tps(
    prompts: Sequence[Prompt], answers: Sequence[Timed], weights: Mapping[str, float]
) -> float:
    return predict.tokens_per_second(
        [(p.kind, a.tokens, a.seconds) for p, a in zip(prompts, answers, strict=False)], weights
    )


class Repeated:
    """Gives a prompt another beginning for each repetition with one draft length.

    The n-th repetition has the same text with every draft length.
    """

    def __init__(self) -> None:
        self._times: dict[tuple[str, float, int], int] = {}

    def text(self, prompt: Prompt, draft_tokens: int) -> str:
        """The prompt's text for the next request with ``draft_tokens``."""
        way = (prompt.text, prompt.temperature, draft_tokens)
        times = self._times[way] = self._times.get(way, -1) + 1
        return self.mark(prompt, times)

    def mark(self, prompt: Prompt, times: int) -> str:
        """The prompt's text for its n-th repetition."""
        return f"[{times}] {prompt.text}" if times else prompt.text

    def count_as(self, requested: int, in_force: int) -> None:
        """Continue the count of the requested length under the length in force."""
        for (text, temperature, draft_tokens), times in tuple(self._times.items()):
            if draft_tokens == requested:
                self._times[text, temperature, in_force] = times
