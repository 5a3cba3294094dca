"""Intervals hold the truth as often as they say, also when a measurement ends once decided."""

from __future__ import annotations

import numpy as np
import pytest

from specd.bench import statistics
from specd.bench.statistics import LEVEL_OF_A_LOOK, LOOKS, Paired
from tests.conftest import Figures

PROMPTS = 7


def measured(
    rng: np.random.Generator, truth: np.ndarray, passes: int, noise: float, disturbed: float
) -> list[Paired]:
    """Times of prompts of unlike lengths and speed-ups; ``disturbed`` is the share of slow runs."""
    pairs = []
    for number, speedup in enumerate(truth):
        together = rng.normal(0, 0.1, passes)  # a slow minute hits both sides of a pair
        one, other = (
            np.exp(together + rng.normal(0, noise, passes))
            * np.where(rng.random(passes) < disturbed, rng.uniform(1.2, 2, passes), 1)
            for _ in range(2)
        )
        pairs.append(
            Paired(0.5 + number, tuple((number + 1) * one), tuple((number + 1) / speedup * other))
        )
    return pairs


def true_speedup(truth: np.ndarray) -> float:
    weights = np.array([(0.5 + number) * (number + 1) for number in range(len(truth))])
    return float(weights.sum() / (weights / truth).sum())


def covered(*, trials: int, passes: int, noise: float, disturbed: float, prompts: int) -> float:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(trials):
        truth = rng.uniform(0.7, 2.0, prompts)
        bounds = statistics.interval(measured(rng, truth, passes, noise, disturbed))
        assert bounds is not None
        held += bounds[0] <= true_speedup(truth) <= bounds[1]
    return held / trials


@pytest.mark.parametrize(
    ("passes", "prompts", "disturbed"),
    [(2, PROMPTS, 0.0), (3, 2, 0.0), (8, 1, 0.0), (5, PROMPTS, 0.05)],
)
def test_an_interval_holds_the_truth_as_often_as_it_says(
    passes: int, prompts: int, disturbed: float, figures: Figures
) -> None:
    rate = covered(trials=400, passes=passes, noise=0.05, disturbed=disturbed, prompts=prompts)
    figures(coverage=rate)
    assert 0.915 <= rate <= 0.985  # 0.95 within three standard errors of 400 trials


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("disturbed", [0.0, 0.05, 0.2])
@pytest.mark.parametrize(("passes", "prompts"), [(2, PROMPTS), (3, 2), (8, 1), (5, PROMPTS)])
def test_an_interval_holds_the_truth_as_often_as_it_says_in_many_trials(
    passes: int, prompts: int, disturbed: float, figures: Figures
) -> None:
    rate = covered(trials=4000, passes=passes, noise=0.05, disturbed=disturbed, prompts=prompts)
    figures(coverage=rate)
    # Of a few runs that something disturbed, the interval errs on the side of doubt.
    assert 0.94 <= rate <= (0.985 if disturbed else 0.97)


def ended_wrongly(rng: np.random.Generator) -> tuple[bool, bool]:
    """A run with nothing to find, looked at as a benchmark looks: (decided, interval missed 1)."""
    truth = np.ones(3)
    pairs = measured(rng, truth, LOOKS[-1], 0.05, 0.0)
    for look in LOOKS:
        seen = [Paired(p.share, p.one[:look], p.other[:look]) for p in pairs]
        bounds = statistics.interval(seen, level=LEVEL_OF_A_LOOK)
        if bounds is not None and not bounds[0] <= 1 <= bounds[1]:
            return True, look < LOOKS[-1]
    return False, False


def test_ending_once_decided_keeps_the_error_rate(figures: Figures) -> None:
    rng = np.random.default_rng(2)
    wrong = sum(ended_wrongly(rng)[0] for _ in range(300)) / 300
    figures(wrongly_decided=wrong)
    assert wrong <= 0.05 + 3 * (0.05 * 0.95 / 300) ** 0.5


def test_looking_several_times_at_the_plain_level_would_not() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(300):
        pairs = measured(rng, np.ones(3), LOOKS[-1], 0.05, 0.0)
        looks = ([Paired(p.share, p.one[:n], p.other[:n]) for p in pairs] for n in LOOKS)
        bounds = [statistics.interval(each) for each in looks]
        wrong += any(each is not None and not each[0] <= 1 <= each[1] for each in bounds)
    assert wrong / 300 > 0.07


def test_one_pass_has_no_interval() -> None:
    assert statistics.interval([Paired(1, (1.0,), (2.0,)), Paired(1, (3.0,), (2.0,))]) is None


def test_equal_times_leave_no_doubt() -> None:
    assert statistics.interval([Paired(1, (2.0, 2.0), (1.0, 1.0))]) == pytest.approx((2.0, 2.0))


def test_what_slows_both_sides_alike_does_not_widen_the_interval() -> None:
    slow = (1.0, 3.0, 1.5, 2.0)
    bounds = statistics.interval([Paired(1, slow, tuple(each / 1.5 for each in slow))])
    assert bounds == pytest.approx((1.5, 1.5), abs=1e-6)


def test_a_prompt_counts_by_its_share() -> None:
    pairs = [Paired(1, (1.0,), (0.5,)), Paired(0, (1.0,), (10.0,))]
    assert statistics.speedup(pairs) == pytest.approx(2.0)


def test_a_disturbed_answer_is_named_and_still_counts() -> None:
    rng = np.random.default_rng(3)
    pairs = measured(rng, np.full(4, 1.3), 5, 0.02, 0.0)
    one = pairs[2].one
    disturbed = [*pairs[:2], Paired(pairs[2].share, (*one[:4], one[4] * 4), pairs[2].other)]
    found = statistics.outliers([*disturbed, pairs[3]])
    assert [(prompt, run) for prompt, run, _ in found] == [(2, 4)]
    assert found[0][2] > 3
    assert statistics.speedup([*disturbed, pairs[3]]) > statistics.speedup(pairs)


def test_quiet_runs_have_no_outliers() -> None:
    assert statistics.outliers([Paired(1, (1.0, 1.01, 0.99), (0.5, 0.505, 0.495))]) == ()
    assert statistics.outliers([]) == ()
