"""Work that takes longer than a pass may: one worker process at a time, results to the inbox.

Threads here only wait: for a worker process, for a socket, for the file system. Each is given a
frozen value and returns one, which is handed to the daemon's loop: the loop alone changes what the
daemon knows. Every failure is a line in the log and a reason in the status (``Faults``).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from specd.agent.faults import Faults
from specd.agent.inbox import Inbox
from specd.worker.client import Limits, WorkerError, run_task

Result = TypeVar("Result")


class Jobs:
    """Starts work in the background; at most one of each name is under way or waiting."""

    def __init__(self, inbox: Inbox, faults: Faults) -> None:
        self._inbox = inbox
        self._faults = faults
        self._closed = False
        self._cancels: dict[str, threading.Event] = {}
        self._scouts = ThreadPoolExecutor(max_workers=2, thread_name_prefix="specd-scout")
        self._workers = ThreadPoolExecutor(max_workers=1, thread_name_prefix="specd-worker")
        self._names: set[str] = set()

    def running(self, name: str) -> bool:
        """Whether the job called ``name`` has not ended yet."""
        return name in self._names

    def scout(
        self,
        name: str,
        look: Callable[[], Result],
        then: Callable[[Result], None],
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Call ``look`` on a thread, then ``then(result)`` or ``failed(why)`` on the loop.

        ``look`` must not touch anything that the loop changes.
        """

        def work() -> Callable[[], None]:
            result = look()
            return lambda: then(result)

        self._start(name, self._scouts, work, failed)

    def worker(
        self,
        task: str,
        request: dict[str, Any],
        *,
        limits: Limits,
        then: Callable[[dict[str, Any]], None],
        failed: Callable[[str], None],
        on_progress: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> None:
        """Run a worker task; ``then(result)`` or ``failed(why)`` is called on the loop."""
        cancelled = threading.Event()

        def work() -> Callable[[], None]:
            result = run_task(
                task,
                request,
                limits=limits,
                cancelled=cancelled,
                on_progress=lambda step: self._inbox.do(lambda: on_progress(step)),
            )
            return lambda: then(result)

        if not self.running(task):
            self._cancels[task] = cancelled
        self._start(task, self._workers, work, failed)

    def cancel(self, task: str) -> None:
        """Kill that worker and all it started; ``failed`` is called when it is gone."""
        if task in self._cancels:
            self._cancels[task].set()

    def close(self) -> None:
        """Kill what is under way and wait for the threads to see it."""
        self._closed = True
        for cancelled in self._cancels.values():
            cancelled.set()
        for pool in (self._scouts, self._workers):
            pool.shutdown(wait=True, cancel_futures=True)

    def _start(
        self,
        name: str,
        pool: ThreadPoolExecutor,
        work: Callable[[], Callable[[], None]],
        failed: Callable[[str], None],
    ) -> None:
        if name in self._names or self._closed:
            return
        self._names.add(name)

        def run() -> None:
            try:
                finish = work()
            except WorkerError as error:
                why = str(error)
                if not self._cancelled(name):
                    self._faults.keep(name, why)
                self._inbox.do(lambda: self._end(name, lambda: failed(why)))
            except Exception as error:  # noqa: BLE001 - a background look must not end silently
                why = self._faults.met(name, error)
                self._inbox.do(lambda: self._end(name, lambda: failed(why)))
            else:
                self._faults.over(name)
                self._inbox.do(lambda: self._end(name, finish))

        pool.submit(run)

    def _cancelled(self, name: str) -> bool:
        return name in self._cancels and self._cancels[name].is_set()

    def _end(self, name: str, finish: Callable[[], None]) -> None:
        self._names.discard(name)
        finish()
