"""One daemon per state directory: a lock the kernel lets go of however the daemon ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

from specd.files import private
from specd.files.attributes import inode

NUMBER_BYTES = 16

PROBED_S = 0.2
"""Far longer than ``holder`` has the lock; then it is another daemon that has it."""


class AlreadyRunning(Exception):
    """Another specd holds the state directory: ``holder`` is its process, None if unknown."""

    def __init__(self, directory: Path, holder: int | None) -> None:
        super().__init__(f"another specd (process {holder or 'unknown'}) works with {directory}")
        self.holder = holder


def stands(path: Path, descriptor: int) -> bool:
    """Whether ``descriptor`` still is the lock: the file may have been removed under it."""
    return inode(path) == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino)


def hold(path: Path) -> int:
    """Take the lock; returns the descriptor that holds it until it is closed.

    Raises:
        AlreadyRunning: another live process has it.
        OSError: the lock file cannot be made.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        private.set_aside(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    end = time.monotonic() + PROBED_S
    while not _taken(descriptor, fcntl.LOCK_EX):
        if time.monotonic() > end:
            number = _number(descriptor)
            os.close(descriptor)
            raise AlreadyRunning(path.parent.parent, number or None)
        time.sleep(0.01)
    with contextlib.suppress(OSError):  # a full disk: the lock counts, the number only helps
        os.pwrite(descriptor, f"{os.getpid()}\n".ljust(NUMBER_BYTES).encode(), 0)
    return descriptor


def holder(path: Path) -> int | None:
    """The process that holds the lock, 0 where its number cannot be read; None when none does.

    Raises:
        OSError: the lock file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        return None if _taken(descriptor, fcntl.LOCK_SH) else _number(descriptor)
    finally:
        os.close(descriptor)


def _taken(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _number(descriptor: int) -> int:
    told = os.pread(descriptor, NUMBER_BYTES, 0).decode("ascii", "replace").strip()
    return int(told) if told.isdigit() else 0
