"""The queue of tasks that wakes the daemon's loop.

File events, socket requests and results of workers arrive here, and the loop's own thread handles
them, so the daemon's state needs no lock.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def fulfil(future: Future[Result], task: Callable[[], Result]) -> None:
    """Do ``task``; ``future`` gets what it returned or raised."""
    try:
        future.set_result(task())
    except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
        future.set_exception(error)


class Inbox:
    """Any thread puts tasks in; the loop's thread takes them out."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def do(self, task: Callable[[], object]) -> None:
        """Run ``task`` on the loop."""
        self._queue.put(task)

    def ask(self, task: Callable[[], Result]) -> Future[Result]:
        """Run ``task`` on the loop; the future holds what it returned or raised."""
        future: Future[Result] = Future()
        self.do(lambda: fulfil(future, task))
        return future

    def take(self, timeout: float | None) -> list[Callable[[], object]]:
        """Wait up to ``timeout`` seconds (None: for ever) and take all that is there."""
        found: list[Callable[[], object]] = []
        try:
            found.append(self._queue.get(timeout=timeout))
            while True:
                found.append(self._queue.get_nowait())
        except queue.Empty:
            return found
