"""One daemon per state directory: a lock that the kernel releases however the daemon ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from specd.files import private, turns
from specd.files.attributes import stands

_PASSED_ON = "SPECD_HELD_LOCK"
"""The environment variable with the number of the descriptor that ``pass_on`` kept open."""

PROBED_S = 0.2
"""``holder`` takes the lock for far less time; after this wait another daemon has it."""


class AlreadyRunning(Exception):
    """Another specd holds the state directory; the message names its process."""


def hold(path: Path) -> int:
    """Take the lock, or the one passed on; returns the descriptor that holds it until it is closed.

    Raises:
        AlreadyRunning: another live process has it.
        OSError: the lock file cannot be made.
    """
    private.make_directory(path.parent)
    if path.is_symlink() or not private.usable(path):
        private.set_aside(path)
    descriptor = _passed_on(path)
    if descriptor is None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not turns.take(descriptor, PROBED_S):
        number = turns.signed_by(descriptor)
        os.close(descriptor)
        raise AlreadyRunning(
            f"another specd (process {number or 'unknown'}) works with {path.parent.parent}"
        )
    turns.sign(descriptor)
    return descriptor


def pass_on(path: Path, descriptor: int) -> None:
    """Pass the lock on to the program that this process becomes; take a new one if it was removed.

    Raises:
        AlreadyRunning: another process has taken the place of a removed one.
        OSError: the lock file cannot be made.
    """
    held = descriptor if stands(path, descriptor) else hold(path)
    os.set_inheritable(held, True)  # noqa: FBT003 - positional only
    os.environ[_PASSED_ON] = str(held)


def _passed_on(path: Path) -> int | None:
    with contextlib.suppress(KeyError, ValueError, OSError, OverflowError):
        descriptor = int(os.environ.pop(_PASSED_ON))
        if stands(path, descriptor):
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional only
            return descriptor
    return None


def holder(path: Path) -> int | None:
    """The id of the process that holds the lock: 0 if it cannot be read, None if no process does.

    Raises:
        OSError: the lock file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return None
    try:
        free = turns.take(descriptor, 0, fcntl.LOCK_SH)
        return None if free else turns.signed_by(descriptor)
    finally:
        os.close(descriptor)
