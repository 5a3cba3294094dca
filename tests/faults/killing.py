"""A process that is killed at one chosen system call: before it, after it, or half-way through.

The calls through which specd's own code reaches files are wrapped, in a forked child alone, and
counted. At the chosen one the child ends as by ``kill -9``: no ``finally``, no buffer flushed.
"""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from specd.files import exchange, swap

CALLS = (
    "open",
    "close",
    "read",
    "pread",
    "write",
    "fsync",
    "fdatasync",
    "rename",
    "replace",
    "unlink",
    "link",
    "mkdir",
    "fchmod",
    "fchown",
    "setxattr",
    "lstat",
    "fstat",
    "stat",
    "listdir",
    "access",
)

FINISHED = 0
KILLED = -signal.SIGKILL


class _Point:
    def __init__(self, last: int) -> None:
        self.count = 0
        self.lock = threading.Lock()
        self.last = last

    def reached(self) -> None:
        with self.lock:
            self.count += 1
            if self.count == self.last:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            self.reached()
            result = call(*args, **kwargs)
            self.reached()
            return result

        return called

    def halving(self, call: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        def called(descriptor: int, data: Any) -> int:
            self.reached()
            half = memoryview(data)[: len(data) // 2]
            if self.count + 1 == self.last and half:
                call(descriptor, half)
            self.reached()
            written = call(descriptor, data)
            self.reached()
            return written

        return called


def run(work: Callable[[], object], at: int = 0) -> tuple[int, int]:
    """Do ``work`` in a child that is killed at point ``at`` (0: never).

    Returns how it ended (``FINISHED``, ``KILLED``) and how many points it passed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            point = _Point(at)
            real_write = os.write
            for name in CALLS:
                if hasattr(os, name):
                    wrap = point.halving if name == "write" else point.around
                    setattr(os, name, wrap(getattr(os, name)))
            fcntl.flock = point.around(fcntl.flock)  # type: ignore[assignment]
            fcntl.fcntl = point.around(fcntl.fcntl)  # type: ignore[assignment]
            exchange._rename = point.around(exchange._rename)
            # A fork takes no threads along.
            swap._SYNCING = ThreadPoolExecutor(max_workers=1)
            work()
            real_write(writing, str(point.count).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        passed = int(told.read() or b"0")
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), passed
