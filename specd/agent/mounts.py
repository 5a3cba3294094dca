"""Events of file systems being mounted and unmounted, where the kernel sends them (Linux).

Mounting over a directory, or taking the mount away, changes what a path leads to without one file
event. The kernel marks ``/proc/self/mountinfo`` as changed; waiting for that costs nothing.
Elsewhere the resync notices.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")


class Mounts:
    """A thread that calls ``changed`` whenever something was mounted or unmounted."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._end, self._told = os.pipe()
        self._thread = threading.Thread(target=self._wait, name="specd-mounts", daemon=True)

    def start(self) -> None:
        """Start the thread; where there is no such table it ends at once."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread."""
        os.close(self._told)
        if self._thread.is_alive():
            self._thread.join(5)
        os.close(self._end)

    def _wait(self) -> None:
        with contextlib.suppress(OSError), _TABLE.open("rb") as table:
            waiting = select.poll()
            waiting.register(table, select.POLLPRI)
            waiting.register(self._end, select.POLLHUP)
            while not any(ready == self._end for ready, _ in waiting.poll()):
                self._changed()
