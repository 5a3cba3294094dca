"""See that the daemon, which a service manager has just started, answers."""

from __future__ import annotations

import contextlib
import os
import signal
import time

from specd import places
from specd.cli import ask
from specd.cli.paint import complain
from specd.service.command import ServiceError
from specd.service.platforms import Platform, here

PATIENCE_S = 30.0


def wait_and_tell() -> int:
    """Wait until the daemon answers and say so; exit code 1 when it does not."""
    problem = wait()
    if problem is not None:
        log = places.log_path(places.state_dir())
        complain(f"it was started, but does not answer: {problem}")
        complain(f"see {log} and `specd doctor`")
        return 1
    status = ask.ask("GET", "/v1/status")
    print(f"specd {status['version']} runs (process {status['pid']}); `specd status` shows more")
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


def otherwise_than_as(platform: Platform) -> int | None:
    """The process of a daemon that the service manager has not started, None when there is none."""
    try:
        status = ask.ask("GET", "/v1/status")
    except ask.CannotAsk:
        return None
    running: int = status["pid"]
    with contextlib.suppress(ServiceError):  # who cannot be asked has not started it
        return None if running == platform.pid() else running
    return running


def how_to_stop(pid: int) -> str:
    """The command that stops this daemon."""
    with contextlib.suppress(ServiceError):
        if here().pid() == pid:
            return "`specd stop` stops it"
    return f"it is no service: Ctrl-C in its terminal stops it, or `kill {pid}`"


def tell_to_look() -> None:
    """Have a running daemon look at everything again; nothing where none runs."""
    with contextlib.suppress(ask.CannotAsk, OSError):
        os.kill(ask.ask("GET", "/v1/status")["pid"], signal.SIGHUP)
