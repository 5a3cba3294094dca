"""Linux's file events (watchdog's inotify), so that what somebody waits for comes first.

That a file of ``urgent`` was written is told from the very thread that reads of it. watchdog, whose
two other threads everything goes through, tells of it once more: whatever became of its directory.

Then nothing more is read or told until specd has written: a write makes half a dozen events of its
own (a temporary file, its bytes, its new name), each would wake three threads in turn, and each of
those takes the interpreter from the write. The kernel keeps the events meanwhile, and says so if it
had to drop any. Specd's temporary files are never told of, nor are names that nobody asked for:
many a directory is watched for one name, and others may be busy in it.

An error in one of watchdog's own callbacks would end the thread that reads, and nothing would be
heard any more. It is logged instead, where ``specd.agent.watch`` takes it for lost events.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter, InotifyWatchGroup
from watchdog.observers.inotify_c import (
    DEFAULT_EVENT_BUFFER_SIZE,
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    Watch,
    WatchCallback,
    WatchDescriptor,
)
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper

from specd.files import swap

WRITE_S = 0.1
"""How long specd may take to write after it was told; then other events are told all the same."""


class Inotify(InotifyFD):
    """What the kernel tells, on a thread of its own.

    ``urgent`` are real paths with what each file is known as, which ``written`` is told. ``names``
    are real directories with all that is asked for in each; of any other one it is everything.
    """

    def __init__(self, written: Callable[[Path], None]) -> None:
        try:
            super().__init__()
        except OSError:
            # watchdog leaves it open where no pipe can be had beside it.
            with contextlib.suppress(AttributeError):
                os.close(self._inotify_fd)
            raise
        self.urgent: Mapping[bytes, Path] = {}
        self.names: Mapping[bytes, frozenset[bytes]] = {}
        self._written = written
        # More than one where a directory can be reached by several real paths: a bind mount.
        self._directories: dict[WatchDescriptor, frozenset[bytes]] = {}
        self._telling = threading.Lock()
        self._over = threading.Event()

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Tell of nothing while the body runs, and of what happened meanwhile after it."""
        with self._telling:
            try:
                yield
            finally:
                # Not later: the next wait may have begun, and would be over before its time.
                self._over.set()

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        """Watch a directory."""
        watch = super().add_callback(path, mask, callback, id_)
        self._directories[watch] = self._directories.get(watch, frozenset()) | {path}
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
            return [
                each
                for each in events
                if self._is_asked_for(each) and not swap.is_temporary(each.name)
            ]

    def handle_event(self, event: InotifyEvent) -> None:
        """Have watchdog tell of it."""
        try:
            super().handle_event(event)
        except Exception as error:  # noqa: BLE001 - see the module's docstring
            logging.getLogger("watchdog").warning("%s in watchdog", type(error).__name__)

    def _get_or_create_watch(self, path: bytes, mask: Mask) -> Watch:
        # Whoever watches the same directory for more goes on hearing of it.
        watch = super()._get_or_create_watch(path, Mask(mask | InotifyConstants.IN_MASK_ADD))
        if watch.wd < 0:
            # The one error that watchdog passes over, and it believes the directory watched.
            self._remove_watch(watch.wd)
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return watch

    def _is_asked_for(self, event: InotifyEvent) -> bool:
        """Whether anybody wants to know; what happens to the directory itself is always told."""
        if not event.name:
            return True
        asked = [self.names.get(path) for path in self._directories.get(event.wd, ())]
        return not asked or any(names is None or event.name in names for names in asked)

    def _urgent(self, events: Sequence[InotifyEvent]) -> set[Path]:
        found: set[Path] = set()
        for event in events:
            if event.is_ignored:
                self._directories.pop(event.wd, None)
            elif event.is_close_write or event.is_moved_to:
                # Where it was when it was watched; should it have moved, watchdog knows.
                for directory in self._directories.get(event.wd, ()):
                    path = os.path.join(directory, event.name)  # noqa: PTH118 - bytes
                    file = self.urgent.get(path)
                    found |= {file} if file is not None else set()
        return found


class _Group(InotifyWatchGroup):
    def _remove_watch_internally(self, wd: WatchDescriptor) -> None:
        # A directory that was moved out of sight is watched on under its old path, which by now
        # may be another's, or that other one's may have been forgotten already.
        path = self._active_callbacks_by_watch.pop(wd, None)
        if path is not None and self._active_callbacks_by_path.get(path) == wd:
            del self._active_callbacks_by_path[path]


class _Emitter(InotifyEmitter):
    def on_thread_start(self) -> None:
        self._inotify = _Group(
            self._inotify_fd,
            os.fsencode(self.watch.path),
            is_recursive=self.watch.is_recursive,
            event_mask=self.get_event_mask_from_filter(),
            follow_symlink=self.watch.follow_symlink,
        )


def observer(inotify: Inotify) -> BaseObserver:
    """An observer, not yet started, that hears of everything at once."""
    # watchdog holds back the first half of a rename, and whatever comes after it, for up to half a
    # second until it has the second half. Either half says that its path changed, which is all that
    # is asked here.
    InotifyMoveEventGrouper.delay = 0.0
    return BaseObserver(_Emitter, inotify_fd=inotify)
