"""The queue that wakes the daemon's loop: changed paths, tasks, the end.

File events, socket requests and results of workers arrive here, and the loop's own thread handles
them, so the daemon's state needs no lock.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Batch:
    """Everything that has arrived; ``stop``: the daemon should end."""

    paths: frozenset[Path] = frozenset()
    tasks: tuple[Callable[[], None], ...] = ()
    stop: bool = False


def fulfil(future: Future[Result], task: Callable[[], Result]) -> None:
    """Do ``task``; ``future`` gets what it returned or raised."""
    try:
        future.set_result(task())
    except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
        future.set_exception(error)


class Inbox:
    """Any thread puts items in; the loop's thread takes them out."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Path | Callable[[], None] | None] = queue.SimpleQueue()

    def changed(self, path: Path) -> None:
        """``path`` changed: the loop reads it again."""
        self._queue.put(path)

    def stop(self) -> None:
        """End the loop; safe to call from a signal handler."""
        self._queue.put(None)

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
        found: list[Path | Callable[[], None] | None] = []
        try:
            found.append(self._queue.get(timeout=timeout))
            while True:
                found.append(self._queue.get_nowait())
        except queue.Empty:
            paths = frozenset(each for each in found if isinstance(each, Path))
            return Batch(paths, tuple(each for each in found if callable(each)), None in found)
