"""The daemon's timers: named deadlines, all kept here.

They use the monotonic clock, but for ``cron``, which uses the wall clock. That may jump:
``look_at_clock`` computes cron times again, so that they stay right after the clock is set back or
the time zone changes. A time that passed while the machine slept, or that the clock skipped, is due
once.

Only the daemon's loop uses it; any thread may call ``when``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from specd.config import cron

Name: TypeAlias = str | Path
"""A timer's name: a word, or the path of the file to look at."""


class Timers:
    """See the module's docstring. Setting a name again replaces its deadline."""

    def __init__(self) -> None:
        self._ticks: dict[Name, float] = {}
        # The expression, its next time in local time without a zone, and in seconds since 1970.
        self._crons: dict[Name, tuple[str, datetime, float]] = {}

    def after(self, name: Name, seconds: float) -> None:
        """Make ``name`` due in ``seconds``."""
        self._ticks[name] = time.monotonic() + seconds

    def sooner(self, name: Name, seconds: float) -> None:
        """The same, unless it is due earlier already."""
        self._ticks[name] = min(self._ticks.get(name, math.inf), time.monotonic() + seconds)

    def cron(self, name: Name, expression: str) -> None:
        """Make ``name`` due at the times of ``expression`` ("": never), if that is a new one."""
        if self._crons.get(name, ("",))[0] != expression:
            self.clear(name)
            self._plan(name, expression)

    def clear(self, *names: Name) -> None:
        """Remove their deadlines."""
        for name in names:
            self._ticks.pop(name, None)
            self._crons.pop(name, None)

    def pending(self, name: Name) -> bool:
        """Whether a deadline is set that has not been taken."""
        return name in self._ticks or name in self._crons

    def is_due(self, name: Name) -> bool:
        """Whether the deadline has passed and was not taken."""
        return name in self._due()

    def when(self, name: Name) -> datetime | None:
        """The next time of a cron name, in local time; None when never."""
        known = self._crons.get(name)
        return None if known is None else datetime.fromtimestamp(known[2]).astimezone()

    def wait_s(self) -> float | None:
        """Seconds until the next deadline, 0 when one has passed; None when there is none."""
        waits = [due - time.monotonic() for due in self._ticks.values()]
        waits += [due - time.time() for *_, due in self._crons.values()]
        return max(0.0, min(waits)) if waits else None

    def take(self) -> set[Name]:
        """The names that are due now, each once; a cron name gets its next time."""
        due = set(self._due())
        for name in due:
            self._ticks.pop(name, None)
            if known := self._crons.pop(name, None):
                self._plan(name, known[0])
        return due

    def look_at_clock(self) -> None:
        """Compute cron times again, by the present clock and time zone."""
        time.tzset()
        for name, (expression, known, due) in tuple(self._crons.items()):
            # A time that has passed stays, for `take`; so does an hour that the clock skipped.
            if due > time.time():
                self._plan(name, expression, known)

    def _due(self) -> Iterator[Name]:
        ticks, dates = time.monotonic(), time.time()
        yield from (name for name, due in self._ticks.items() if due <= ticks)
        yield from (name for name, (*_, due) in self._crons.items() if due <= dates)

    def _plan(self, name: Name, expression: str, known: datetime | None = None) -> None:
        """Set the next time of ``expression``, or the ``known`` one if that comes earlier."""
        now = time.time()
        found = cron.following(expression, datetime.now()) if expression else None  # noqa: DTZ005
        while found is not None and found.timestamp() <= now:  # in an hour that the clock repeats
            found = cron.following(expression, found)
        if found is not None:
            if known is not None and now < known.timestamp() < found.timestamp():
                found = known
            self._crons[name] = expression, found, found.timestamp()
