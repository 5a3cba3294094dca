"""A lock so that only one benchmark runs at a time: two at once would slow each other down.

The lock is on a file beside the history. The kernel releases it when the measuring process ends.
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
    """Hold the benchmark lock of a history file while the ``with`` block runs.

    Raises:
        Busy: another process holds it.
    """
    history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with history.with_name(f"{history.name}.measuring").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Busy("another benchmark is running") from error
        yield
