"""The daemon's timers: deadlines, cron as people know it, and a clock that jumps."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from specd.agent import timers
from specd.agent.timers import Timers

FILE = Path("/home/ada/.lmstudio/settings.json")


@pytest.fixture
def made() -> Timers:
    return Timers()


def test_each_is_due_once_and_in_its_time(made: Timers):
    assert made.wait_s() is None
    made.after("models", 3_000)
    made.after(FILE, 0)
    assert made.wait_s() == 0
    assert made.take() == {FILE}
    assert made.take() == set()
    assert 2_900 < (made.wait_s() or 0) <= 3_000
    assert made.pending("models")


def test_a_nearer_deadline_stays_where_a_farther_one_is_asked_for(made: Timers):
    made.sooner("models", 1)
    made.sooner("models", 60)
    assert (made.wait_s() or 0) <= 1
    made.after("models", 60)
    assert (made.wait_s() or 0) > 1
    made.clear("models", FILE)
    assert made.wait_s() is None


def test_a_nightly_benchmark_is_due_at_its_time(made: Timers):
    made.cron("benchmark", "30 4 * * *")
    due = made.when("benchmark")
    assert due is not None
    assert due == due.replace(hour=4, minute=30, second=0, microsecond=0)
    made.cron("benchmark", "30 4 * * *")
    assert made.when("benchmark") == due, "an unchanged plan runs on"
    made.cron("benchmark", "")
    assert made.when("benchmark") is None


def test_one_that_is_due_is_due_again_at_its_next_time(made: Timers, clock: Clock):
    made.cron("benchmark", "30 4 * * *")
    first = made.when("benchmark")
    assert first is not None
    clock.ahead = (first - datetime.now().astimezone()).total_seconds() + 1
    assert made.take() == {"benchmark"}
    second = made.when("benchmark")
    assert second is not None
    assert timedelta(hours=22) < second - first < timedelta(hours=26)


def test_what_was_slept_through_is_due_once(made: Timers, clock: Clock):
    made.cron("benchmark", "*/5 * * * *")
    clock.ahead = 3 * 24 * 3600
    made.look_at_clock()
    assert made.take() == {"benchmark"}
    assert made.take() == set()


def test_a_postponed_benchmark_is_tried_again_beside_its_ordinary_time(made: Timers):
    made.cron("benchmark", "30 4 * * *")
    due = made.when("benchmark")
    made.after("benchmark again", 0)
    assert made.take() == {"benchmark again"}
    assert made.when("benchmark") == due


def test_a_clock_set_back_does_not_leave_the_next_time_far_ahead(made: Timers, clock: Clock):
    clock.ahead = 30 * 24 * 3600
    made.cron("benchmark", "* * * * *")
    clock.ahead = 0
    made.look_at_clock()
    after = made.when("benchmark")
    assert after is not None
    assert after <= datetime.now().astimezone() + timedelta(seconds=60)


@pytest.mark.parametrize("hour", range(24))
def test_another_time_zone_moves_the_hour(clock: Clock, monkeypatch: pytest.MonkeyPatch, hour: int):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        clock.ahead = datetime.fromisoformat(f"2026-11-28T{hour:02}").timestamp() - time.time()
        moved = Timers()
        moved.cron("benchmark", "30 4 * * *")
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        moved.look_at_clock()
        due, now = moved.when("benchmark"), timers.datetime.now().astimezone()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert due is not None
    assert due.utcoffset() == timedelta(hours=9)
    assert (due.hour, due.minute) == (4, 30)
    assert timedelta(0) < due - now < timedelta(hours=24)


@pytest.mark.parametrize(
    ("midnight", "due"),
    [("2026-03-29", ["03:30"]), ("2026-10-25", ["02:30"])],
    ids=["an hour that the clock skips", "an hour that it repeats"],
)
def test_in_the_night_of_a_changed_clock_it_is_due_once(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, midnight: str, due: list[str]
):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        clock.ahead = datetime.fromisoformat(midnight).timestamp() - time.time() + 1
        night = Timers()
        night.cron("benchmark", "30 2 * * *")
        found = []
        for _ in range(24 * 2):
            clock.ahead += 30 * 60
            night.look_at_clock()
            if night.take():
                found.append(f"{timers.datetime.now():%H:%M}")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found == due


class Clock:
    """How far ahead the wall clock is, in seconds."""

    ahead = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made, real = Clock(), time.time

    class Shifted(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.fromtimestamp(real() + made.ahead, tz)

    monkeypatch.setattr(timers.time, "time", lambda: real() + made.ahead)
    monkeypatch.setattr(timers, "datetime", Shifted)
    return made
