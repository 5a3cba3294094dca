"""Orders that a command carries out itself where no daemon runs.

Between its first look and its socket a daemon works and cannot be asked; what is done behind its
back in that moment it would undo. So a command waits for it.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any

from specd import places
from specd.agent import lock
from specd.cli import ask

STARTING_S = 10.0
"""How long a daemon may take until its socket answers; usually it is a fifth of a second."""

_STEP_S = 0.02


def give(path: str, body: dict[str, Any] | None, *, state: Path, timeout: float) -> Any:
    """The daemon's answer to ``POST path``.

    Raises:
        ask.NotRunning: no daemon works with this state directory, so the command may do it itself.
        ask.CannotAsk: one works, and it cannot be asked.
    """
    end = time.monotonic() + STARTING_S
    while True:
        try:
            return ask.ask("POST", path, body, state=state, timeout=timeout)
        except ask.NotRunning:
            holder = None
            with contextlib.suppress(OSError):
                holder = at_work(state)
            if holder is None:
                raise
        if time.monotonic() > end:
            raise ask.Hung(f"process {holder} works with {state}, and does not answer")
        time.sleep(_STEP_S)


def at_work(state: Path) -> int | None:
    """The process of the daemon that has locked the state directory; None where none has.

    Raises:
        OSError: the lock file cannot be read.
    """
    holder = lock.holder(places.lock_path(state))
    return None if holder == os.getpid() else holder
