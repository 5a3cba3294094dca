"""Linux's file events, read with watchdog's inotify wrapper on one thread.

A write to an urgent file is reported directly from the thread that reads inotify. That thread then
waits until specd has written: specd's write makes half a dozen events, and handling each event
would take the interpreter away from that write. The kernel keeps the events meanwhile, and reports
if it dropped any. Names outside a target's ``names`` and specd's temporary files are not reported.

Trees at a calm pace (the models) have a separate reader. It does not watch modification, and pauses
after each read: a download wakes it at most every two seconds.

A mount or an unmount changes where a path leads without a file event, but the kernel marks
``/proc/self/mountinfo`` as changed; waiting for that costs nothing.

This is the only module that knows watchdog's inotify classes. It uses their public methods and one
private name: ``_inotify_fd``, to close it where the constructor fails half-way.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.observers.inotify_c import (
    DEFAULT_EVENT_BUFFER_SIZE,
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from specd.agent.source import LIMITS, Target
from specd.files import swap

if TYPE_CHECKING:
    from specd.agent.watch import Watch

WRITE_S = 0.1
"""How long reading waits for specd's write after an urgent report."""

CALM_S = 2.0
"""Pause after each read of the trees at a calm pace."""

_SHAPE = (
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_DONT_FOLLOW
    # A directory that can be reached by two paths has one watch, with the events of both.
    | InotifyConstants.IN_MASK_ADD
)


class Inotify:
    """One reader for urgent directories, one for calm trees, started with the first, and mounts."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._now = _Reader(watch)
        self._calm: _Reader | None = None
        self._end, self._ending = os.pipe()
        self._mounts = threading.Thread(target=self._wait, name="specd-mounts", daemon=True)
        self._mounts.start()

    def close(self) -> None:
        """Stop reading."""
        os.close(self._ending)
        self._mounts.join(5)
        os.close(self._end)
        for reader in (self._now, self._calm):
            if reader is not None:
                reader.closing = True
                reader.stop()
                reader.join(5)

    def add(self, target: Target) -> None:
        """Watch a target; see ``Source``."""
        self._reader(target).add(target)

    def drop(self, target: Target) -> None:
        """Watch a target no longer."""
        self._reader(target).drop(target)

    def hurry(self, urgent: frozenset[Path]) -> None:
        """Set the urgent files."""
        self._now.urgent = frozenset(map(os.fsencode, urgent))

    def held_back(self) -> contextlib.AbstractContextManager[None]:
        """Report nothing urgent while the body runs; report it afterwards."""
        return self._now.held_back()

    def _wait(self) -> None:
        with contextlib.suppress(OSError), Path("/proc/self/mountinfo").open("rb") as table:
            waiting = select.poll()
            waiting.register(table, select.POLLPRI)
            waiting.register(self._end, select.POLLHUP)
            while not any(ready == self._end for ready, _ in waiting.poll()):
                self._watch.mounted()

    def _reader(self, target: Target) -> _Reader:
        if target.pace != "calm":
            return self._now
        if self._calm is None:
            self._calm = _Reader(self._watch, pause_s=CALM_S)
        return self._calm


@dataclass(frozen=True, slots=True, eq=False)
class _Directory:
    """One watched directory: watchdog's ``WatchCallback``."""

    reader: _Reader
    target: Target
    path: bytes
    names: frozenset[bytes] | None

    @property
    def id(self) -> CallbackId:
        return CallbackId(id(self))

    def on_event(self, event: InotifyEvent) -> None:
        self.reader.heard(self, event)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """The kernel has dropped the watch: the directory is gone."""
        self.reader.gone(self, wd)

    def on_queue_overflow(self) -> None:
        """Events were lost; there may be new directories without a watch."""
        if self.target.recursive:
            self.reader.watch.ended(self.target)


class _Reader(InotifyFD):
    """Reads one inotify instance."""

    def __init__(self, watch: Watch, *, pause_s: float = 0.0) -> None:
        try:
            super().__init__()
        except OSError:
            # watchdog leaves it open when it cannot make the pipe.
            with contextlib.suppress(AttributeError):
                os.close(self._inotify_fd)
            raise
        self.watch = watch
        self.urgent: frozenset[bytes] = frozenset()
        self.closing = False
        self._pause_s = pause_s
        self._watched: dict[WatchDescriptor, tuple[_Directory, ...]] = {}
        self._changing = threading.Lock()
        self._reporting = threading.Lock()
        self._over = threading.Event()
        self.start()

    # -- what is watched

    def add(self, target: Target) -> None:
        path = os.fsencode(target.real)
        names = None if target.names is None else frozenset(map(os.fsencode, target.names))
        self._open(_Directory(self, target, path, names))
        if target.recursive:
            for _ in self._below(target, path):
                pass

    def drop(self, target: Target) -> None:
        self._forget(lambda each: each.target == target)

    def _open(self, directory: _Directory) -> None:
        mask = _SHAPE
        if directory.target.contents:
            mask |= InotifyConstants.IN_CLOSE_WRITE
            if directory.target.pace != "calm":
                mask |= InotifyConstants.IN_MODIFY
        wd = self.add_callback(directory.path, Mask(mask), directory, directory.id)
        if wd < 0:
            # The one error that watchdog ignores, as if the directory were watched.
            self.remove_callbacks([(wd, directory.id)])
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory.path)
        with self._changing:
            self._watched[wd] = (*self._watched.get(wd, ()), directory)

    def _below(self, target: Target, top: bytes) -> Iterator[bytes]:
        """Watch all directories below ``top``; yields every name found there.

        Raises:
            OSError: a limit is reached.
        """
        for at, directories, files in os.walk(top):
            for name in (*directories, *files):
                yield os.path.join(at, name)  # noqa: PTH118 - bytes
            for name in directories:
                path = os.path.join(at, name)  # noqa: PTH118 - bytes
                try:
                    self._open(_Directory(self, target, path, None))
                except OSError as error:
                    if error.errno in LIMITS:
                        raise

    def _forget(self, which: Callable[[_Directory], bool]) -> None:
        with self._changing:
            gone = [
                (wd, each) for wd, known in self._watched.items() for each in known if which(each)
            ]
            for wd, each in gone:
                left = tuple(other for other in self._watched[wd] if other is not each)
                if left:
                    self._watched[wd] = left
                else:
                    del self._watched[wd]
        self.remove_callbacks([(wd, each.id) for wd, each in gone])

    # -- what happens

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Report nothing while the body runs; report it afterwards."""
        with self._reporting:
            try:
                yield
            finally:
                # Within the lock: after it, this could end the next wait too early.
                self._over.set()

    def read_events(
        self, *, event_buffer_size: int = DEFAULT_EVENT_BUFFER_SIZE
    ) -> list[InotifyEvent]:
        """Wait for events; report urgent writes, and return the other events."""
        events = super().read_events(event_buffer_size=event_buffer_size)
        if self._pause_s:
            self.stopped_event.wait(self._pause_s)
        written = {file for event in events for file in self._urgent(event)}
        if written:
            with self._reporting:
                self._over.clear()
                for file in written:
                    self.watch.changed(Path(os.fsdecode(file)))
            self._over.wait(WRITE_S)
        with self._reporting:
            return [each for each in events if not swap.is_temporary(each.name)]

    def handle_event(self, event: InotifyEvent) -> None:
        """Report one event; an error must not end the thread, which reads all others."""
        try:
            super().handle_event(event)
        except OSError as error:
            if error.errno not in LIMITS:
                raise
            for directory in self._watched.get(event.wd, ()):
                self.watch.ended(directory.target)
        except Exception as error:  # noqa: BLE001 - specd.agent.watch takes the warning for lost events
            logging.getLogger("watchdog").warning("%s in watchdog", type(error).__name__)

    def _urgent(self, event: InotifyEvent) -> Iterator[bytes]:
        if event.is_close_write or event.is_moved_to:
            for directory in self._watched.get(event.wd, ()):
                path = os.path.join(directory.path, event.name)  # noqa: PTH118 - bytes
                if path in self.urgent:
                    yield path

    def heard(self, directory: _Directory, event: InotifyEvent) -> None:
        target = directory.target
        if not event.name or (directory.names is not None and event.name not in directory.names):
            return
        path = os.path.join(directory.path, event.name)  # noqa: PTH118 - bytes
        content_only = event.is_modify or event.is_close_write
        if content_only and not target.contents:
            return  # wanted by another target of the same directory
        found = [path]
        if target.recursive and event.is_directory:
            if event.is_moved_from:
                below = path + b"/"
                self._forget(lambda e: e.target == target and (e.path + b"/").startswith(below))
            elif event.is_create or event.is_moved_to:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    self._open(_Directory(self, target, path, None))
                    found += self._below(target, path)
        if target.pace == "calm":
            self.watch.changed(target.real)
            return
        for each in found:
            self.watch.changed(
                Path(os.fsdecode(each)), settled=not event.is_modify, moved=not content_only
            )

    def gone(self, directory: _Directory, wd: WatchDescriptor) -> None:
        with self._changing:
            self._watched.pop(wd, None)
        if not self.closing and directory.path == os.fsencode(directory.target.real):
            self.watch.ended(directory.target)
