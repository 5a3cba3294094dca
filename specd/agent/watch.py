"""Watch exactly the directories that matter, whatever becomes of them (watchdog).

The set of directories is given anew whenever the world changed shape, and compared with what is
being watched: by path and by inode, so a directory that was deleted and made again, or replaced by
a symlink, is watched afresh. Every name on the way to it is watched too, from the root down (see
``specd.agent.way``): should one of them be moved, made or turned into a symlink, that is a new
shape. So it is when a file is one symlink more, or less, away.

Events are told by the name under which the daemon knows a file, also when the event happened
behind a symlink. A file that was only *modified* is still open in its writer's hands; where the
platform tells when it is closed (Linux), that is what counts and a modification is passed on as
unsettled.

Watches are limited (on Linux by ``fs.inotify.max_user_watches``, one for every directory below the
models). What cannot be watched is said in ``polling``, and somebody has to look by himself. The
watch of a whole tree is kept only if all of it is watched, to leave room for the few that matter.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from specd.agent import way
from specd.agent.mounts import Mounts
from specd.files.attributes import inode
from specd.lmstudio.home import WatchedDir

if TYPE_CHECKING:
    from specd.agent.inotify import Inotify

TELLS_CLOSE = sys.platform == "linux"
TELLS_ALL_BELOW = sys.platform == "darwin"
"""FSEvents tells of everything below a directory: to watch "/" would be to hear of every file."""

LIMITS = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_KINDS: list[type[FileSystemEvent]] = [
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileModifiedEvent,
    FileClosedEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
]

_KINDS_OF_SHAPE = [each for each in _KINDS if each not in (FileModifiedEvent, FileClosedEvent)]

Changed = Callable[[Path, bool], None]
"""(path as the daemon knows it, whether its writer is done with it)."""


@dataclass(frozen=True, slots=True)
class _Target:
    """One real directory to watch: only direct children called ``names`` count, unless None.

    Whether they come and go counts always; ``contents``: also what is written into them.
    """

    real: Path
    inode: tuple[int, int]
    recursive: bool = False
    names: frozenset[str] | None = None
    contents: bool = True

    def joined(self, other: _Target) -> _Target:
        """What both ask of the same directory."""
        names = None
        if self.names is not None and other.names is not None:
            names = self.names | other.names
        return replace(
            self,
            recursive=self.recursive or other.recursive,
            names=names,
            contents=self.contents or other.contents,
        )


@dataclass(frozen=True, slots=True)
class _Alias:
    """Events under ``real`` are told as if they happened under ``known``."""

    real: Path
    known: Path


@dataclass(frozen=True, slots=True)
class _Subscription:
    watch: ObservedWatch
    handler: _Handler


class Watch:
    """The observer and its subscriptions. ``changed`` is called on a watchdog thread.

    ``remounted`` is called when the table of mounts changed: what was read-only may not be now.
    ``spare`` is a directory that is not among those followed: whether it could be watched too tells
    whether all below the others are. ``polling`` says why not everything is watched, else None.
    """

    def __init__(
        self,
        changed: Changed,
        reshaped: Callable[[], None],
        lost: Callable[[str], None],
        remounted: Callable[[], None],
        spare: Path,
    ) -> None:
        self._remounted = remounted
        self._changed = changed
        self._reshaped = reshaped
        self._spare = spare
        self._observer: BaseObserver | None = None
        self._inotify: Inotify | None = None
        self._subscribed: dict[_Target, _Subscription] = {}
        self._aliases: tuple[_Alias, ...] = ()
        self._shape: frozenset[Path] = frozenset()
        self._files: frozenset[Path] = frozenset()
        self.polling: str | None = None
        self._lost = _Lost(lost)
        self._mounts = Mounts(self._look_beneath)

    def start(self) -> None:
        """Start the watching threads."""
        logging.getLogger("watchdog").addHandler(self._lost)
        self._mounts.start()

    def close(self) -> None:
        """Stop every thread."""
        self._mounts.close()
        logging.getLogger("watchdog").removeHandler(self._lost)
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(5)
        if self._inotify is not None:
            self._inotify.stop()
            self._inotify.join(5)

    def held_back(self) -> AbstractContextManager[None]:
        """Where it can be helped, tell of nothing while the body runs; of all of it after."""
        return self._inotify.held_back() if self._inotify is not None else nullcontext()

    def follow(self, directories: Iterable[WatchedDir], files: Iterable[Path]) -> bool:
        """Watch these directories, and what ``files`` really are where they are symlinks.

        Returns whether that is not what was watched before: then something may have happened there
        unheard since it was last looked at.
        """
        before = dict(self._subscribed), self._files
        targets: set[_Target] = set()
        aliases: set[_Alias] = set()
        shape: set[Path] = set()
        for directory in directories:
            _aim(directory, targets, aliases, shape)
        urgent: dict[bytes, Path] = {}
        for file in files:
            real = Path(os.path.realpath(file))
            urgent[os.fsencode(real)] = file
            if file.is_symlink():
                _aim_behind(file, real, targets, aliases, shape)
        # The longest real path first, so that the closest alias names an event.
        self._aliases = tuple(sorted(aliases, key=lambda each: -len(each.real.parts)))
        self._shape = frozenset(shape)
        self._files = frozenset(urgent.values())
        self._subscribe(_merged(targets), urgent)
        return before != (self._subscribed, self._files)

    def _subscribe(self, targets: set[_Target], urgent: Mapping[bytes, Path]) -> None:
        gone = {target for target, known in self._subscribed.items() if known.handler.gone}
        for target in (set(self._subscribed) - targets) | gone:
            self._drop(target)
        try:
            observer = self._observer = self._observer or self._started()
            if self._inotify is not None:
                self._inotify.urgent = urgent
                self._inotify.names = {
                    os.fsencode(target.real): frozenset(map(os.fsencode, target.names))
                    for target in targets
                    if target.names is not None
                }
            # Whole trees last: they may use up what there is.
            for target in sorted(targets - set(self._subscribed), key=lambda each: each.recursive):
                self._schedule(observer, target)
            self._probe(observer)
        except OSError as error:
            self.polling = (
                f"the system's limit on file watches is reached ({error.strerror}); specd looks "
                "by itself every few seconds (raise fs.inotify.max_user_watches and _instances)"
            )
            for target in [each for each in self._subscribed if each.recursive]:
                self._drop(target)
        else:
            self.polling = None

    def _started(self) -> BaseObserver:
        if TELLS_CLOSE:
            from specd.agent.inotify import Inotify, observer  # noqa: PLC0415 - Linux only

            self._inotify = Inotify(lambda path: self._changed(path, True))  # noqa: FBT003
            self._inotify.start()
            made = observer(self._inotify)
        else:
            made = Observer()
        made.start()
        return made

    def _schedule(self, observer: BaseObserver, target: _Target) -> None:
        """Watch one directory; one that went meanwhile, or may not be looked into, is passed over.

        Raises:
            OSError: a limit is reached.
        """
        handler = _Handler(self._heard, self._reshaped, target)
        try:
            watch = observer.schedule(
                handler,
                str(target.real),
                recursive=target.recursive,
                event_filter=_KINDS if target.contents else _KINDS_OF_SHAPE,
            )
        except OSError as error:
            if error.errno in LIMITS:
                raise
            return
        self._subscribed[target] = _Subscription(watch, handler)

    def _drop(self, target: _Target) -> None:
        known = self._subscribed.pop(target)
        if self._observer is not None:
            with contextlib.suppress(KeyError, OSError):
                self._observer.unschedule(known.watch)

    def _probe(self, observer: BaseObserver) -> None:
        # watchdog passes over directories below a watched one when no watch is left for them.
        if any(target.recursive for target in self._subscribed):
            watch = observer.schedule(FileSystemEventHandler(), str(self._spare), event_filter=[])
            observer.unschedule(watch)

    def _look_beneath(self) -> None:
        # Something was mounted somewhere: does a watched path lead to another directory now?
        if any(inode(target.real) != target.inode for target in tuple(self._subscribed)):
            self._reshaped()
        else:
            self._remounted()

    def _heard(self, event: FileSystemEvent) -> None:
        settled = not (TELLS_CLOSE and isinstance(event, FileModifiedEvent))
        for spelled in (event.src_path, event.dest_path):
            if not spelled:
                continue
            real = Path(os.fsdecode(spelled))
            known = self._known_as(real)
            if not isinstance(event, FileModifiedEvent) and self._leads_elsewhere(real, known):
                self._reshaped()
            self._changed(known, settled)

    def _leads_elsewhere(self, real: Path, known: Path) -> bool:
        """Whether something is found in another place now, after ``real`` came or went."""
        # As long as it was a symlink, a file was on the way to itself and so in the shape.
        return real in self._shape or (known in self._files and real.is_symlink())

    def _known_as(self, real: Path) -> Path:
        for alias in self._aliases:
            if real == alias.real:
                return alias.known
            if real.is_relative_to(alias.real):
                return alias.known / real.relative_to(alias.real)
        return real


class _Handler(FileSystemEventHandler):
    def __init__(
        self,
        heard: Callable[[FileSystemEvent], None],
        ended: Callable[[], None],
        target: _Target,
    ) -> None:
        self._heard = heard
        self._ended = ended
        self._target = target
        self.gone = False

    def dispatch(self, event: FileSystemEvent) -> None:
        if isinstance(event, DirDeletedEvent) and event.src_path == str(self._target.real):
            # Its watch went with it, even if a new directory has the same name and inode already.
            self.gone = True
            self._ended()
        names = self._target.names
        if names is not None:
            # Every event in the user's home directory comes by here: no Path is made of it.
            touched = {
                os.path.basename(os.fsdecode(path))  # noqa: PTH119 - see above
                for path in (event.src_path, event.dest_path)
                if path
            }
            if not touched & names and os.fsdecode(event.src_path) != str(self._target.real):
                return
        self._heard(event)


class _Lost(logging.Handler):
    """watchdog says in its log that events were lost; then everything must be looked at again."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = lost

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


def _aim(
    directory: WatchedDir, targets: set[_Target], aliases: set[_Alias], shape: set[Path]
) -> None:
    """Watch a directory, and every name on the way to it that could turn it into another one."""
    path = directory.path
    shape.update(_watched_way(path, targets))
    if path.is_dir():
        real = Path(os.path.realpath(path))
        if real != path:
            aliases.add(_Alias(real, path))
        _add(targets, real, recursive=directory.recursive, names=directory.names)


def _aim_behind(
    link: Path, real: Path, targets: set[_Target], aliases: set[_Alias], shape: set[Path]
) -> None:
    """Watch the file that a symlink leads to, and every name on the way to it."""
    aliases.add(_Alias(real, link))
    # The file itself comes and goes with every save, and is the same one for all that.
    shape.update(_watched_way(link, targets) - {real})
    _add(targets, real.parent, names=frozenset({real.name}))


def _watched_way(path: Path, targets: set[_Target]) -> set[Path]:
    steps = set(_way(path))
    for step in steps:
        _add(targets, step.parent, names=frozenset({step.name}), contents=False)
    return steps


def _way(path: Path) -> Iterable[Path]:
    steps = tuple(way.steps(path))
    if not TELLS_ALL_BELOW:
        return steps
    return (Path(os.path.realpath(path.parent), path.name), *steps[-1:])


def _add(
    targets: set[_Target],
    real: Path,
    *,
    recursive: bool = False,
    names: frozenset[str] | None,
    contents: bool = True,
) -> None:
    file = inode(real)
    if file is not None:
        targets.add(_Target(real, file, recursive, names, contents))


def _merged(targets: set[_Target]) -> set[_Target]:
    """One subscription per real directory: the widest of those asked for."""
    merged: dict[Path, _Target] = {}
    for target in targets:
        known = merged.get(target.real)
        merged[target.real] = target if known is None else target.joined(known)
    recursive = [target.real for target in merged.values() if target.recursive]
    return {
        target
        for target in merged.values()
        if not any(root != target.real and target.real.is_relative_to(root) for root in recursive)
    }
