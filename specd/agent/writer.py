"""The daemon's passes: write drifted values, log it, and find the program that undoes it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from specd.agent import contender
from specd.agent.sight import Given
from specd.reconcile.apply import Applied, describe
from specd.reconcile.contention import Contender
from specd.reconcile.reconciler import DesiredState, Pass, Reconciler

AFTER_FAULT_S = 60.0
"""When to look again after a fault in specd's own work."""

CONTENDER_S = 30.0
"""How often to look for the process that keeps undoing specd's writes."""

AGAIN, CONTENDER = "again", "contender"
"""Timers: the next pass that no event asks for; when to look for the contender again."""


class Writer:
    """``paused``: read files, write nothing. ``held_back`` delays file events during a pass.

    ``contender`` is the program that keeps undoing specd's writes, None while there is none.
    """

    def __init__(
        self,
        given: Given,
        held_back: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._given = given
        self._held_back = held_back
        self._cleared: set[Path] = set()
        self.files = Reconciler(given.stores.journal, by="daemon")
        self.paused = False
        self.contender: Contender | None = None

    def set_desired(self, desired: DesiredState | None) -> None:
        """Set the desired state; clean up interrupted writes beside files that are new in it."""
        self.files.set_desired(desired)
        fresh = self.files.paths - self._cleared
        self._cleared |= fresh
        for line in self._given.stores.clear(fresh):
            self._given.say("warning", line)

    def write(self, dirty: set[Path] | None, *, force: bool = False) -> Pass:
        """One pass over ``dirty`` files, or all when None; ``force`` ends all waiting."""
        started = time.perf_counter()
        self._given.timers.after(AGAIN, AFTER_FAULT_S)
        before = self._failures()
        with self._held_back():
            done = self.files.run(dirty, force=force, write=force or not self.paused)
        took_ms = (time.perf_counter() - started) * 1000
        if done.again_in is None:
            self._given.timers.clear(AGAIN)
        else:
            self._given.timers.after(AGAIN, done.again_in)
        for applied in done.applied:
            self._report(applied, took_ms)
        for path, problem in self._failures().items() - before.items():
            self._given.say("error", problem, file=str(path))
        self._seek_contender()
        return done

    def _report(self, applied: Applied, took_ms: float) -> None:
        for deed, change in zip(applied.deeds, applied.edit.changes, strict=False):
            self._given.say(
                "info",
                f"{deed} {describe(change)}",
                file=str(applied.edit.path),
                key=change.key,
                journal=applied.journal_id,
                ms=round(took_ms, 2),
                why=change.why,
            )

    def _failures(self) -> dict[Path, str]:
        failed = self.files.failed.items()
        return {path: each.problem or "" for path, each in failed if each.lasts}

    def _seek_contender(self) -> None:
        """While a file is contended, find the program that writes it; forget it afterwards."""
        fights = [path for path, known in self.files.patience.items() if known.contended]
        if not fights:
            self.contender = None
        elif not self._given.timers.pending(CONTENDER):
            self._given.timers.after(CONTENDER, CONTENDER_S)
            self._given.jobs.scout("contender", lambda: contender.find(fights[0]), self._learn)

    def _learn(self, found: Contender | None) -> None:
        if found is not None and found != self.contender:
            self._given.say("warning", f"likely undone by {found}")
            self.contender = found
            self._given.publish()
