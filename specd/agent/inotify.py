"""Linux's file events, left with the kernel while specd itself writes (watchdog's inotify).

A write of specd's makes half a dozen events of its own: a temporary file, its bytes, its new name.
Each would wake three threads of watchdog's in turn, and each of those takes the interpreter from
the write that somebody waits for. So nothing is told before the write is over; until then the
kernel keeps the events, and says so if it had to drop any. Specd's temporary files are never told
of.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import DEFAULT_EVENT_BUFFER_SIZE, InotifyEvent, InotifyFD
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from specd.files import swap


class Inotify(InotifyFD):
    """What the kernel tells, on a thread of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._telling = threading.Lock()

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Tell of nothing while the body runs, and of what happened meanwhile after it."""
        with self._telling:
            yield

    def read_events(
        self, *, event_buffer_size: int = DEFAULT_EVENT_BUFFER_SIZE
    ) -> list[InotifyEvent]:
        """Wait for events; those to be told of."""
        events = super().read_events(event_buffer_size=event_buffer_size)
        with self._telling:
            return [each for each in events if not swap.is_temporary(each.name)]


def observer(inotify: Inotify) -> BaseObserver:
    """An observer, not yet started, that hears of everything at once."""
    # watchdog holds back the first half of a rename, and whatever comes after it, for up to half a
    # second until it has the second half. Either half says that its path changed, which is all that
    # is asked here.
    InotifyMoveEventGrouper.delay = 0.0
    return BaseObserver(InotifyEmitter, inotify_fd=inotify)
