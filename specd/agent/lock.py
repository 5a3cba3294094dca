"""One daemon per state directory: a lock that the kernel releases however the daemon ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from specd.files import private, turns

PROBED_S = 0.2
"""Far longer than ``holder`` takes the lock for; then another daemon has it."""


class AlreadyRunning(Exception):
    """Another specd holds the state directory: ``holder`` is its process, None if unknown."""

    def __init__(self, directory: Path, holder: int | None) -> None:
        super().__init__(f"another specd (process {holder or 'unknown'}) works with {directory}")
        self.holder = holder


def hold(path: Path) -> int:
    """Take the lock; returns the descriptor that holds it until it is closed.

    Raises:
        AlreadyRunning: another live process has it.
        OSError: the lock file cannot be made.
    """
    private.make_directory(path.parent)
    if not os.access(path.parent, os.W_OK | os.X_OK):  # another user's, such as root's after sudo
        private.set_aside(path.parent)
        private.make_directory(path.parent)
    if path.is_symlink() or not private.usable(path):
        private.set_aside(path)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not turns.take(descriptor, PROBED_S):
        number = turns.signed_by(descriptor)
        os.close(descriptor)
        raise AlreadyRunning(path.parent.parent, number or None)
    turns.sign(descriptor)
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
        free = turns.take(descriptor, 0, fcntl.LOCK_SH)
        return None if free else turns.signed_by(descriptor)
    finally:
        os.close(descriptor)
