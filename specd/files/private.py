"""Small files of specd's own: replaced whole, readable by their owner alone, read with bounds."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from pathlib import Path

MAX_BYTES = 4 << 20
"""Far above any of these files; the bound keeps what a broken one costs small."""

_PART = ".new"


def write(path: Path, content: bytes) -> None:
    """Replace the file by ``content``, on disk before it gets the name.

    Raises:
        OSError: it could not be written; what stood there before still does.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}{_PART}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


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
    """Remove what a crash in the middle of ``write`` left; for when nobody else writes here."""
    for left in directory.glob(f"*{_PART}"):
        with contextlib.suppress(OSError):
            left.unlink()
