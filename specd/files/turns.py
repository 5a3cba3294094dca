"""Locks so that only one specd process at a time writes in a directory.

The lock is a file in specd's state directory, named after the directory's device and inode, so
other users who can read LM Studio's home cannot take it. The kernel releases it when the process
ends. If the file cannot be created, specd works without a lock: other programs' updates are still
safe, and temporary files are distinguished by the process id in their names.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from specd import places
from specd.files import private

WAIT_S = 0.5
"""Longest wait for another specd process's write."""

STEP_S = 0.001

_NUMBER_BYTES = 16


class Taken(Exception):
    """Another specd process writes there; the message names it."""


@contextlib.contextmanager
def turn(directory: Path, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock of ``directory`` while the body runs.

    Raises:
        Taken: another process still holds it after ``wait_s``.
        OSError: the directory cannot be read.
    """
    descriptor = _opened(lock_path(directory))
    try:
        if descriptor is not None and not _had(descriptor, wait_s):
            raise Taken(
                f"another specd (process {signed_by(descriptor) or 'unknown'}) is writing in "
                f"{directory}"
            )
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock_path(directory: Path) -> Path | None:
    """The lock file of ``directory``; None where specd has no place for it.

    Raises:
        OSError: the directory cannot be read.
    """
    facts = directory.stat()
    with contextlib.suppress(places.NoPlace):
        return places.state_dir() / "run" / f"{facts.st_dev:x}-{facts.st_ino:x}.lock"
    return None


def _opened(path: Path | None) -> int | None:
    if path is not None:
        with contextlib.suppress(OSError):
            private.make_directory(path.parent)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    return None


def _had(descriptor: int, wait_s: float) -> bool:
    try:
        had = take(descriptor, wait_s)
    except OSError:
        return True  # without locks in the file system, specd works without one
    if had:
        sign(descriptor)
    return had


def take(descriptor: int, wait_s: float, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file; returns whether it could be had within ``wait_s``.

    Raises:
        OSError: the file system has no locks.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(STEP_S)
        else:
            return True


def sign(descriptor: int) -> None:
    """Write the number of this process into the file that it has locked."""
    with contextlib.suppress(OSError):  # a full disk: the lock alone is enough
        os.pwrite(descriptor, f"{os.getpid()}\n".ljust(_NUMBER_BYTES).encode(), 0)


def signed_by(descriptor: int) -> int:
    """The number of the process that locked the file; 0 where that cannot be read."""
    written = os.pread(descriptor, _NUMBER_BYTES, 0).decode("ascii", "replace").strip()
    return int(written) if written.isdigit() else 0
