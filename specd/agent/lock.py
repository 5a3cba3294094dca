"""One daemon per state directory: a lock the kernel lets go of however the daemon ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from specd.files.attributes import inode


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
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        known = int(holder) if holder.isdigit() else None
        raise AlreadyRunning(path.parent.parent, known) from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
