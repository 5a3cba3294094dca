"""When things happen by the wall clock: the nightly benchmark, reading conversations (APScheduler).

The periodic look is not among them: it must happen whatever becomes of the clock, so the daemon's
loop times it. It calls ``look_at_clock``, which wakes the timers that slept with the machine and
plans anew when the clock was set back; they would wait for a time that lies far ahead otherwise.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from specd.config import cron as crontab

JITTER_S = 120
"""Spread of the nightly benchmark, so that a fleet does not start as one."""

MISSED_S = 24 * 3600
"""A benchmark missed while the machine slept is made up for once, within this."""

CLOCK_STEP_S = 60.0
"""A clock that went back by less than this was merely corrected."""


OBSERVE_FIRST = timedelta(minutes=3)
"""After the start, and after that every so often, what conversations show is read."""

OBSERVE_EVERY = timedelta(hours=4)


class Schedule:
    """The timers; what they call must only put something into the inbox."""

    def __init__(
        self,
        *,
        bench: Callable[[], None],
        observe: Callable[[], None],
        observe_first: timedelta = OBSERVE_FIRST,
        observe_every: timedelta = OBSERVE_EVERY,
    ) -> None:
        # Jobs only post to the inbox, so they run on the scheduler's own thread.
        logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
        self._scheduler = BackgroundScheduler(executors={"default": DebugExecutor()})
        self._bench = bench
        self._scheduler.add_job(
            observe,
            "interval",
            seconds=observe_every.total_seconds(),
            next_run_time=datetime.now().astimezone() + observe_first,
            jitter=min(JITTER_S, observe_every.total_seconds() / 10),
            id="observe",
            coalesce=True,
            misfire_grace_time=MISSED_S,
        )
        self._asked: str | None = None
        self._ahead = time.time() - time.monotonic()

    def start(self) -> None:
        """Start the timer thread."""
        self._scheduler.start()

    def plan(self, cron: str) -> None:
        """Set or change the times; an unchanged plan is left to run on."""
        if cron == self._asked:
            return
        self._asked = cron
        common = {"coalesce": True, "max_instances": 1, "replace_existing": True}
        if cron:
            trigger = CronTrigger.from_crontab(crontab.normal(cron))
            trigger.jitter = JITTER_S
            self._scheduler.add_job(
                self._bench, trigger, id="bench", misfire_grace_time=MISSED_S, **common
            )
        elif self._scheduler.get_job("bench") is not None:
            self._scheduler.remove_job("bench")

    def look_at_clock(self) -> None:
        """Call this now and then: see the module's docstring."""
        ahead = time.time() - time.monotonic()
        if ahead < self._ahead - CLOCK_STEP_S and self._asked is not None:
            cron, self._asked = self._asked, None
            self.plan(cron)
        self._ahead = ahead
        self._scheduler.wakeup()

    def next_benchmark(self) -> datetime | None:
        """When the next benchmark is due, None when never."""
        job = self._scheduler.get_job("bench")
        # Before the scheduler is started, a job has no such attribute.
        return job.next_run_time if job is not None and not job.pending else None

    def try_bench_again_in(self, delay: timedelta) -> None:
        """A postponed benchmark: try again after ``delay``, beside the ordinary time."""
        self._scheduler.add_job(
            self._bench,
            "date",
            run_date=datetime.now().astimezone() + delay,
            id="bench-again",
            replace_existing=True,
            misfire_grace_time=MISSED_S,
        )

    def close(self) -> None:
        """Stop the timer thread."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
