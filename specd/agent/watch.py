"""Watch exactly the directories that matter, and follow them when they are moved or replaced.

``follow`` gets the whole set of directories whenever paths may lead elsewhere, and compares it with
the present watches by path and inode, so a directory that was deleted and made again, or replaced
by a symlink, gets a new watch. Every name on the way to a directory is watched too, from the root
down (see ``specd.agent.way``): if one is moved, created or becomes a symlink, ``reshaped`` is
called. The same happens when a file becomes a symlink, or stops being one.

A report has the path by which the daemon knows a file, also when the event happened behind a
symlink. While the writer may still have the file open, the report is unsettled.

The platform's source (``specd.agent.source``) delivers the events. Watches are limited (on Linux by
``fs.inotify.max_user_watches``, one for every directory below the models). ``polling`` says why not
everything is watched; then the daemon polls. A tree that cannot be watched as a whole is not
watched at all, which leaves room for the other directories.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

from specd.agent import way
from specd.agent.source import LIMITS, Source, Target
from specd.files.attributes import inode
from specd.lmstudio.home import WatchedDir

Changed = Callable[[Path, bool], None]
"""(path as the daemon knows it, whether its writer has finished)."""


def source_of_this_platform(watch: Watch) -> Source:
    """Inotify on Linux, kqueue and FSEvents on macOS.

    Raises:
        OSError: the system has no instance left.
    """
    if sys.platform == "linux":
        from specd.agent.inotify import Inotify  # noqa: PLC0415 - exists on Linux only

        return Inotify(watch)
    from specd.agent.vnodes import Vnodes  # noqa: PLC0415 - exists on macOS only

    return Vnodes(watch)


class Watch:
    """The present watches. It calls ``changed`` on a thread of the source.

    ``remounted`` is called when the table of mounts changed: a read-only file may be writable now.
    ``polling`` says why not everything is watched, else None.
    """

    def __init__(
        self,
        changed: Changed,
        reshaped: Callable[[], None],
        lost: Callable[[str], None],
        remounted: Callable[[], None],
        source: Callable[[Watch], Source] = source_of_this_platform,
    ) -> None:
        self._remounted = remounted
        self._changed = changed
        self._reshaped = reshaped
        self._open = source
        self._source: Source | None = None
        self._watched: set[Target] = set()
        self._ended: set[Target] = set()
        self._aliases: dict[Path, Path] = {}
        self._shape: set[Path] = set()
        self._files: frozenset[Path] = frozenset()
        self.polling: str | None = None
        self._lost = _Lost(lost)
        for name in _LOGGERS:
            logging.getLogger(name).addHandler(self._lost)

    def close(self) -> None:
        """Stop every thread."""
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self._lost)
        if self._source is not None:
            self._source.close()

    def held_back(self) -> AbstractContextManager[None]:
        """Hold reports back until the body has ended, where the platform allows it."""
        return self._source.held_back() if self._source is not None else nullcontext()

    def follow(self, directories: Iterable[WatchedDir], files: Iterable[Path]) -> bool:
        """Watch these directories, and the targets of those ``files`` that are symlinks.

        Returns whether the watches changed: then a change since the last look may be unreported.
        """
        before = set(self._watched), self._files
        aims = _Aims()
        for directory in directories:
            aims.directory(directory)
        followed = {Path(os.path.realpath(file)): file for file in files}
        for real, file in followed.items():
            aims.aliases[real] = file  # a folder on its way may lead into another watched one
            if file.is_symlink():
                aims.behind(file, real)
        self._aliases = aims.aliases
        self._shape = aims.shape
        self._files = frozenset(followed.values())
        again = self._subscribe(_merged(aims.targets), frozenset(followed))
        return again or before != (self._watched, self._files)

    def _subscribe(self, targets: set[Target], urgent: frozenset[Path]) -> bool:
        """Watch these and no others; returns whether one that had ended is watched again."""
        reported = tuple(self._ended)
        self._ended.difference_update(reported)
        ended = self._watched.intersection(reported)
        for target in (self._watched - targets) | ended:
            self._drop(target)
        try:
            source = self._source = self._source or self._open(self)
            source.hurry(urgent)
            # Whole trees last: they may use up what there is.
            for target in sorted(targets - self._watched, key=lambda each: each.recursive):
                self._add(source, target)
        except OSError as error:
            self.polling = (
                f"the system's limit on file watches is reached ({error.strerror}); specd looks "
                f"by itself every few seconds (raise {_LIMIT})"
            )
            for target in [each for each in self._watched if each.recursive]:
                self._drop(target)
        else:
            self.polling = None
        return bool(ended)

    def _add(self, source: Source, target: Target) -> None:
        """Watch one directory, unless it disappeared meanwhile or is unreadable.

        Raises:
            OSError: a limit is reached.
        """
        try:
            source.add(target)
        except OSError as error:
            source.drop(target)
            if error.errno in LIMITS:
                raise
            return
        self._watched.add(target)

    def _drop(self, target: Target) -> None:
        self._watched.discard(target)
        if self._source is not None:
            with contextlib.suppress(OSError):
                self._source.drop(target)

    # -- what the source reports, on its thread

    def changed(self, real: Path, *, settled: bool = True, moved: bool = False) -> None:
        """Something happened to ``real``, or below it if it is a tree at a calm pace.

        ``settled``: its writer has finished. ``moved``: the name appeared, disappeared or leads to
        another file; otherwise only the content changed.
        """
        known = self._known_as(real)
        if moved and self._leads_elsewhere(real, known):
            self._reshaped()
        self._changed(known, settled)

    def ended(self, target: Target) -> None:
        """The target is not watched any more: its directory is gone, or a limit was reached."""
        self._ended.add(target)
        self._reshaped()

    def mounted(self) -> None:
        """Something was mounted or unmounted, which file events do not report."""
        # Does a watched path lead to another directory now?
        if any(inode(target.real) != target.inode for target in tuple(self._watched)):
            self._reshaped()
        else:
            self._remounted()

    def _leads_elsewhere(self, real: Path, known: Path) -> bool:
        """Whether a watched path may lead elsewhere, after ``real`` appeared or disappeared."""
        # While a file was a symlink, its own name was on the way to it, and so in the shape.
        return real in self._shape or (known in self._files and real.is_symlink())

    def _known_as(self, real: Path) -> Path:
        """The path by which the daemon knows a file: through the closest aliased directory."""
        for above in (real, *real.parents):
            if above in self._aliases:
                return self._aliases[above] / real.relative_to(above)
        return real


_LIMIT = (
    "fs.inotify.max_user_watches and _instances"
    if sys.platform == "linux"
    else "`launchctl limit maxfiles`"
)

_LOGGERS = ("watchdog", "fsevents")


class _Lost(logging.Handler):
    """Takes watchdog's log lines about lost events; then everything must be read again."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = lost

    def emit(self, record: logging.LogRecord) -> None:
        self._tell(record.getMessage())


class _Aims:
    """Where to watch: directories, their names in the daemon, and the names on the way to them."""

    def __init__(self) -> None:
        self.targets: set[Target] = set()
        self.aliases: dict[Path, Path] = {}
        self.shape: set[Path] = set()

    def directory(self, wanted: WatchedDir) -> None:
        """Watch a directory, and every name on the way to it."""
        self.shape |= self._way(wanted.path)
        if wanted.path.is_dir():
            real = Path(os.path.realpath(wanted.path))
            if real != wanted.path or real not in self.aliases:
                self.aliases[real] = wanted.path
            self._add(Target(real, wanted.recursive, wanted.names, pace=wanted.pace))

    def behind(self, link: Path, real: Path) -> None:
        """Watch the file that a symlink leads to, and every name on the way to it."""
        # The file itself is replaced with every save; that does not change where the link leads.
        self.shape |= self._way(link) - {real}
        self._add(Target(real.parent, names=frozenset({real.name})))

    def _way(self, path: Path) -> set[Path]:
        steps = set(way.steps(path))
        for step in steps:
            names = frozenset({step.name})
            self._add(Target(step.parent, names=names, contents=False, pace="seldom"))
        return steps

    def _add(self, target: Target) -> None:
        file = inode(target.real)
        if file is not None:
            self.targets.add(replace(target, inode=file))


def _merged(targets: set[Target]) -> set[Target]:
    """One target per real directory, the widest of those requested; calm ones stay apart."""
    merged: dict[tuple[Path, bool], Target] = {}
    for target in targets:
        key = target.real, target.pace == "calm"
        known = merged.get(key)
        merged[key] = target if known is None else target.joined(known)
    trees = [each for each in merged.values() if each.recursive]
    return {
        target for target in merged.values() if not any(_covers(tree, target) for tree in trees)
    }


def _covers(tree: Target, target: Target) -> bool:
    return (
        tree != target
        and (tree.pace == "calm") == (target.pace == "calm")
        and target.real.is_relative_to(tree.real)
    )
