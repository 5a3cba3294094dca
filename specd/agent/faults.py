"""Faults in specd's own work: each is a line in the log, and in the status until it is over.

A fault has the name of the work that failed, and is over when that work succeeds.
"""

from __future__ import annotations

import sqlite3
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from specd.agent.events import Say


class Faults:
    """Work that failed and has not succeeded since; calls ``changed`` when that changes.

    Safe to call from any thread.
    """

    def __init__(self, say: Say, changed: Callable[[], None]) -> None:
        self._say = say
        self._changed = changed
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}

    def met(self, work: str, error: BaseException) -> str:
        """Log and keep ``error``; returns it as text that quotes no file's content."""
        # Only the system's and SQLite's errors: another one's text might quote a file.
        own = isinstance(error, OSError | sqlite3.Error)
        why = f"{type(error).__name__}{f': {error}' if own else ''}"
        frame = traceback.extract_tb(error.__traceback__)[-1]
        self._say(
            "error",
            f"a fault in specd: {why}",
            work=work,
            where=f"{Path(frame.filename).name}:{frame.lineno}",
        )
        self.keep(work, why)
        return why

    def keep(self, work: str, why: str) -> None:
        """Keep a failure that the caller has logged."""
        with self._lock:
            before, self._known[work] = self._known.get(work), why
        if before != why:
            self._changed()

    def over(self, work: str) -> None:
        """``work`` has succeeded."""
        if work in self._known:
            with self._lock:
                self._known.pop(work, None)
            self._changed()

    def known(self) -> tuple[str, ...]:
        """What fails now, as "work: why"."""
        with self._lock:
            return tuple(f"{work}: {why}" for work, why in self._known.items())
