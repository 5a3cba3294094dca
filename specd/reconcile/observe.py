"""Look at the files specd may edit: what is in them now, read again only when they moved.

A pass that follows an event looks at the files the event named; everything else is served from the
last look. A full look (start, resync, reload) checks every file's identity and reads those that
changed. Identity alone is not trusted for a file written a moment ago: two writes of equal length
within one tick of the file system's clock look the same, so such a file is read again next time.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from specd.files import jsonedit
from specd.files.pointer import ABSENT, Absent, Json

RACY_NS = 50_000_000
"""A file modified less than this before it was read may change again without looking changed."""


@dataclass(frozen=True, slots=True)
class FileSeen:
    """One file as it was read.

    ``content`` is None when there is no file. ``document`` is ABSENT when there is none or it could
    not be understood; then ``problem`` says why in words, and ``unsettled`` whether waiting may
    help (a file caught in the middle of being written, a moment without free descriptors).
    """

    path: Path
    content: bytes | None
    document: Json | Absent
    problem: str | None = None
    unsettled: bool = False


@dataclass(frozen=True, slots=True)
class _Identity:
    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class Observer:
    """Remembers what the files held, so that a pass reads only what may have changed."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[_Identity | None, bool, FileSeen]] = {}

    def look(self, paths: Iterable[Path], dirty: AbstractSet[Path] | None) -> dict[Path, FileSeen]:
        """The content of each of ``paths``. Those in ``dirty`` are read again.

        With ``dirty`` None each file's identity is checked; else a path that is not in ``dirty``
        and was seen before is answered from memory, without a system call.
        """
        seen: dict[Path, FileSeen] = {}
        for path in paths:
            known = self._seen.get(path)
            if known is not None and dirty is not None and path not in dirty:
                seen[path] = known[2]
            else:
                seen[path] = self._look_at(path, known, sure=dirty is not None)
        return seen

    def forget(self) -> None:
        """Forget everything: the home is another one now."""
        self._seen.clear()

    def _look_at(
        self,
        path: Path,
        known: tuple[_Identity | None, bool, FileSeen] | None,
        *,
        sure: bool,
    ) -> FileSeen:
        identity = _identity(path)
        if known is not None and not sure and known[0] == identity and not known[1]:
            return known[2]
        file = read_file(path, known[2] if known is not None else None)
        racy = identity is not None and time.time_ns() - identity.modified_ns < RACY_NS
        # What could not be read may be readable later, with nothing about the file changed.
        unread = file.problem is not None and file.content is None
        self._seen[path] = (identity, racy or unread, file)
        return file


def read_file(path: Path, known: FileSeen | None = None) -> FileSeen:
    """Read and parse one JSON file; never raises for what is on disk.

    ``known`` is returned as it is when the file still holds the same bytes.
    """
    try:
        content = _read(path)
    except FileNotFoundError:
        return FileSeen(path, None, ABSENT)
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror or error}"
        return FileSeen(path, None, ABSENT, why, unsettled=True)
    if content is None:
        return FileSeen(path, None, ABSENT, f"{path} is not a regular file of a sensible size")
    if known is not None and known.content == content:
        return known
    try:
        return FileSeen(path, content, jsonedit.parse(content))
    except jsonedit.NotUnderstood as error:
        return FileSeen(path, content, ABSENT, f"{path}: {error}", unsettled=True)


def is_away(home: Path) -> bool:
    """Whether a directory is missing, or is the empty place where a disk was mounted."""
    try:
        with os.scandir(home) as entries:
            return next(iter(entries), None) is None
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False


def _read(path: Path) -> bytes | None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > jsonedit.MAX_BYTES:
            return None
        content = bytearray()
        while chunk := os.read(descriptor, 1 << 20):
            content += chunk
            if len(content) > jsonedit.MAX_BYTES:
                return None
        return bytes(content)
    finally:
        os.close(descriptor)


def _identity(path: Path) -> _Identity | None:
    try:
        facts = os.stat(path)  # noqa: PTH116 - on the hot path; Path.stat() costs twice as much
    except OSError:
        return None
    return _Identity(
        facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
    )
