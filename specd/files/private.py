"""Small files of specd's own: replaced whole, readable by their owner alone, read with bounds."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from pathlib import Path

MAX_BYTES = 4 << 20
"""Far above any of these files; the bound keeps what a broken one costs small."""

_LEFTOVER = re.compile(r".+\.(\d+)\.new")


def write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace the file by ``content``; ``durable`` has it on disk before it gets the name.

    Raises:
        OSError: it could not be written; what stood there before still does.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def read(path: Path) -> bytes:
    """All of the file, without the note of when it was read: that would be a write for a read.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb", opener=_unnoted) as file:
        return file.read()


def _unnoted(path: str, flags: int) -> int:
    with contextlib.suppress(PermissionError):  # somebody else's file
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    return os.open(path, flags)


def read_json(path: Path) -> object:
    """The document in the file; None when there is none, or none that can be understood."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode) or facts.st_size > MAX_BYTES:
                return None
            document: object = json.loads(file.read(MAX_BYTES))
            return document
    except (OSError, ValueError, RecursionError):
        return None


def sweep(directory: Path) -> None:
    """Remove what a crash in the middle of ``write`` left here; nobody else writes meanwhile."""
    with contextlib.suppress(OSError):
        for left in tuple(directory.iterdir()):
            if _LEFTOVER.fullmatch(left.name):
                left.unlink()
