"""The running daemon: wait for it, give it an order, end it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from specd import places
from specd.agent import lock
from specd.cli import ask
from specd.cli.paint import complain, say
from specd.files import holders
from specd.service.command import ServiceError
from specd.service.platforms import Platform

PATIENCE_S = 30.0

STARTING_S = 10.0
"""How long a daemon may take until its socket answers; usually it is a fifth of a second."""

ENDING_S = 5.0
"""How long a daemon may take to end after SIGTERM; it takes two seconds at most."""

ORDER_S = 120.0
"""How long a daemon may take to carry out an order."""

_STEP_S = 0.02


def report_start() -> int:
    """Wait until the daemon answers and say so; exit code 1 when it does not."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            status = ask.ask("GET", "/v1/status")
            break
        except ask.CannotAsk as problem:
            if time.monotonic() > end:
                complain(f"it was started, but does not answer: {problem}")
                complain(f"see {places.log_path(places.state_dir())} and `specd doctor`")
                return 1
        time.sleep(_STEP_S)
    say(f"specd {status['version']} runs (process {status['pid']}); `specd status` shows more")
    return 0


def started_otherwise(platform: Platform) -> int | None:
    """The process of a daemon that the service manager has not started; None without one."""
    with contextlib.suppress(OSError):
        running = at_work()
        with contextlib.suppress(ServiceError):  # an unreachable manager started no daemon
            if running == platform.pid():
                return None
        return running
    return None


def is_at_work(pid: int) -> str:
    """The sentence for a command that cannot work beside the daemon in process ``pid``."""
    return f"specd runs already as process {pid or 'unknown'}; `specd stop` stops it"


def end(pid: int) -> bool:
    """End the daemon in process ``pid``, whatever it hangs in; returns whether it has ended.

    What specd wrote is as good after a kill as after an orderly end.
    """
    path = places.lock_path(places.state_dir())
    for last in (signal.SIGTERM, signal.SIGKILL):
        if pid not in holders.writers(Path(os.path.realpath(path))):
            break  # in another container its number means another process here
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, last)
            os.kill(pid, signal.SIGCONT)  # a suspended process handles no SIGTERM
        waited = time.monotonic() + ENDING_S
        while lock.holder(path) is not None and time.monotonic() < waited:
            time.sleep(_STEP_S)
    return lock.holder(path) is None


def request_look() -> None:
    """Make a running daemon look at everything again; does nothing where none runs."""
    with contextlib.suppress(ask.CannotAsk, OSError):
        os.kill(ask.ask("GET", "/v1/status")["pid"], signal.SIGHUP)


def give(path: str, body: dict[str, Any] | None) -> Any:
    """The daemon's answer to ``POST path``; waits for a daemon that has just been started.

    A daemon that does not listen yet would undo the command's own work.

    Raises:
        ask.NotRunning: no daemon uses this state directory, so the command may do the work itself.
        ask.CannotAsk: a daemon uses it and gives no answer. It is asked for its status first, so
            that a daemon that hangs does not carry the order out later.
    """
    end = time.monotonic() + STARTING_S
    while True:
        try:
            ask.ask("GET", "/v1/status")
            return ask.ask("POST", path, body, timeout=ORDER_S)
        except ask.NotRunning:
            holder = None
            with contextlib.suppress(OSError):
                holder = at_work()
            if holder is None:
                raise
        if time.monotonic() > end:
            state = places.state_dir()
            raise ask.Hung(f"process {holder} works with {state}, and does not answer")
        time.sleep(_STEP_S)


def at_work() -> int | None:
    """The process of the daemon that has locked the state directory; None where none has.

    Raises:
        OSError: the lock file cannot be read.
    """
    holder = lock.holder(places.lock_path(places.state_dir()))
    return None if holder == os.getpid() else holder
