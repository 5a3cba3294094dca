"""The daemon's timers: named deadlines, all kept here.

Most use the monotonic clock. ``at`` and ``cron`` use the wall clock, which may jump:
``look_at_clock`` computes cron times again, so that they stay right after the clock is set back or
the time zone changes. A time that passed while the machine slept, or that the clock skipped, is due
once.

Only the daemon's loop uses it; any thread may call ``when``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from specd.config import cron

Name: TypeAlias = str | Path
"""A timer's name: a word, or the path of the file to look at."""


class Timers:
    """See the module's docstring. Setting a name again replaces its deadline."""

    def __init__(self) -> None:
        self._ticks: dict[Name, float] = {}
        self._dates: dict[str, float] = {}
        self._crons: dict[str, tuple[str, datetime]] = {}

    def after(self, name: Name, seconds: float) -> None:
        """Make ``name`` due in ``seconds``."""
        self._ticks[name] = time.monotonic() + seconds

    def sooner(self, name: Name, seconds: float) -> None:
        """The same, unless it is due earlier already."""
        self._ticks[name] = min(self._ticks.get(name, math.inf), time.monotonic() + seconds)

    def at(self, name: str, delay: timedelta) -> None:
        """Make ``name`` due after ``delay`` by the wall clock."""
        self._dates[name] = time.time() + delay.total_seconds()

    def cron(self, name: str, expression: str) -> None:
        """Make ``name`` due at the times of ``expression`` ("": never), if that is a new one."""
        known, _ = self._crons.get(name, ("", None))
        if known != expression:
            self.clear(name)
            self._plan(name, expression)

    def clear(self, *names: Name) -> None:
        """Remove their deadlines."""
        for name in names:
            self._ticks.pop(name, None)
            if isinstance(name, str):
                self._dates.pop(name, None)
                self._crons.pop(name, None)

    def pending(self, name: Name) -> bool:
        """Whether a deadline is set that has not been taken."""
        return name in self._ticks or name in self._dates

    def is_due(self, name: Name) -> bool:
        """Whether the deadline has passed and was not taken."""
        return name in self._due()

    def when(self, name: str) -> datetime | None:
        """When ``name`` is due by the wall clock, in local time; None when never."""
        due = self._dates.get(name)
        return None if due is None else datetime.fromtimestamp(due).astimezone()

    def wait_s(self) -> float | None:
        """Seconds until the next deadline, 0 when one has passed; None when there is none."""
        waits = [due - time.monotonic() for due in self._ticks.values()]
        waits += [due - time.time() for due in self._dates.values()]
        return max(0.0, min(waits)) if waits else None

    def take(self) -> set[Name]:
        """The names that are due now, each once; a cron name gets its next time."""
        due = set(self._due())
        for name in due:
            self._ticks.pop(name, None)
            if isinstance(name, str) and self._dates.pop(name, None) is not None:
                expression, _ = self._crons.pop(name, ("", None))
                self._plan(name, expression)
        return due

    def look_at_clock(self) -> None:
        """Compute cron times again, by the present clock and time zone."""
        time.tzset()
        for name, (expression, known) in tuple(self._crons.items()):
            # A time that has passed stays, for `take`; so does an hour that the clock skipped.
            if self._dates[name] > time.time():
                self._plan(name, expression, known)

    def _due(self) -> Iterator[Name]:
        ticks, dates = time.monotonic(), time.time()
        yield from (name for name, due in self._ticks.items() if due <= ticks)
        yield from (name for name, due in self._dates.items() if due <= dates)

    def _plan(self, name: str, expression: str, known: datetime | None = None) -> None:
        """Set the next time of ``expression``, or the ``known`` one if that comes earlier."""
        now = time.time()
        found = cron.following(expression, datetime.now()) if expression else None  # noqa: DTZ005
        while found is not None and found.timestamp() <= now:  # in an hour that the clock repeats
            found = cron.following(expression, found)
        if found is None:
            return
        if known is not None and now < known.timestamp() < found.timestamp():
            found = known
        self._crons[name] = expression, found
        self._dates[name] = found.timestamp()
