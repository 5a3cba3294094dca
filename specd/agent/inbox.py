"""What wakes the daemon's one loop: paths that changed, things to do, the end.

Everything that happens elsewhere (file events, timers, socket requests, workers that finished)
arrives here and is handled on the loop's own thread, so nothing below it needs a lock.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


class _Word(Enum):
    EVERYTHING = "everything"
    STOP = "stop"


_EVERYTHING, _STOP = _Word.EVERYTHING, _Word.STOP


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that had arrived: ``everything`` asks for a full look, ``stop`` for the end."""

    paths: frozenset[Path] = frozenset()
    everything: bool = False
    tasks: tuple[Callable[[], None], ...] = ()
    stop: bool = False


def fulfil(future: Future[Result], task: Callable[[], Result]) -> None:
    """Do ``task``; ``future`` gets what it returned or raised."""
    try:
        future.set_result(task())
    except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
        future.set_exception(error)


class Inbox:
    """Many threads put in, one takes out."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Path | Callable[[], None] | _Word] = queue.SimpleQueue()

    def changed(self, path: Path) -> None:
        """Something happened to ``path``: look at it again."""
        self._queue.put(path)

    def look_again(self) -> None:
        """Look at everything again."""
        self._queue.put(_EVERYTHING)

    def stop(self) -> None:
        """End the loop; safe to call from a signal handler."""
        self._queue.put(_STOP)

    def do(self, task: Callable[[], None]) -> None:
        """Run ``task`` on the loop."""
        self._queue.put(task)

    def ask(self, task: Callable[[], Result]) -> Future[Result]:
        """Run ``task`` on the loop; the future holds what it returned or raised."""
        future: Future[Result] = Future()
        self.do(lambda: fulfil(future, task))
        return future

    def take(self, timeout: float | None) -> Batch:
        """Wait up to ``timeout`` seconds (None: for ever) and take all that is there."""
        paths: set[Path] = set()
        tasks: list[Callable[[], None]] = []
        everything = False
        stop = False
        try:
            item = self._queue.get(timeout=timeout)
            while True:
                if item is _EVERYTHING:
                    everything = True
                elif item is _STOP:
                    stop = True
                elif isinstance(item, Path):
                    paths.add(item)
                elif callable(item):
                    tasks.append(item)
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        return Batch(frozenset(paths), everything, tuple(tasks), stop)
