"""Linux's file events (watchdog's inotify), so that what somebody waits for comes first.

That a file of ``urgent`` was written is told from the very thread that reads of it. watchdog, whose
two other threads everything goes through, tells of it once more: whatever became of its directory.

Then nothing more is read or told until specd has written: a write makes half a dozen events of its
own (a temporary file, its bytes, its new name), each would wake three threads in turn, and each of
those takes the interpreter from the write. The kernel keeps the events meanwhile, and says so if it
had to drop any. Specd's temporary files are never told of.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import (
    DEFAULT_EVENT_BUFFER_SIZE,
    CallbackId,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from specd.files import swap

WRITE_S = 0.1
"""How long specd may take to write after it was told; then other events are told all the same."""


class Inotify(InotifyFD):
    """What the kernel tells, on a thread of its own.

    ``urgent`` are real paths with what each file is known as, which ``written`` is told.
    """

    def __init__(self, written: Callable[[Path], None]) -> None:
        super().__init__()
        self.urgent: Mapping[bytes, Path] = {}
        self._written = written
        self._directories: dict[WatchDescriptor, bytes] = {}
        self._telling = threading.Lock()
        self._over = threading.Event()

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Tell of nothing while the body runs, and of what happened meanwhile after it."""
        try:
            with self._telling:
                yield
        finally:
            self._over.set()

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        """Watch a directory."""
        watch = super().add_callback(path, mask, callback, id_)
        self._directories[watch] = path
        return watch

    def read_events(
        self, *, event_buffer_size: int = DEFAULT_EVENT_BUFFER_SIZE
    ) -> list[InotifyEvent]:
        """Wait for events; those that watchdog is to tell of."""
        events = super().read_events(event_buffer_size=event_buffer_size)
        if written := self._urgent(events):
            with self._telling:
                self._over.clear()
                for file in written:
                    self._written(file)
            self._over.wait(WRITE_S)
        with self._telling:
            return [each for each in events if not swap.is_temporary(each.name)]

    def _urgent(self, events: Sequence[InotifyEvent]) -> set[Path]:
        found: set[Path] = set()
        for event in events:
            if event.is_ignored:
                self._directories.pop(event.wd, None)
            elif event.is_close_write or event.is_moved_to:
                # Where it was when it was watched; should it have moved, watchdog knows.
                directory = self._directories.get(event.wd, b"")
                file = self.urgent.get(os.path.join(directory, event.name))  # noqa: PTH118 - bytes
                found |= {file} if file is not None else set()
        return found


def observer(inotify: Inotify) -> BaseObserver:
    """An observer, not yet started, that hears of everything at once."""
    # watchdog holds back the first half of a rename, and whatever comes after it, for up to half a
    # second until it has the second half. Either half says that its path changed, which is all that
    # is asked here.
    InotifyMoveEventGrouper.delay = 0.0
    return BaseObserver(InotifyEmitter, inotify_fd=inotify)
