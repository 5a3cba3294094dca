"""Small files of specd's own: replaced whole, readable by their owner alone, read with bounds."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

from specd.files.exchange import move_to_free_name

MAX_BYTES = 4 << 20
"""Far above any of these files; the bound keeps what a broken one costs small."""


class Broken(Exception):
    """The file holds something else than specd would have written; the message says what."""


_LEFTOVER = re.compile(r".+\.(\d+)\.new")


def write(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Replace the file by ``content``; ``durable`` has it on disk before it gets the name.

    Raises:
        OSError: it could not be written; what stood there before still does.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def read(path: Path) -> bytes:
    """All of the file, without the note of when it was read: that would be a write for a read.

    Raises:
        OSError: it cannot be read, or is no regular file.
    """
    with open(path, "rb", opener=_unnoted) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return file.read()


def usable(path: Path) -> bool:
    """Whether ``path`` is a regular file that may be read and written, or free for one."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and os.access(path, os.R_OK | os.W_OK)
    except FileNotFoundError:
        return not path.is_symlink()
    except OSError:
        return False


def _unnoted(path: str, flags: int) -> int:
    flags |= os.O_NONBLOCK  # a pipe in a file's place must not stop the daemon
    with contextlib.suppress(PermissionError):  # somebody else's file
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    return os.open(path, flags)


def read_json(path: Path) -> object:
    """The document in the file; None when there is no file.

    Raises:
        Broken: it is no JSON, or nothing specd would have written.
        OSError: it cannot be read.
    """
    try:
        descriptor = _unnoted(str(path), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Broken("it is no regular file")
        if facts.st_size > MAX_BYTES:
            raise Broken(f"it is {facts.st_size:,} bytes long")
        raw = file.read(MAX_BYTES)
    try:
        document: object = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Broken("it is no JSON that can be read") from error
    if document is None:
        raise Broken("it holds nothing")
    return document


def set_aside(path: Path, *, by: Callable[[Path, Path], None] = move_to_free_name) -> Path:
    """Move what is not understood away, beside itself under a free name; where it lies now.

    ``by`` is what gives it the name, and raises FileExistsError where something has it.

    Raises:
        OSError: it cannot be moved; it is where it was.
    """
    first = aside = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
    more = itertools.count(2)
    while True:
        try:
            by(path, aside)
        except FileExistsError:
            aside = first.with_name(f"{first.name}-{next(more)}")
        else:
            return aside


def name_twice(one: Path, other: Path) -> None:
    """Give the file ``one`` the name ``other`` as well; where there are no links, instead.

    Raises:
        FileExistsError: something has that name.
    """
    try:
        os.link(one, other, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        move_to_free_name(one, other)


def sweep(directory: Path) -> None:
    """Remove what a crash in the middle of ``write`` left here; nobody else writes meanwhile."""
    with contextlib.suppress(OSError):
        for left in tuple(directory.iterdir()):
            if _LEFTOVER.fullmatch(left.name):
                left.unlink()
