"""One benchmark at a time, whoever starts it: the daemon's and one by hand would slow each other.

The lock is a file beside the history, held by the process that measures; it goes when that ends,
however it ends.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Busy(Exception):
    """Another benchmark is running."""


@contextmanager
def alone(history: Path) -> Iterator[None]:
    """Hold the lock that belongs to a history.

    Raises:
        Busy: another process holds it.
    """
    history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with history.with_suffix(".measuring").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy("another benchmark is running") from error
        yield
