"""The benchmark's timer: cron as people know it, missed once, planned anew when the clock jumps."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from specd.agent import schedule
from specd.agent.schedule import Schedule
from tests.daemon import until


@pytest.fixture
def fired() -> threading.Event:
    return threading.Event()


@pytest.fixture
def made(fired: threading.Event) -> Iterator[Schedule]:
    timer = Schedule(bench=fired.set, observe=lambda: None)
    timer.start()
    yield timer
    timer.close()


def test_a_nightly_benchmark_is_due_at_its_time_give_or_take_its_jitter(made: Schedule):
    made.plan("30 4 * * *")
    due = made.next_benchmark()
    assert due is not None
    nominal = due.replace(hour=4, minute=30, second=0, microsecond=0)
    assert abs((due - nominal).total_seconds()) <= schedule.JITTER_S
    assert due > datetime.now().astimezone() - timedelta(seconds=schedule.JITTER_S)


def test_who_asks_before_it_is_started_is_told_of_no_time():
    timer = Schedule(bench=lambda: None, observe=lambda: None)
    timer.plan("30 4 * * *")
    assert timer.next_benchmark() is None


def test_an_empty_schedule_means_never(made: Schedule):
    made.plan("30 4 * * *")
    made.plan("")
    assert made.next_benchmark() is None


def test_an_unchanged_plan_keeps_its_next_time(made: Schedule):
    made.plan("30 4 * * *")
    due = made.next_benchmark()
    made.plan("30 4 * * *")
    assert made.next_benchmark() == due


def test_a_postponed_benchmark_is_tried_again_beside_its_ordinary_time(
    made: Schedule, fired: threading.Event
):
    made.plan("30 4 * * *")
    due = made.next_benchmark()
    made.try_bench_again_in(timedelta(milliseconds=20))
    assert fired.wait(10)
    assert made.next_benchmark() == due


def test_a_clock_set_back_does_not_leave_the_next_time_far_ahead(made: Schedule, monkeypatch):
    made.plan("* * * * *")
    month = 30 * 24 * 3600
    real = schedule.time.time
    monkeypatch.setattr(schedule.time, "time", lambda: real() + month)
    made.look_at_clock()
    monkeypatch.setattr(schedule.time, "time", real)
    before = made.next_benchmark()
    made.look_at_clock()
    after = made.next_benchmark()
    assert before is not None
    assert after is not None
    assert after <= datetime.now().astimezone() + timedelta(seconds=60 + schedule.JITTER_S)


def test_weekdays_count_as_in_everybodys_crontab(made: Schedule):
    made.plan("0 12 * * 1")
    due = made.next_benchmark()
    assert due is not None
    nominal = due + timedelta(seconds=schedule.JITTER_S * 2)
    assert "Mon" in (due.strftime("%a"), nominal.strftime("%a"))


_TIMERS = """
import sys, time
from datetime import timedelta
from specd.agent.schedule import Schedule
from tests.daemon import until
timers = Schedule(
    bench=lambda: print("bench", flush=True),
    observe=lambda: print("observe", flush=True),
    observe_first=timedelta(seconds=0),
    observe_every=timedelta(seconds=0.5),
)
timers.start()
timers.try_bench_again_in(timedelta(seconds=1))
sys.stdin.read()
"""


def test_what_was_slept_through_runs_once():
    with subprocess.Popen(
        [sys.executable, "-c", _TIMERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "observe\n"
        process.send_signal(signal.SIGSTOP)
        asleep = time.monotonic()
        until(lambda: time.monotonic() - asleep > 4, "it has slept", 10)
        process.send_signal(signal.SIGCONT)
        woke = time.monotonic()
        heard: list[str] = []
        while time.monotonic() - woke < 0.3 or "bench" not in heard:
            heard.append(process.stdout.readline().strip())
        process.kill()
    assert heard.count("bench") == 1
    # Eight were due while it slept. One makes up for them; others came just before and after.
    assert heard.count("observe") <= 4
