"""The running daemon: wait for it, give it an order, find out how to stop it."""

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
from specd.service.command import ServiceError
from specd.service.platforms import Platform, here

PATIENCE_S = 30.0

STARTING_S = 10.0
"""How long a daemon may take until its socket answers; usually it is a fifth of a second."""

_STEP_S = 0.02


def report_start() -> int:
    """Wait until the daemon answers and say so; exit code 1 when it does not."""
    problem = wait()
    if problem is not None:
        log = places.log_path(places.state_dir())
        complain(f"it was started, but does not answer: {problem}")
        complain(f"see {log} and `specd doctor`")
        return 1
    status = ask.ask("GET", "/v1/status")
    say(f"specd {status['version']} runs (process {status['pid']}); `specd status` shows more")
    return 0


def wait(patience: float = PATIENCE_S) -> ask.CannotAsk | None:
    """None as soon as the daemon answers; the last problem when it does not in time (seconds)."""
    end = time.monotonic() + patience
    while True:
        try:
            ask.ask("GET", "/v1/status")
        except ask.CannotAsk as problem:
            if time.monotonic() > end:
                return problem
        else:
            return None
        time.sleep(0.05)


def started_otherwise(platform: Platform) -> int | None:
    """The process of a daemon that the service manager has not started, None when there is none."""
    running: int | None = None
    try:
        running = ask.ask("GET", "/v1/status")["pid"]
    except ask.Hung:
        with contextlib.suppress(OSError):
            running = at_work(places.state_dir())
    except ask.CannotAsk:
        return None
    with contextlib.suppress(ServiceError):  # what cannot be reached has not started it
        return None if running == platform.pid() else running
    return running


def how_to_stop(pid: int) -> str:
    """The command that stops this daemon."""
    with contextlib.suppress(ServiceError):
        if here().pid() == pid:
            return "`specd stop` stops it"
    return f"it is no service: Ctrl-C in its terminal stops it, or `kill {pid}`"


def request_look() -> None:
    """Make a running daemon look at everything again; does nothing where none runs."""
    with contextlib.suppress(ask.CannotAsk, OSError):
        os.kill(ask.ask("GET", "/v1/status")["pid"], signal.SIGHUP)


def give(path: str, body: dict[str, Any] | None, *, state: Path, timeout: float) -> Any:
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
            ask.ask("GET", "/v1/status", state=state)
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
