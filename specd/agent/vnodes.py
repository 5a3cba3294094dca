"""macOS's file events: kqueue for LM Studio's few files, ``stat`` for shared directories.

FSEvents watches whole trees: a stream on the user's home directory or on LM Studio's would wake
specd at every change that any program makes below it. So:

- **now** (settings.json, model defaults, specd.toml): a descriptor on each directory and each
  relevant file, in one kqueue. The kernel reports a directory when a name in it appears, disappears
  or is replaced, and a file when it is written, but nothing below. Comparing a few ``stat`` results
  with the last ones shows which names of a directory changed.
- **seldom** (the home pointer, every name on the way to a directory): ``stat`` every ``SELDOM_S``.
- **calm** (the models): an FSEvents stream, through watchdog, that delivers every ``CALM_S``. Only
  creation, renaming and deletion are reported, not bytes being written.

kqueue does not report when a writer closes its file. A file that was written in place is reported
as unsettled, one that was renamed into place as settled.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from watchdog.events import DirDeletedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver, ObservedWatch

from specd.agent.source import LIMITS, Target
from specd.files import swap

if TYPE_CHECKING:
    from specd.agent.watch import Watch

SELDOM_S = 5.0
"""How often the names at a seldom pace are compared."""

CALM_S = 2.0
"""How long FSEvents may collect events of the models before it delivers them."""

AFTER_FAULT_S = 1.0
"""Pause after an error, so that a lasting one costs little."""

MOST_WATCHED = 1_024
"""Directories of one tree that get a descriptor; the resync covers the others."""

_FOR_EVENTS_ONLY = 0x8000
"""O_EVTONLY of fcntl.h: the descriptor does not keep a volume from being unmounted."""

_MOST_EVENTS = 64

_kernel: Any = select
"""Any: select.kqueue and its constants exist on macOS only."""

_COMES_AND_GOES = ("created", "deleted", "moved")

Seen: TypeAlias = tuple[int, int, int, int, int] | None
"""(device, inode, kind, size, modification time) of a name itself; None: nothing has the name."""


@dataclass(eq=False, slots=True)
class _Node:
    """One open descriptor: a directory of a target, or a file in one."""

    path: Path
    target: Target
    descriptor: int
    directory: bool
    number: int
    seen: dict[str, Seen] = field(default_factory=dict)


class Vnodes:
    """A thread with one kqueue, and FSEvents streams for the calm trees."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._queue = _kernel.kqueue()
        self._wake, self._waker = os.pipe()
        self._nodes: dict[int, _Node] = {}
        self._files: dict[Path, _Node] = {}
        self._seldom: dict[Target, dict[str, Seen]] = {}
        self._look_at = 0.0
        self._urgent: frozenset[Path] = frozenset()
        self._changing = threading.RLock()
        self._closing = False
        self._count = 0
        self._streams = _Streams(watch)
        self._thread = threading.Thread(target=self._run, name="specd-vnodes", daemon=True)
        self._register(self._wake, 0, _kernel.KQ_FILTER_READ, 0)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and close every descriptor."""
        self._closing = True
        os.write(self._waker, b"!")
        self._thread.join(5)
        self._streams.close()
        with self._changing:
            for node in tuple(self._nodes.values()):
                self._close(node)
        self._queue.close()
        os.close(self._wake)
        os.close(self._waker)

    def held_back(self) -> AbstractContextManager[None]:
        """Hold nothing back: kqueue joins several writes into one report anyway."""
        return nullcontext()

    def hurry(self, urgent: frozenset[Path]) -> None:
        """Set the urgent files: each has a descriptor of its own."""
        with self._changing:
            self._urgent = urgent
            for node in tuple(self._nodes.values()):
                if node.directory:
                    self._open_files(node)

    def add(self, target: Target) -> None:
        """Watch a target; see ``Source``."""
        if target.pace == "calm":
            self._streams.add(target)
            return
        with self._changing:
            if target.pace == "seldom":
                self._seldom[target] = _look(target.real, target.names)
            else:
                self._open_tree(target.real, target)

    def drop(self, target: Target) -> None:
        """Watch a target no longer."""
        if target.pace == "calm":
            self._streams.drop(target)
            return
        with self._changing:
            self._seldom.pop(target, None)
            for node in tuple(self._nodes.values()):
                if node.target == target:
                    self._close(node)

    # -- descriptors

    def _open_tree(self, top: Path, target: Target) -> None:
        self._open_directory(top, target)
        if not target.recursive:
            return
        for path in _directories_below(top):
            if len(self._nodes) < MOST_WATCHED:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    self._open_directory(path, target)

    def _open_directory(self, path: Path, target: Target) -> None:
        flags = _FOR_EVENTS_ONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW
        node = self._opened(path, target, os.open(path, flags), directory=True)
        node.seen = _look(path, self._names(node))
        self._open_files(node)

    def _open_files(self, directory: _Node) -> None:
        """A descriptor on each file of a directory whose content matters."""
        target = directory.target
        if not target.contents:
            return
        named = target.names or () if directory.path == target.real else ()
        wanted = {directory.path / name for name in named} | {
            path for path in self._urgent if path.parent == directory.path
        }
        flags = _FOR_EVENTS_ONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        for path in wanted - self._files.keys():
            try:
                descriptor = os.open(path, flags)
            except OSError as error:
                if error.errno in LIMITS:
                    raise
                continue
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._files[path] = self._opened(path, target, descriptor, directory=False)
            else:
                os.close(descriptor)

    def _opened(self, path: Path, target: Target, descriptor: int, *, directory: bool) -> _Node:
        # By number: when an event is read, its descriptor may already belong to another file.
        self._count += 1
        node = _Node(path, target, descriptor, directory, self._count)
        self._nodes[node.number] = node
        written = _kernel.KQ_NOTE_WRITE | _kernel.KQ_NOTE_EXTEND
        self._register(descriptor, node.number, _kernel.KQ_FILTER_VNODE, written | _gone())
        return node

    def _register(self, descriptor: int, number: int, kind: int, notes: int) -> None:
        flags = _kernel.KQ_EV_ADD | _kernel.KQ_EV_CLEAR
        event = _kernel.kevent(descriptor, kind, flags, notes, 0, number)
        self._queue.control([event], 0, 0)

    def _close(self, node: _Node) -> None:
        del self._nodes[node.number]
        if self._files.get(node.path) is node:
            del self._files[node.path]
        os.close(node.descriptor)  # which takes it out of the kqueue

    # -- events

    def _run(self) -> None:
        while not self._closing:
            try:
                self._hear()
            except Exception as error:  # noqa: BLE001 - it would end the thread; see ``_Lost``
                logging.getLogger("watchdog").warning("%s in kqueue", type(error).__name__)
                time.sleep(AFTER_FAULT_S)

    def _hear(self) -> None:
        for event in self._queue.control(None, _MOST_EVENTS, SELDOM_S):
            self._handle(event.udata, event.fflags)
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + SELDOM_S
            self._look_around()

    def _handle(self, number: int, notes: int) -> None:
        ended: Target | None = None
        with self._changing:
            node = self._nodes.get(number)
            if node is None:
                return  # the waker, or a descriptor that was closed meanwhile
            changed: list[tuple[Path, bool]] = []
            try:
                if not notes & _gone():
                    changed = self._compare(node) if node.directory else [(node.path, False)]
                else:
                    self._close(node)
                    if node.directory:
                        self._close_below(node.path)
                        ended = node.target if node.path == node.target.real else None
                    else:  # macOS may not report an exchange on the directory
                        changed = self._compare_directory(node.path.parent)
            except OSError:  # a limit: ``add`` will meet and report it
                ended = node.target
        self._report(changed)
        if ended is not None:
            self._watch.ended(ended)

    def _compare_directory(self, path: Path) -> list[tuple[Path, bool]]:
        watched = [node for node in self._nodes.values() if node.directory and node.path == path]
        return [change for node in watched for change in self._compare(node)]

    def _compare(self, node: _Node) -> list[tuple[Path, bool]]:
        """(path, whether the name leads to another file now) of each change in a directory."""
        before, node.seen = node.seen, _look(node.path, self._names(node))
        changed = _differences(node.path, before, node.seen)
        for path, moved in tuple(changed):
            if moved and path in self._files:
                self._close(self._files[path])
            if moved and node.target.recursive and path.is_dir() and not path.is_symlink():
                self._close_below(path)
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    self._open_tree(path, node.target)
                changed += [(each, True) for each in path.rglob("*")]
        self._open_files(node)
        return changed

    def _close_below(self, top: Path) -> None:
        for node in tuple(self._nodes.values()):
            if node.path.is_relative_to(top):
                self._close(node)

    def _look_around(self) -> None:
        changed: list[tuple[Path, bool]] = []
        with self._changing:
            for target, before in self._seldom.items():
                now = self._seldom[target] = _look(target.real, target.names)
                changed += _differences(target.real, before, now)
        self._report(changed)

    def _report(self, changed: list[tuple[Path, bool]]) -> None:
        for path, moved in changed:
            self._watch.changed(path, settled=moved, moved=moved)

    @staticmethod
    def _names(node: _Node) -> frozenset[str] | None:
        return node.target.names if node.path == node.target.real else None


class _Streams:
    """One FSEvents stream for each calm tree, opened when there is the first."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._observer: BaseObserver | None = None
        self._streams: dict[Target, ObservedWatch] = {}

    def add(self, target: Target) -> None:
        if self._observer is None:
            from watchdog.observers.fsevents import FSEventsObserver  # noqa: PLC0415 - macOS only

            self._observer = FSEventsObserver(latency=CALM_S)
            self._observer.start()
        below = _Below(self._watch, target)
        self._streams[target] = self._observer.schedule(below, str(target.real), recursive=True)

    def drop(self, target: Target) -> None:
        stream = self._streams.pop(target, None)
        if stream is not None and self._observer is not None:
            with contextlib.suppress(KeyError):
                self._observer.unschedule(stream)

    def close(self) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(5)


class _Below(FileSystemEventHandler):
    """Reports that a name appeared or disappeared in a tree.

    It does not report which: FSEvents' spelling of a path may differ from specd's.
    """

    def __init__(self, watch: Watch, target: Target) -> None:
        self._watch = watch
        self._target = target

    def dispatch(self, event: FileSystemEvent) -> None:
        if event.event_type not in _COMES_AND_GOES:
            return
        if isinstance(event, DirDeletedEvent) and not self._target.real.exists():
            self._watch.ended(self._target)
        else:
            self._watch.changed(self._target.real)


def _gone() -> int:
    notes: int = _kernel.KQ_NOTE_DELETE | _kernel.KQ_NOTE_RENAME | _kernel.KQ_NOTE_REVOKE
    return notes


def _look(directory: Path, names: frozenset[str] | None) -> dict[str, Seen]:
    """The ``Seen`` of each name in a directory; None: all names but specd's temporary files."""
    if names is None:
        try:
            names = frozenset(os.listdir(directory))  # noqa: PTH208 - names are what is wanted
        except OSError:
            return {}
        names = frozenset(n for n in names if not swap.is_temporary(os.fsencode(n)))
    return {name: _seen(directory / name) for name in names}


def _seen(path: Path) -> Seen:
    try:
        facts = path.lstat()
    except OSError:
        return None
    # A new name in a directory changes the directory's ``stat``, but the directory is the same.
    inside = stat.S_ISDIR(facts.st_mode)
    return (
        facts.st_dev,
        facts.st_ino,
        stat.S_IFMT(facts.st_mode),
        0 if inside else facts.st_size,
        0 if inside else facts.st_mtime_ns,
    )


def _differences(
    directory: Path, before: Mapping[str, Seen], now: Mapping[str, Seen]
) -> list[tuple[Path, bool]]:
    changed: list[tuple[Path, bool]] = []
    for name in sorted(before.keys() | now.keys()):
        was, is_now = before.get(name), now.get(name)
        if was != is_now:
            same_file = was is not None and is_now is not None and was[:3] == is_now[:3]
            changed.append((directory / name, not same_file))
    return changed


def _directories_below(top: Path) -> Iterator[Path]:
    for at, directories, _ in os.walk(top):
        for name in directories:
            yield Path(at, name)
