"""What was measured is given back, and what lies between lies between."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench import costs
from specd.bench.costs import Costs, Steps


def steps(context: int, *, factor: float = 1.0) -> Steps:
    return Steps(
        context=context,
        plain=1.0 * factor,
        main={k: factor * seconds for k, seconds in {1: 1.1, 2: 1.2, 5: 1.8}.items()},
        draft=0.1 * factor,
        catch_up=0.05 * factor,
        main_prefill=0.01 * context,
        draft_prefill=0.001 * context,
    )


CURVES = Costs(steps(100), steps(300, factor=2.0))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_measured_pass_costs_what_was_measured(count: int) -> None:
    assert CURVES.at(100).verify_cost(count) == CURVES.short.main[count]
    assert CURVES.at(300).verify_cost(count) == pytest.approx(CURVES.long.main[count])


def test_a_pass_between_two_measured_ones_lies_on_the_line_through_them() -> None:
    assert CURVES.at(100).verify_cost(3) == pytest.approx(1.4)
    assert CURVES.at(100).verify_cost(4) == pytest.approx(1.6)


def test_a_pass_beyond_the_measured_ones_rises_in_proportion() -> None:
    assert CURVES.at(100).verify_cost(10) == pytest.approx(3.6)


def test_steps_grow_with_the_context() -> None:
    assert CURVES.at(200).plain == pytest.approx(1.5)
    assert CURVES.at(500).plain == pytest.approx(3.0)
    assert CURVES.at(200).draft == pytest.approx(0.15)
    assert CURVES.at(300).catch_up == pytest.approx(0.1)


def test_reading_a_prompt_grows_with_its_length() -> None:
    assert CURVES.at(200).main_prefill == pytest.approx(2.0)
    assert CURVES.at(200).draft_prefill == pytest.approx(0.2)


def test_no_step_is_free_however_noisy_its_measurement() -> None:
    noisy = Costs(steps(100, factor=2.0), steps(110, factor=1.0))
    assert noisy.at(4_000).plain > 0


@given(count=st.integers(1, 17), context=st.integers(0, 1000))
def test_the_least_a_pass_can_cost_is_never_more_than_what_it_is_taken_to(
    count: int, context: int
) -> None:
    least = costs.at_least(CURVES, 17)
    assert least.at(context).verify_cost(count) <= CURVES.at(context).verify_cost(count) * (
        1 + 1e-9
    )
    assert least.at(context).verify_cost(count) >= CURVES.at(context).verify_cost(1) * (1 - 1e-9)


def test_the_curves_survive_json() -> None:
    told = json.loads(json.dumps(costs.to_json(CURVES)))
    assert told["short"]["main"]["5"] == 1.8
    assert told["long"]["context"] == 300
    assert set(told["short"]) == {
        "context", "plain", "main", "draft", "catch_up", "main_prefill", "draft_prefill",
    }  # fmt: skip


def test_equal_contexts_are_averaged() -> None:
    assert Costs(CURVES.short, replace(CURVES.long, context=100)).at(100).plain == 1.5
