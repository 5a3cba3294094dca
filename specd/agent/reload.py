"""Load a main again when it does not run with its file's settings, once LM Studio is idle.

Only with ``[agent] reload = "when-idle"``. specd runs LM Studio's own ``lms``, since a load through
the server's API does not read the file. Each difference is tried once: a second load would change
no more than the first.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from specd.agent.sight import Given
from specd.lmstudio import activity
from specd.lmstudio import home as homes
from specd.reconcile.in_force import NotInForce

QUIET_S: Final = 120.0
"""LM Studio is idle after this long without a request, while its processes do nothing."""

WATCHED_S: Final = 2.0
LOAD_S: Final = 600.0


BUSY: Final = "LM Studio is in use"


class LoadAgain:
    """Loads instances again, one at a time; runs on the daemon's loop."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._tried: set[str] = set()

    def look(self, home: Path, not_in_force: Iterable[NotInForce], asked_at: float | None) -> None:
        """Begin with the next instance whose differences were not tried yet."""
        shown = {str(each): each for each in not_in_force if each.shown}
        self._tried &= shown.keys()
        each = next((shown[name] for name in shown if name not in self._tried), None)
        if each is not None:
            self._given.jobs.scout(
                "reload",
                lambda: load_again(home, each, asked_at),
                lambda outcome: self._learn(each, outcome),
            )

    def _learn(self, each: NotInForce, outcome: str | None) -> None:
        if outcome == BUSY:
            return
        self._tried.add(str(each))
        if outcome is None:
            self._given.say("info", f"loaded again: {each}", command=each.command)
        else:
            self._given.say("warning", f"{outcome}; load it yourself: {each.command}")


def load_again(home: Path, wanted: NotInForce, asked_at: float | None) -> str | None:
    """Run the steps of ``wanted``; None once it is loaded, else why it is not.

    ``asked_at`` is the time of specd's own last request to the server.
    """
    used = activity.last_used(home, asked_at)
    if used is not None and time.time() - used < QUIET_S:
        return BUSY
    if activity.generating(home, WATCHED_S):
        return BUSY
    lms = homes.lms(home)
    for words in wanted.steps:
        try:
            done = subprocess.run(
                [lms, *words],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LOAD_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{lms} cannot be run: {error}"
        if done.returncode != 0:
            output = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no word"]
            return f"`lms {' '.join(words)}` failed: {output[0]}"
    return None
