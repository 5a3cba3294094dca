"""Cron expressions, held against the scheduler that will run them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given
from hypothesis import strategies as st

from specd.config import cron


def part(least: int, most: int) -> st.SearchStrategy[str]:
    number = st.integers(least, most)
    span = st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}")
    step = st.integers(1, 9).map(str)
    return st.one_of(
        st.just("*"),
        number.map(str),
        span,
        step.map(lambda n: f"*/{n}"),
        st.tuples(span, step).map("/".join),
        st.lists(number.map(str), min_size=1, max_size=3).map(",".join),
    )


@given(st.tuples(part(0, 59), part(0, 23), st.just("*"), part(1, 12), part(0, 7)).map(" ".join))
def test_whatever_is_accepted_the_scheduler_takes(expression: str) -> None:
    normal = cron.normal(expression)
    assert CronTrigger.from_crontab(normal, timezone=UTC).get_next_fire_time(
        None, datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert cron.normal(normal) == normal


@pytest.mark.parametrize(("day", "name"), [("0", "sun"), ("1", "mon"), ("6", "sat"), ("7", "sun")])
def test_weekdays_count_from_sunday_as_in_every_crontab(day: str, name: str) -> None:
    assert cron.normal(f"0 4 * * {day}") == f"0 4 * * {name}"
    trigger = CronTrigger.from_crontab(cron.normal(f"0 4 * * {day}"), timezone=UTC)
    fires = trigger.get_next_fire_time(None, datetime(2026, 1, 1, tzinfo=UTC))
    assert fires is not None
    assert fires.strftime("%a").lower() == name


@pytest.mark.parametrize(
    ("expression", "normal"),
    [
        ("*/20 4 * * *", "0,20,40 4 * * *"),
        ("0 4 * jan-mar mon-wed", "0 4 * 1,2,3 mon,tue,wed"),
        ("0 4 * * 5-7", "0 4 * * sun,fri,sat"),
        ("0 20/2 1,15 * *", "0 20,22 1,15 * *"),
        ("  0  4 * * 0-6 ", "0 4 * * *"),
    ],
)
def test_normal_spells_it_out(expression: str, normal: str) -> None:
    assert cron.normal(expression) == normal


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("", "must have five fields"),
        ("@daily", "must have five fields"),
        ("0 4 * * * *", "it has 6"),
        ("60 4 * * *", "its minute must be 0-59, not '60'"),
        ("0 4 0 * *", "its day of the month must be 1-31"),
        ("0 4 * * frday", "its weekday must be 0-7 or sun-sat, not 'frday'"),
        ("0 9-5 * * *", "stands for no time at all"),
        ("*/0 4 * * *", "stands for no time at all"),
        ("0 4 1 * mon", "a day of the month or a weekday, not both"),
        ("0 4- * * *", "its hour cannot be"),
        ("0 ٤ * * *", "its hour must be 0-23"),
    ],
)
def test_what_is_refused_says_which_field_and_why(expression: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        cron.check(expression)
    assert why in str(refused.value)
