"""Stand-ins for what macOS's kernel offers, over real files: ``select.kqueue`` and FSEvents.

Only the kernel's side is stood in for. watchdog's own FSEvents observer runs over ``Stream``, and
specd's own kqueue code over ``Kqueue``. What they do, from kqueue(2), fsevents.h and watchdog's
``_watchdog_fsevents.c``:

- kqueue reports a vnode by descriptor, so under whatever name it has by now: written, extended,
  renamed, deleted. A directory is written when a name in it comes, goes or is exchanged. Nothing
  below is reported. Events are cleared when they are read, and several are one until then.
- An FSEvents stream is recursive, always. It reports real paths (``/private/var`` for ``/var``),
  late, several events of one item as one with all their flags, and at its start some that happened
  before it was opened.
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors  # noqa: F401 - it chooses once, by what select offers
import stat
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    import pytest

LOOK_S = 0.002
"""How often the stand-ins look: the kernel needs no looking."""

# sys/event.h
KQ_FILTER_READ, KQ_FILTER_VNODE = -1, -4
KQ_EV_ADD, KQ_EV_ENABLE, KQ_EV_CLEAR = 0x1, 0x4, 0x20
KQ_NOTE_DELETE, KQ_NOTE_WRITE, KQ_NOTE_EXTEND, KQ_NOTE_ATTRIB = 0x1, 0x2, 0x4, 0x8
KQ_NOTE_LINK, KQ_NOTE_RENAME, KQ_NOTE_REVOKE = 0x10, 0x20, 0x40


@dataclass
class Kevent:
    """One event, or what is asked for: ``select.kevent``."""

    ident: int
    filter: int
    flags: int = 0
    fflags: int = 0
    data: int = 0
    udata: int = 0


@dataclass
class _Vnode:
    """What one descriptor looked like when it was last looked at."""

    asked: Kevent
    facts: os.stat_result
    name: str
    parent: tuple[int, int] | None


class Kqueue:
    """``select.kqueue``."""

    opened: ClassVar[list[str]] = []
    """Every path that was ever given a descriptor here."""

    woken: ClassVar[list[str]] = []
    """Every path of which an event was read."""

    def __init__(self) -> None:
        self._vnodes: dict[int, _Vnode] = {}
        self._readable: dict[int, Kevent] = {}
        self._lock = threading.Lock()
        self.closed = False

    def control(
        self, changes: list[Kevent] | None, most: int, timeout: float | None = None
    ) -> list[Kevent]:
        with self._lock:
            for change in changes or ():
                if change.filter == KQ_FILTER_READ:
                    self._readable[change.ident] = change
                else:
                    self._vnodes[change.ident] = _look(change)
                    Kqueue.opened.append(_path(change.ident))
        end = None if timeout is None else time.monotonic() + timeout
        while most and not self.closed:
            found = self._found()
            Kqueue.woken += [_path(each.ident) for each in found]
            if found or (end is not None and time.monotonic() >= end):
                return found[:most]
            time.sleep(LOOK_S)
        return []

    def close(self) -> None:
        self.closed = True

    def _found(self) -> list[Kevent]:
        with self._lock:
            found = [
                each
                for ident, each in self._readable.items()
                if select.select([ident], [], [], 0)[0]
            ]
            for ident, before in list(self._vnodes.items()):
                try:
                    now = _look(before.asked)
                except OSError:  # it was closed, which takes it out
                    del self._vnodes[ident]
                    continue
                if (now.facts.st_dev, now.facts.st_ino) != (
                    before.facts.st_dev,
                    before.facts.st_ino,
                ):
                    del self._vnodes[ident]  # closed, and the number given to another file
                    continue
                notes = _notes(before, now) & before.asked.fflags
                self._vnodes[ident] = now
                if notes:
                    found.append(Kevent(ident, KQ_FILTER_VNODE, 0, notes, 0, before.asked.udata))
        return found


def _path(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _look(asked: Kevent) -> _Vnode:
    facts = os.fstat(asked.ident)
    path = Path(_path(asked.ident))
    parent = None
    with contextlib.suppress(OSError):
        above = path.parent.stat()
        parent = above.st_dev, above.st_ino
    return _Vnode(asked, facts, path.name.removesuffix(" (deleted)"), parent)


def _notes(before: _Vnode, now: _Vnode) -> int:
    notes = 0
    gone = now.facts.st_nlink == 0
    if gone and before.facts.st_nlink:
        notes |= KQ_NOTE_DELETE
    elif not gone and (before.name, before.parent) != (now.name, now.parent):
        notes |= KQ_NOTE_RENAME
    if not gone and now.facts.st_mtime_ns != before.facts.st_mtime_ns:
        notes |= KQ_NOTE_WRITE
        if now.facts.st_size > before.facts.st_size and stat.S_ISREG(now.facts.st_mode):
            notes |= KQ_NOTE_EXTEND
    return notes


# -- FSEvents

# FSEvents.h
CREATED, REMOVED, INODE_META_MOD, RENAMED, MODIFIED = 0x100, 0x200, 0x400, 0x800, 0x1000
IS_FILE, IS_DIR, ROOT_CHANGED = 0x10000, 0x20000, 0x20

HISTORY_S = 30.0


class NativeEvent:
    """``_watchdog_fsevents.NativeEvent``: flags as properties."""

    def __init__(self, path: str, inode: int, flags: int, event_id: int) -> None:
        self.path, self.inode, self.flags, self.event_id = path, inode, flags, event_id
        self.is_created = bool(flags & CREATED)
        self.is_removed = bool(flags & REMOVED)
        self.is_modified = bool(flags & MODIFIED)
        self.is_renamed = bool(flags & RENAMED)
        self.is_inode_meta_mod = bool(flags & INODE_META_MOD)
        self.is_xattr_mod = self.is_owner_change = False
        self.is_root_changed = bool(flags & ROOT_CHANGED)
        self.is_directory = bool(flags & IS_DIR)


class Stream:
    """``_watchdog_fsevents.Stream``."""

    opened: ClassVar[list[str]] = []
    delivered: ClassVar[list[tuple[float, int]]] = []
    """(when, how many events) of every delivery."""

    def __init__(self, paths: list[str], *, latency: float = 0.01) -> None:
        self._asked = paths[0]
        self._top = os.path.realpath(paths[0])
        self._latency = latency
        self._end = threading.Event()
        Stream.opened.append(self._top)

    def run(self, callback: Callable[..., None], started: Callable[[], None]) -> None:
        before: dict[str, os.stat_result] = dict(_walk(self._top))
        recent = time.time() - HISTORY_S
        history = [
            (path, facts.st_ino, CREATED | MODIFIED | _kind(facts))
            for path, facts in before.items()
            if facts.st_mtime > recent
        ]
        started()
        number = 0
        while not self._end.wait(self._latency):
            now = dict(_walk(self._top))
            events = [*history, *_changes(before, now)]
            if not Path(self._top).is_dir():
                events.append((self._top, 0, ROOT_CHANGED | IS_DIR))
                self._end.set()
            history, before = [], now
            if events:
                paths, inodes, flags = zip(*events, strict=True)
                ids = list(range(number, number + len(events)))
                number += len(events)
                callback(list(paths), list(inodes), list(flags), ids)
                Stream.delivered.append((time.monotonic(), len(events)))

    def stop(self) -> None:
        self._end.set()


def _walk(top: str) -> Iterator[tuple[str, os.stat_result]]:
    for at, directories, files in os.walk(top):
        for name in (*directories, *files):
            with contextlib.suppress(OSError):
                path = str(Path(at, name))
                yield path, os.lstat(path)


def _kind(facts: os.stat_result) -> int:
    return IS_DIR if stat.S_ISDIR(facts.st_mode) else IS_FILE


def _changes(
    before: dict[str, os.stat_result], now: dict[str, os.stat_result]
) -> Iterator[tuple[str, int, int]]:
    was, at = ({facts.st_ino: path for path, facts in each.items()} for each in (before, now))
    for path, facts in before.items():
        if facts.st_ino not in at:
            yield path, facts.st_ino, REMOVED | _kind(facts)
        elif at[facts.st_ino] != path:
            yield path, facts.st_ino, RENAMED | _kind(facts)
    for path, facts in now.items():
        if facts.st_ino not in was:
            yield path, facts.st_ino, CREATED | MODIFIED | _kind(facts)
        elif was[facts.st_ino] != path:
            yield path, facts.st_ino, RENAMED | _kind(facts)
        elif before[path].st_mtime_ns != facts.st_mtime_ns:
            yield path, facts.st_ino, CREATED | MODIFIED | _kind(facts)


def install(patch: pytest.MonkeyPatch) -> None:
    """Have this process find macOS's kernel interfaces."""
    for name, value in globals().items():
        if name.startswith("KQ_"):
            patch.setattr(select, name, value, raising=False)
    patch.setattr(select, "kqueue", Kqueue, raising=False)
    patch.setattr(select, "kevent", Kevent, raising=False)
    module: Any = types.ModuleType("_watchdog_fsevents")
    module.Stream, module.NativeEvent = Stream, NativeEvent
    patch.setitem(sys.modules, "_watchdog_fsevents", module)
    patch.setattr(Kqueue, "opened", [])
    patch.setattr(Kqueue, "woken", [])
    patch.setattr(Stream, "opened", [])
    patch.setattr(Stream, "delivered", [])
