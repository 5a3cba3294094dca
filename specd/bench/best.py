"""The best draft length, from the predictions and from real runs, for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from specd.bench import predict
from specd.bench.confirm import Runs
from specd.bench.engine import Timed
from specd.bench.result import (
    DEFAULT_LENGTH,
    VAGUE,
    AtTemperature,
    BenchResult,
    Best,
    Confirmation,
    LengthResult,
)

UNSURE = 0.1
"""Error of a prediction: a length at most this far below the fastest can still be faster."""


def fastest(lengths: Sequence[LengthResult]) -> LengthResult:
    """The fastest length above 0."""
    return predict.best([each for each in lengths if each.draft_tokens > 0])


def to_run(lengths: Sequence[LengthResult]) -> dict[int, float]:
    """The lengths to run with their predicted speed-ups, in this order.

    0, the fastest, and ``DEFAULT_LENGTH`` if it can still be faster.
    """
    promised = {each.draft_tokens: each.predicted_speedup for each in lengths}
    tried = fastest(lengths).draft_tokens
    pays = predict.best(lengths).draft_tokens > 0
    close = promised.get(DEFAULT_LENGTH, 0.0) >= promised[tried] * (1 - UNSURE)
    usual = [DEFAULT_LENGTH] if pays and close else []
    return {each: promised[each] for each in (0, tried, *usual)}


def decide(
    lengths: Sequence[LengthResult],
    runs: Runs | None,
    used: Sequence[LengthResult] = (),
    used_runs: Runs | None = None,
) -> Best:
    """The best length from the predictions and the real ``runs``, both greedy.

    No speculation is chosen when the runs show a slowdown, or when neither the runs nor the
    prediction show a gain. ``DEFAULT_LENGTH`` replaces the predicted best when the runs show that
    it is faster. ``used`` and ``used_runs`` are those at the temperature at which the draft is
    used; they decide instead where there are any.
    """
    used = used or lengths
    length = fastest(used).draft_tokens
    tried = next(each for each in lengths if each.draft_tokens == length)
    predicted = predict.best(used).draft_tokens
    decisive = used_runs or runs
    if decisive is None:
        return Best(predicted, tried.predicted_speedup, None, None, tried.draft_tokens)
    if DEFAULT_LENGTH in decisive.answers and _below_one(
        decisive.interval(DEFAULT_LENGTH, tried.draft_tokens)
    ):
        tried = next(each for each in lengths if each.draft_tokens == DEFAULT_LENGTH)
    # One answer that took three times as long moves the mean of eight passes by 2 %.
    without_gain = decisive.typical(0, tried.draft_tokens) <= 1 + predict.TIE
    slower = _below_one(decisive.interval(0, tried.draft_tokens))
    return Best(
        0 if slower or (predicted == 0 and without_gain) else tried.draft_tokens,
        tried.predicted_speedup,
        None if runs is None else runs.speedup(0, tried.draft_tokens),
        None if runs is None else _telling(runs.interval(0, tried.draft_tokens)),
        tried.draft_tokens,
    )


def with_runs(
    result: BenchResult,
    runs: Runs,
    other_text: int,
) -> BenchResult:
    """The result with its real greedy runs of the lengths of ``to_run``."""
    _, tried, *usual = runs.answers
    unequal = len(runs.unequal())
    return replace(
        result,
        text_equal=not unequal,
        confirmation=Confirmation(
            passes=runs.passes,
            ended=runs.ended,
            over_default=runs.speedup(DEFAULT_LENGTH, tried) if usual else None,
            over_default_interval=runs.interval(DEFAULT_LENGTH, tried) if usual else None,
            outliers=runs.outliers(),
            energy=runs.energy(tried),
        ),
        near_ties=unequal - other_text,
        other_text=other_text,
    )


def at_temperature(found: AtTemperature, runs: Runs | None) -> AtTemperature:
    """``found`` with its real runs, if there was time for any."""
    if runs is None:
        return found
    length = found.draft_tokens
    return replace(
        found,
        measured_speedup=runs.speedup(0, length),
        interval=_telling(runs.interval(0, length)),
        by_class={kind: each["measured_speedup"] for kind, each in by_class(runs, length).items()},
    )


def _telling(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    """The interval; None if it is too wide to conclude anything (``VAGUE``)."""
    vague = interval is not None and interval[0] <= 1 <= interval[1] > interval[0] * VAGUE
    return None if vague else interval


def _below_one(interval: tuple[float, float] | None) -> bool:
    return interval is not None and interval[1] < 1


def by_class(runs: Runs, draft_tokens: int) -> dict[str, dict[str, float]]:
    """The measured figures of each class of prompts, without a draft and with ``draft_tokens``.

    Tokens per second, seconds to the first token, and the share of drafted tokens accepted; without
    the figures that the engine does not report.
    """
    found: dict[str, dict[str, float]] = {}
    for kind in dict.fromkeys(each.kind for each in runs.prompts):
        both = [
            pair
            for at, prompt in enumerate(runs.prompts)
            if prompt.kind == kind
            for pair in zip(runs.answers[0][at], runs.answers[draft_tokens][at], strict=False)
        ]
        without, drafted = [one for one, _ in both], [other for _, other in both]
        figures: dict[str, float | None] = {
            "baseline_tps": _tps(without),
            "measured_tps": _tps(drafted),
            "measured_speedup": _tps(drafted) / _tps(without),
            "baseline_first_token_s": _mean([each.first_token_s for each in without]),
            "first_token_s": _mean([each.first_token_s for each in drafted]),
            "acceptance": _acceptance(drafted),
        }
        found[kind] = {name: value for name, value in figures.items() if value is not None}
    return found


def _tps(answers: Sequence[Timed]) -> float:
    return sum(each.tokens for each in answers) / sum(each.seconds for each in answers)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _acceptance(answers: Sequence[Timed]) -> float | None:
    counted = [each for each in answers if each.drafted is not None]
    drafted = sum(each.drafted or 0 for each in counted)
    return sum(each.from_draft or 0 for each in counted) / drafted if drafted else None
