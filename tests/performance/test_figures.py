"""How the measurements are judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Claim, at_least, at_most, exactly, number, p99, percentile, ratio

SAMPLES = st.lists(st.floats(0.1, 1_000), min_size=1, max_size=200)


@given(samples=SAMPLES, share=st.floats(0, 1))
def test_a_percentile_is_a_sample_that_so_many_do_not_exceed(
    samples: list[float], share: float
) -> None:
    found = percentile(samples, share)
    assert found in samples
    assert sum(each <= found for each in samples) >= share * len(samples) - 1e-9


def test_one_slow_of_a_hundred_is_not_the_99th_percentile_and_two_are() -> None:
    assert p99([1.0] * 99 + [9.0]) == 1.0
    assert p99([1.0] * 98 + [9.0] * 2) == 9.0


@given(samples=SAMPLES)
def test_against_itself_a_ratio_is_one_and_lies_in_its_interval(samples: list[float]) -> None:
    found = ratio(samples, samples)
    assert found.value == 1
    assert found.low <= 1 <= found.high


def test_a_ratio_of_medians_is_not_moved_by_an_outlier() -> None:
    assert ratio([2.0, 2.0, 2.0, 900.0, 2.0], [1.0, 1.0, 1.0]).value == 2


@pytest.mark.parametrize(
    ("claim", "held", "far_off"),
    [
        (at_most("slow", exactly(2.9), 3), True, False),
        (at_most("slow", exactly(11), 3), False, False),
        (at_most("slow", exactly(13), 3), False, True),
        (at_least("fast", exactly(8), 8), True, False),
        (at_least("fast", exactly(3), 8), False, False),
        (at_least("fast", exactly(1.9), 8), False, True),
        (Claim("lost", 0, "", "≤", 0), True, False),
        (Claim("lost", 1, "", "≤", 0), False, True),
    ],
)
def test_a_claim_is_held_missed_or_far_off(claim: Claim, held: bool, far_off: bool) -> None:
    assert (claim.held, claim.far_off(4)) == (held, far_off)


def test_only_ratios_and_counts_are_judged_on_a_busy_machine() -> None:
    assert at_most("ratio", exactly(1), 2).smoke
    assert Claim("lost", 0, "", "≤", 0).smoke
    assert not Claim("time", 300, "ms", "≤", 500).smoke


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.01234, "0.0123"), (1.2345, "1.23"), (12.345, "12.3"), (1234.5, "1,234"), (7, "7")],
)
def test_numbers_are_shown_with_three_digits(value: float, shown: str) -> None:
    assert number(value) == shown
