from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench.expected import ENOUGH_ROUNDS, expected
from specd.bench.replay import replay
from specd.bench.result import BenchResult, Best, LengthResult
from specd.bench.use import Use

MAIN_S, DRAFT_S, MORE_S = 0.050, 0.004, 0.003
"""Seconds: a step of the main over one token, of the draft, of each token more to check."""


def texts(rate: float, seed: int = 0, tokens: int = 6000) -> list[bool]:
    """Whether the draft guesses each token, right at ``rate`` independently."""
    drawn = random.Random(seed)  # noqa: S311 - a test's draws
    return [drawn.random() < rate for _ in range(tokens)]


def benchmark(agrees: list[bool]) -> BenchResult:
    """What a benchmark of these costs finds on a text."""
    lengths = []
    for n in range(9):
        counts = replay(agrees, n, len(agrees))
        seconds = counts.rounds * (MAIN_S + n * (MORE_S + DRAFT_S))
        tps = counts.tokens / seconds
        lengths.append(LengthResult(n, 0.5, counts.accepted, counts.rounds, tps, 1.0))
    none = Best(3, 1.0, None, None)
    return BenchResult("m", "d", "mlx", "seed", "", 20.0, tuple(lengths), none, True, 1.0)


def use(agrees: list[bool], draft_tokens: int) -> Use:
    """What a chat's runs tell of a text that was answered with this draft length."""
    counts: Counter[int] = Counter()
    at = 0
    while at < len(agrees):
        right = 0
        while right < draft_tokens and at + right < len(agrees) and agrees[at + right]:
            right += 1
        counts[right] += 1
        at += right + 1
    rounds = tuple(counts[n] for n in range(draft_tokens + 1))
    return Use("m", "d", draft_tokens, 1, 20.0, 1.0, None, None, 0, 0, None, None, rounds)


@given(st.floats(0.2, 0.9), st.integers(2, 8))
def test_on_the_benchmarks_own_text_the_length_in_use_comes_out_as_predicted(
    rate: float, draft_tokens: int
) -> None:
    agrees = texts(rate)
    measured = benchmark(agrees)
    found = {each.draft_tokens: each for each in expected([use(agrees, draft_tokens)], measured)}
    predicted = measured.lengths[draft_tokens].predicted_tps
    assert found[draft_tokens].tps == pytest.approx(predicted, rel=0.002)


@given(st.floats(0.3, 0.9), st.floats(0.3, 0.9))
def test_other_prompts_than_the_benchmarks_are_foretold_from_their_own_pattern(
    asked: float, used: float
) -> None:
    """The truth: the benchmark run on the user's own text."""
    found = expected([use(texts(used, 1), 6)], benchmark(texts(asked, 2)))
    truth = benchmark(texts(used, 3)).lengths
    assert [each.draft_tokens for each in found] == [1, 2, 3, 4, 5, 6]
    for each in found:
        assert each.tps == pytest.approx(truth[each.draft_tokens].predicted_tps, rel=0.08)


def test_of_longer_drafts_than_were_used_nothing_is_claimed() -> None:
    found = expected([use(texts(0.7), 3)], benchmark(texts(0.5)))
    assert [each.draft_tokens for each in found] == [1, 2, 3]


def test_a_few_rounds_promise_nothing() -> None:
    few = use(texts(0.7, tokens=ENOUGH_ROUNDS), 3)
    assert sum(few.rounds) < ENOUGH_ROUNDS
    assert expected([few], benchmark(texts(0.5))) == ()
    assert expected([], benchmark(texts(0.5))) == ()


def test_a_server_that_told_no_rounds_promises_nothing() -> None:
    measured = benchmark(texts(0.5))
    silent = tuple(
        LengthResult(each.draft_tokens, None, None, None, each.predicted_tps, 1.0)
        for each in measured.lengths
    )
    told = BenchResult("m", "d", "server", "seed", "", 20.0, silent, measured.best, True, 1.0)
    assert expected([use(texts(0.7), 3)], told) == ()
