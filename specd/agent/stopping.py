"""The end of the daemon: within two seconds of the signal, whatever is slow.

Python runs a signal's handler on the main thread between two of its steps, so not while that thread
waits for a file system or a database. But the interpreter writes the signal's number to a pipe
immediately, and a thread reads it there. specd's files are as good after a kill as after an orderly
end, so work that has not ended in time is left behind.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from specd.agent.events import Say

PATIENCE_S = 1.7


class Stopping:
    """Handles SIGTERM, SIGINT and SIGHUP; create it on the main thread.

    It calls ``stop`` and ``look`` on its own thread.
    """

    def __init__(self, stop: Callable[[], None], look: Callable[[], None], say: Say) -> None:
        self._stop = stop
        self._look = look
        self._say = say
        self._heard, telling = os.pipe()
        os.set_blocking(telling, False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        for number in numbers:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
        # A program that starts specd with signals blocked passes that on.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        threading.Thread(target=self._wait, name="specd-signals", daemon=True).start()

    def _wait(self) -> None:
        while numbers := os.read(self._heard, 64):
            if not {signal.SIGTERM, signal.SIGINT}.isdisjoint(numbers):
                self._stop()
                threading.Timer(PATIENCE_S, self._give_up).start()
                return
            if signal.SIGHUP in numbers:
                self._look()

    def _give_up(self) -> None:
        # Writing the log may be slow too.
        threading.Timer(0.1, os._exit, (0,)).start()
        self._say("warning", "specd stopped without waiting for unfinished work")
