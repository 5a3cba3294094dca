"""The choice follows the benchmarks, and a noisy night does not overturn it."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench import choice
from specd.bench.choice import Choice
from specd.bench.result import AtTemperature, BenchResult, Best, Confirmation, LengthResult
from specd.config import Benchmark

WARN = Benchmark()
DISABLE = Benchmark(on_slower="disable")


def night(
    speedup: float | None,
    *,
    draft: str = "small",
    length: int = 4,
    half: float = 0.03,
    promised: dict[int, float] | None = None,
    size: int = 1,
) -> BenchResult:
    """A result; ``promised`` are predicted speeds of lengths, ``half`` half the interval."""
    told = promised or {length: 20.0 * (speedup or 1.0)}
    gains = speedup is not None and speedup + half >= 1
    return BenchResult(
        main="main",
        draft=draft,
        engine="mlx",
        suite="standard",
        started_at="2026-11-24T04:30:00+00:00",
        baseline_tps=20.0,
        lengths=tuple(
            LengthResult(each, 0.8, 8, 10, told.get(each, 1.0), told.get(each, 1.0) / 20)
            for each in range(17)
        ),
        best=Best(
            length if gains else 0,
            speedup or 1.0,
            speedup,
            None if speedup is None else (speedup - half, speedup + half),
            length,
        ),
        text_equal=True,
        model_seconds=1.0,
        draft_bytes=size,
    )


def decided(*nights: BenchResult, wanted: Benchmark = DISABLE) -> Choice:
    found = choice.decide(nights, wanted)
    assert found is not None
    return found


def test_without_a_result_there_is_no_choice() -> None:
    assert choice.decide([], WARN) is None


def test_what_was_not_confirmed_has_no_length_and_says_what_is_missing() -> None:
    once = night(1.67, length=11)
    once = replace(once, best=replace(once.best, interval=None))
    for unconfirmed in (once, night(None, length=11)):
        found = decided(unconfirmed)
        assert (found.draft, found.draft_tokens, found.confirmed) == ("small", None, False)
        assert "not confirmed" in found.reason
        assert "; it needs more time: `specd bench --minutes N`" in found.reason
    broken = decided(replace(night(1.67), broken=("the machine was hot",)))
    assert broken.reason.endswith("; one more run may confirm it: `specd bench`")
    assert "1.67×" in decided(once).reason


def test_a_draft_that_is_far_slower_goes_out_also_where_nothing_could_confirm_it() -> None:
    hopeless = replace(night(None), engine="llama.cpp", best=Best(0, 0.05, None, None, 4))
    why = "the best draft, small, is far slower than none: 0.05× with 4 draft tokens, tried once"
    assert decided(hopeless) == Choice(None, None, why, "small")
    kept = decided(hopeless, wanted=WARN)
    assert (kept.draft, kept.reason) == ("small", f'kept as on_slower is "warn": {why}')
    assert decided(night(1.4), hopeless).draft is None
    assert decided(hopeless, night(1.2)).draft == "small"
    for undecided in (replace(hopeless, broken=("it was hot",)), night(None, promised={4: 12.0})):
        assert decided(undecided).draft == "small"
    at = AtTemperature(0.8, 4, None, None)
    assert (
        "0.05× with 4 draft tokens at temperature 0.8"
        in decided(replace(hopeless, at_temperature=at)).reason
    )


def test_a_draft_that_is_far_slower_decides_nothing_of_another() -> None:
    hopeless = replace(night(None), engine="llama.cpp", best=Best(0, 0.4, None, None, 4))
    tried = replace(hopeless, draft="other", best=Best(4, 1.5, None, None, 4))
    for found in (decided(hopeless, tried), decided(tried, hopeless)):
        assert (found.draft, found.confirmed) == ("other", False)
        assert found.reason.startswith("tried once, not confirmed: 1.50×")


def test_of_drafts_that_nothing_confirmed_a_measured_speed_counts_more_than_a_prediction() -> None:
    slow = replace(night(None), best=Best(4, 1.5, 0.8, None, 4))
    found = decided(slow, replace(slow, draft="other", best=Best(4, 1.2, None, None, 4)))
    assert (found.draft, found.confirmed) == ("other", False)


def test_a_draft_is_called_far_slower_only_by_answers_without_an_interval() -> None:
    slow = replace(night(None), best=Best(0, 0.4, None, None, 4))
    assert not slow.far_slower, "mlx: a prediction"
    real = replace(slow, engine="llama.cpp")
    assert real.far_slower
    assert not replace(real, other_text=1).far_slower
    greedy = replace(
        real,
        best=Best(0, 0.3, 0.3, (0.28, 0.32), 4),
        at_temperature=AtTemperature(0.8, 4, None, None),
    )
    assert greedy.far_slower
    assert (
        "0.30× [0.28, 0.32] with 4 draft tokens at temperature 0, and not" in decided(greedy).reason
    )
    vague = replace(real, best=Best(4, 0.5, 0.5, (0.2, 1.3), 4))
    assert not vague.far_slower


def test_a_draft_that_changes_the_text_is_taken_out_however_fast() -> None:
    found = decided(replace(night(1.8), other_text=2, text_equal=False), wanted=WARN)
    assert (found.draft, found.confirmed) == (None, False)
    assert "changes what the main says: 2 answers differ beyond rounding" in found.reason
    assert decided(replace(night(1.8), other_text=1), night(1.2, draft="other")).draft == "other"


def test_other_text_is_cleared_only_by_a_run_that_compared_as_many_kinds() -> None:
    kinds: dict[str, dict[str, float]] = {"short": {}, "code": {}}
    compared = Confirmation(2, "decided", None, None)
    changes = replace(night(1.8), other_text=2, by_class=kinds, confirmation=compared)
    brief = replace(night(1.8), by_class={"short": {}}, confirmation=compared)
    for too_little in (brief, replace(brief, by_class=kinds, confirmation=None)):
        assert decided(changes, too_little, wanted=WARN).draft is None
        assert decided(changes, too_little).changes_text
    assert decided(changes, replace(brief, by_class=kinds)).draft == "small"


def test_a_draft_that_pays_is_chosen_with_its_length() -> None:
    found = decided(night(1.4, length=5))
    assert (found.draft, found.draft_tokens, found.confirmed) == ("small", 5, True)
    assert "1.40×" in found.reason


@pytest.mark.parametrize(
    ("speedup", "half", "why"),
    [
        (1.03, 0.001, "was measured 1.03×, below the wanted 1.05×"),
        (1.2, 0.25, "was measured 1.20× [0.95, 1.45], not surely faster than none"),
        (0.8, 0.1, "was measured 0.80× [0.70, 0.90], slower than none"),
    ],
    ids=["below the wanted", "perhaps slower", "slower"],
)
def test_a_new_draft_must_surely_gain_and_reach_the_wanted_speedup(
    speedup: float, half: float, why: str
) -> None:
    found = decided(night(speedup, half=half))
    assert (found.draft, found.measured) == (None, "small")
    assert found.reason == f"the best draft, small, {why}"


def test_and_is_kept_with_the_reason_where_the_user_wants_that() -> None:
    found = decided(night(0.8, length=3), wanted=WARN)
    assert (found.draft, found.draft_tokens, found.confirmed) == ("small", None, False)
    assert found.reason.startswith('kept as on_slower is "warn": the best draft, small, was measur')


def test_a_noisy_night_does_not_take_out_what_paid() -> None:
    good = [night(1.2)] * 5
    assert decided(*good, night(1.0, half=0.1)).draft == "small"
    assert decided(*good, night(1.04, half=0.005)).draft == "small"


def test_a_night_that_is_surely_too_slow_does() -> None:
    assert decided(*[night(1.2)] * 5, night(0.98, half=0.03)).draft is None


def test_what_was_taken_out_comes_back_only_when_it_is_clearly_faster() -> None:
    out = [night(1.2), night(0.9)]
    almost = decided(*out, night(1.06))
    assert almost.draft is None
    assert almost.reason.endswith("was measured 1.06×; taken out, a draft comes back at 1.08×")
    assert decided(*out, night(1.10)).draft == "small"


@pytest.mark.parametrize("truth", [0.9, 1.0, 1.04, 1.06, 1.1, 1.3])
def test_a_year_of_honest_nights_hardly_flips_it(truth: float) -> None:
    chance = random.Random(1)  # noqa: S311 - for a test
    nights: list[BenchResult] = []
    states: list[bool] = []
    naive: list[bool] = []
    for _ in range(365):
        error = chance.gauss(0, 0.015)
        nights.append(night(truth + error, half=0.03))
        states.append(decided(*nights).draft is not None)
        naive.append(truth + error >= DISABLE.min_speedup)
    assert flips(states) <= 2
    assert flips(states) <= flips(naive)


def flips(states: list[bool]) -> int:
    return sum(one != other for one, other in pairwise(states))


def test_the_fastest_of_several_drafts_is_chosen() -> None:
    found = decided(night(1.2), night(1.5, draft="other", length=6))
    assert (found.draft, found.draft_tokens) == ("other", 6)


def test_of_drafts_that_tie_the_smaller_is_chosen() -> None:
    big, small = night(1.305, draft="big", size=9), night(1.3, size=1)
    both = choice.decide([big, small], DISABLE)
    assert both is not None
    # The big one stood first, and the small one is no better: what stands stays.
    assert both.draft == "big"
    assert decided(small, big).draft == "small"


def at_temperature(
    speedup: float | None, *, half: float | None = 0.03, greedy: float = 1.3
) -> BenchResult:
    """A night with the same greedy figures, used at temperature 0.8."""
    interval = None if speedup is None or half is None else (speedup - half, speedup + half)
    found = AtTemperature(0.8, 4, 0.5, 1.1, speedup, interval)
    made = night(greedy)
    return replace(made, best=replace(made.best, draft_tokens=4), at_temperature=found)


def test_a_draft_is_judged_at_the_temperature_at_which_it_is_used() -> None:
    slower = at_temperature(0.8)
    assert decided(night(1.3), slower).draft is None
    assert decided(slower).reason == (
        "the best draft, small, was measured 0.80× [0.77, 0.83] at temperature 0.8, slower than none"
    )
    assert "at temperature 0.8, not surely faster than none" in decided(at_temperature(1.0)).reason
    faster = decided(at_temperature(1.2, greedy=0.9))
    assert (faster.draft, faster.confirmed) == ("small", True)
    assert faster.reason == "measured 1.20× at temperature 0.8 with 4 draft tokens"
    assert decided(at_temperature(1.1), night(1.2, draft="other")).draft == "other"


@pytest.mark.parametrize("unmeasured", [at_temperature(None), at_temperature(1.2, half=None)])
def test_a_gain_at_temperature_0_alone_confirms_nothing_for_use_at_another(
    unmeasured: BenchResult,
) -> None:
    found = decided(unmeasured)
    assert (found.draft_tokens, found.confirmed) == (None, False)
    assert "not confirmed" in found.reason
    assert decided(at_temperature(1.2), unmeasured) == decided(at_temperature(1.2))


def test_another_draft_takes_over_only_when_it_is_better_by_more_than_the_noise() -> None:
    stands = night(1.30, draft="stands")
    assert decided(stands, night(1.31)).draft == "stands"
    assert decided(stands, night(1.40)).draft == "small"


def test_when_the_draft_in_use_is_taken_out_the_next_best_takes_its_place() -> None:
    assert decided(night(1.3, draft="gone"), night(1.2), night(0.9, draft="gone")).draft == "small"


def test_a_length_stays_while_another_promises_but_little_more() -> None:
    first = night(1.3, length=4)
    little = night(1.3, length=5, promised={4: 25.9, 5: 26.0})
    more = night(1.3, length=5, promised={4: 24.0, 5: 26.0})
    assert decided(first, little).draft_tokens == 4
    assert decided(first, more).draft_tokens == 5


def test_results_without_real_runs_change_nothing() -> None:
    assert decided(night(1.3), night(None)) == decided(night(1.3))


@given(
    st.lists(st.tuples(st.floats(0.5, 2), st.sampled_from("ab"), st.integers(1, 16)), min_size=1)
)
def test_whatever_was_measured_there_is_a_choice_that_can_be_written(
    nights: list[tuple[float, str, int]],
) -> None:
    results = [night(speedup, draft=draft, length=length) for speedup, draft, length in nights]
    for wanted in (WARN, DISABLE):
        found = decided(*results, wanted=wanted)
        assert found.confirmed == (found.draft_tokens is not None)
        assert found.draft is not None or wanted is DISABLE
        assert found.reason
