"""Work that is too slow for a pass: one worker process at a time, results to the inbox.

Each job has its own thread. It takes a frozen value and returns one to the daemon's loop, which
alone changes the daemon's state. Every failure is a line in the log and a reason in the status
(``Faults``). When specd ends it waits for no such thread, except a moment for the worker's, to see
its process killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from specd.agent.faults import Faults
from specd.agent.inbox import Inbox
from specd.worker.client import Limits, TimeUp, WorkerError, run_task

Result = TypeVar("Result")

ENDING_S = 1.0
"""How long specd, when it ends, waits for a cancelled worker to end."""


class Jobs:
    """Starts background jobs; at most one of each name is running or waiting.

    The daemon's loop calls it, and runs all callbacks.
    """

    def __init__(self, inbox: Inbox, faults: Faults) -> None:
        self._inbox = inbox
        self._faults = faults
        self._closed = False
        self._names: set[str] = set()
        # By task, in their order: the thread, and the event that ends its worker.
        self._workers: dict[str, tuple[threading.Thread, threading.Event]] = {}

    def running(self, name: str) -> bool:
        """Whether the job called ``name`` has not ended yet."""
        return name in self._names

    def scout(
        self,
        name: str,
        look: Callable[[], Result],
        then: Callable[[Result], None] = lambda _: None,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Call ``look`` on a thread, then ``then(result)`` or ``failed(why)`` on the loop.

        ``look`` must not touch anything that the loop changes. Each failure goes to ``Faults`` in
        any case; ``failed`` does the rest.
        """
        thread = self._claimed(name, look, then, failed)
        if thread is not None:
            thread.start()

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
        """Run a worker task, after those before it; then ``then(result)`` or ``failed(why)``."""
        cancelled = threading.Event()

        def look() -> dict[str, Any]:
            return run_task(
                task,
                request,
                limits=limits,
                cancelled=cancelled,
                on_progress=lambda step: self._inbox.do(lambda: on_progress(step)),
            )

        thread = self._claimed(task, look, then, failed, cancelled)
        if thread is not None:
            self._workers[task] = thread, cancelled
            if len(self._workers) == 1:
                thread.start()

    def cancel(self, task: str) -> None:
        """Kill that worker and its processes; ``failed`` is called once they have ended."""
        if task in self._workers:
            self._workers[task][1].set()

    def close(self) -> None:
        """Kill the running worker; start nothing any more."""
        self._closed = True
        for thread, cancelled in tuple(self._workers.values())[:1]:
            cancelled.set()
            thread.join(ENDING_S)

    def _claimed(self, name: str, *work: Any) -> threading.Thread | None:
        """The thread of a job, to be started; None if one of that name has not ended."""
        if self._closed or name in self._names:
            return None
        self._names.add(name)
        run = (name, *work)
        return threading.Thread(target=self._run, args=run, name=f"specd {name}", daemon=True)

    def _run(
        self,
        name: str,
        look: Callable[[], Result],
        then: Callable[[Result], None],
        failed: Callable[[str], None],
        cancelled: threading.Event | None = None,
    ) -> None:
        finish: Callable[[], None]
        try:
            result = look()
        except Exception as error:  # noqa: BLE001 - a background look must not end silently
            if not isinstance(error, WorkerError):
                why = self._faults.met(name, error)
            else:
                why = str(error)
                if isinstance(error, TimeUp):
                    self._faults.over(name)
                elif cancelled is None or not cancelled.is_set():
                    self._faults.keep(name, why)
            finish = partial(failed, why)
        else:
            self._faults.over(name)
            finish = partial(then, result)
        self._inbox.do(lambda: self._end(name, finish))

    def _end(self, name: str, finish: Callable[[], None]) -> None:
        self._names.discard(name)
        if self._workers.pop(name, None) and self._workers and not self._closed:
            following, _ = next(iter(self._workers.values()))
            following.start()
        finish()
