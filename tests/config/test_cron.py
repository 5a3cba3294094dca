"""Cron expressions, held against APScheduler's reading of them."""

# ruff: noqa: DTZ001 - cron counts by the local clock, whatever its zone

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given, reject
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


@given(
    st.tuples(part(0, 59), part(0, 23), st.just("*"), part(1, 12), st.just("*")).map(" ".join),
    st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1)),
)
def test_the_next_time_is_the_one_that_apscheduler_reads_in_the_expression(
    expression: str, after: datetime
) -> None:
    try:
        trigger = CronTrigger.from_crontab(expression, timezone=UTC)
    except ValueError:  # a step wider than its range
        reject()
    later = after.replace(tzinfo=UTC) + timedelta(microseconds=1)
    found = trigger.get_next_fire_time(None, later)
    assert found is not None
    assert cron.following(expression, after) == found.replace(tzinfo=None)


@pytest.mark.parametrize(("day", "name"), [("0", "Sun"), ("1", "Mon"), ("6", "Sat"), ("7", "Sun")])
def test_weekdays_count_from_sunday_as_in_every_crontab(day: str, name: str) -> None:
    due = cron.following(f"0 4 * * {day}", datetime(2026, 1, 1))
    assert due is not None
    assert due.strftime("%a") == name


@pytest.mark.parametrize(
    ("expression", "due"),
    [
        ("*/20 4 * * *", datetime(2026, 11, 28, 4, 0)),
        ("0 4 * jan-mar mon-wed", datetime(2027, 1, 4, 4, 0)),
        ("0 4 29 2 *", datetime(2028, 2, 29, 4, 0)),
        ("0 20/2 1,15 * *", datetime(2026, 12, 1, 20, 0)),
        ("15 21 27 11 *", datetime(2027, 11, 27, 21, 15)),
        ("0 4 30 2 *", None),
    ],
)
def test_the_next_time(expression: str, due: datetime | None) -> None:
    assert cron.following(expression, datetime(2026, 11, 27, 21, 15)) == due


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
