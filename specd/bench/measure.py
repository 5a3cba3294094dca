"""One benchmark of one pair: generate, replay, predict, then confirm by running it for real.

Runs in the worker only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from specd.bench import predict, statistics
from specd.bench.engine_mlx import Pairing
from specd.bench.predict import Answer, Costs
from specd.bench.prompts import Prompt
from specd.bench.result import BenchResult, Best, LengthResult

PASSES = 4
"""How often every prompt is run with and without the draft, unless it is decided before."""

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class _Paired:
    """Seconds of paired whole answers, and whether the texts were the same."""

    without: tuple[float, ...]
    with_draft: tuple[float, ...]
    tokens: int
    equal: bool


def benchmark(
    main: tuple[str, Path],
    draft: tuple[str, Path],
    prompts: Sequence[Prompt],
    suite: str,
    *,
    seconds: float,
    progress: Progress,
) -> BenchResult:
    """Measure a pair, each model a (name, folder), within about ``seconds``.

    Raises what mlx-lm raises for models it refuses.
    """
    started_at = datetime.now().astimezone().isoformat(timespec="seconds")
    started = time.perf_counter()
    progress({"step": "loading", "done": 0.0})
    pairing = Pairing(main[1], draft[1])
    progress({"step": "generating", "done": 0.05})
    answers, baseline = _answers(pairing, prompts, progress)
    costs = pairing.costs(pairing.encode(prompts[0]))
    lengths = predict.lengths(answers, _of_all(costs, len(answers)))
    chosen = predict.best([each for each in lengths if each.draft_tokens > 0])
    left = seconds - (time.perf_counter() - started)
    paired = _confirm(pairing, prompts, chosen.draft_tokens, left, progress)
    best = _decide(lengths, chosen, paired)
    return BenchResult(
        main=main[0],
        draft=draft[0],
        engine="mlx",
        suite=suite,
        started_at=started_at,
        baseline_tps=baseline,
        lengths=lengths,
        best=best,
        text_equal=paired.equal,
        model_seconds=time.perf_counter() - started,
        by_class=_by_class(answers, costs, chosen.draft_tokens),
        notes=() if paired.equal else ("the text with the draft differs from the one without",),
    )


def _answers(
    pairing: Pairing, prompts: Sequence[Prompt], progress: Progress
) -> tuple[list[Answer], float]:
    answers: list[Answer] = []
    tokens, taken = 0, 0.0
    for number, prompt in enumerate(prompts):
        ids = pairing.encode(prompt)
        timed = pairing.answer(ids, prompt.max_tokens, 0)
        tokens, taken = tokens + len(timed.tokens), taken + timed.seconds
        answers.append(Answer(prompt.kind, pairing.guesses(ids, timed.tokens), prompt.max_tokens))
        progress({"step": "generating", "done": 0.05 + 0.35 * (number + 1) / len(prompts)})
    return answers, tokens / taken


def _of_all(costs: Costs, answers: int) -> Costs:
    return Costs(
        costs.main_step,
        costs.draft_step,
        costs.main_prefill * answers,
        costs.draft_prefill * answers,
    )


def _confirm(
    pairing: Pairing,
    prompts: Sequence[Prompt],
    draft_tokens: int,
    seconds: float,
    progress: Progress,
) -> _Paired:
    """Whole answers with and without the draft, in turn, until decided or out of time."""
    without: list[float] = []
    with_draft: list[float] = []
    tokens = 0
    equal = True
    deadline = time.perf_counter() + max(0.0, seconds)
    for number in range(PASSES):
        for prompt in prompts:
            ids = pairing.encode(prompt)
            order = (0, draft_tokens) if number % 2 == 0 else (draft_tokens, 0)
            pair = {length: pairing.answer(ids, prompt.max_tokens, length) for length in order}
            equal = equal and pair[0].tokens == pair[draft_tokens].tokens
            tokens += len(pair[0].tokens)
            without.append(pair[0].seconds)
            with_draft.append(pair[draft_tokens].seconds)
        progress({"step": "confirming", "done": 0.4 + 0.6 * (number + 1) / PASSES})
        bounds = statistics.interval(without, with_draft, looks=PASSES)
        if bounds is not None and (bounds[0] > 1 or bounds[1] < 1) and number > 0:
            break
        if time.perf_counter() > deadline:
            break
    return _Paired(tuple(without), tuple(with_draft), tokens, equal)


def _decide(lengths: tuple[LengthResult, ...], chosen: LengthResult, paired: _Paired) -> Best:
    """No speculation wins when nothing is predicted faster, or the measurement says slower."""
    measured = statistics.speedup(paired.without, paired.with_draft)
    bounds = statistics.interval(paired.without, paired.with_draft, looks=PASSES)
    slower = bounds is not None and bounds[1] < 1
    none_is_best = predict.best(lengths).draft_tokens == 0 and (bounds is None or bounds[0] <= 1)
    draft_tokens = 0 if slower or none_is_best else chosen.draft_tokens
    return Best(draft_tokens, chosen.predicted_speedup, measured, bounds)


def _by_class(
    answers: Sequence[Answer], costs: Costs, draft_tokens: int
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for answer in answers:
        found_lengths = predict.lengths([answer], costs)
        each = found_lengths[draft_tokens]
        found[answer.kind] = {
            "acceptance": each.acceptance or 0.0,
            "predicted_tps": each.predicted_tps,
            "predicted_speedup": each.predicted_speedup,
        }
    return found
