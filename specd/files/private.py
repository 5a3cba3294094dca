"""Small files: read with a limit; specd's own written atomically, readable only by the user."""

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

from specd import places
from specd.files.exchange import move_to_free_name

MAX_BYTES = 64 << 20
"""Bytes: far above any of these files; limits the cost of reading a damaged one."""

_CHUNK = 1 << 16
"""Read at once; the C library maps pages for a larger buffer and unmaps them, each time anew."""

UNFIT = (errno.EINVAL, errno.EFBIG, errno.EISDIR)
"""The errors of a file that is too large or not a regular one."""


class Broken(Exception):
    """The file's content is not what specd writes; the message says why."""


class LeadsNowhere(OSError):
    """A link on the way to a file leads to what is not there, as a disk that is not connected."""

    def __init__(self, link: Path) -> None:
        why = f"it is a link to {os.path.realpath(link)}, which is not there"
        super().__init__(errno.ENOENT, f"{why}; connect its disk, or remove the link", str(link))


_LEFTOVER = re.compile(r".+\.(\d+)\.new")


def write(path: Path, content: bytes, *, durable: bool = True, mode: int = 0o600) -> None:
    """Replace the file's content atomically; ``durable`` syncs to disk before the rename.

    Raises:
        OSError: it cannot be written; the old content is unchanged.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            os.fchmod(descriptor, mode)
            write_all(descriptor, content)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        beside.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def write_all(descriptor: int, content: bytes) -> None:
    """Append ``content`` to an open file, however many calls that takes."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def reach(path: Path) -> None:
    """Do nothing, unless a link on the way to ``path``, or in its place, leads to nothing.

    Raises:
        LeadsNowhere: one does.
    """
    for each in (path, *path.parents):
        if each.exists():
            return
        if each.is_symlink():
            raise LeadsNowhere(each)


def read(path: Path, at_most: int = MAX_BYTES) -> bytes:
    """The file's content, read without updating its access time, which would cost a write.

    Raises:
        LeadsNowhere: a link on the way to it leads to nothing.
        OSError: it cannot be read; with an errno of ``UNFIT`` where it is larger than ``at_most``
            bytes or not a regular file.
    """
    try:
        descriptor = _open_unnoted(path)
    except FileNotFoundError:
        reach(path)
        raise
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        content = b""
        if facts.st_size <= at_most:
            # Some files of the kernel's have no size. A read may return less than was asked for.
            content = os.read(descriptor, facts.st_size + 1 if facts.st_size else _CHUNK)
            while len(content) != facts.st_size and len(content) <= at_most:
                if not (more := os.read(descriptor, _CHUNK)):
                    break
                content += more
    finally:
        os.close(descriptor)
    if max(facts.st_size, len(content)) > at_most:
        raise OSError(errno.EFBIG, f"it holds more than {at_most >> 20} MiB", str(path))
    return content


def read_at(descriptor: int, size: int, start: int = 0) -> bytes:
    """The ``size`` bytes of an open file from ``start`` on; fewer where it ends before."""
    parts: list[bytes] = []
    # A read may return less than was asked for: only an empty one is the end.
    while size and (part := os.pread(descriptor, min(size, _CHUNK), start)):
        parts.append(part)
        start, size = start + len(part), size - len(part)
    return b"".join(parts)


def usable(path: Path) -> bool:
    """Whether ``path`` is a readable and writable regular file, or does not exist."""
    try:
        return stat.S_ISREG(path.stat().st_mode) and os.access(path, os.R_OK | os.W_OK)
    except FileNotFoundError:
        return not path.is_symlink()
    except OSError:
        return False


def _open_unnoted(path: Path) -> int:
    # O_NONBLOCK: a pipe in the file's place must not block the daemon.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    with contextlib.suppress(PermissionError):  # another user's file
        return os.open(path, flags | getattr(os, "O_NOATIME", 0))
    return os.open(path, flags)


def read_json(path: Path) -> object:
    """The document in the file; None if there is no file.

    Raises:
        Broken: it is not JSON, larger than ``MAX_BYTES``, or not a regular file.
        OSError: it cannot be read.
    """
    try:
        document: object = json.loads(read(path, MAX_BYTES))
    except (FileNotFoundError, LeadsNowhere):
        return None
    except OSError as error:
        if error.errno in UNFIT:
            raise Broken(error.strerror) from error
        raise
    except (ValueError, RecursionError) as error:
        raise Broken("it is no JSON that can be read") from error
    if document is None:
        raise Broken("it holds nothing")
    return document


def set_aside(path: Path, *, by: Callable[[Path, Path], None] = move_to_free_name) -> Path:
    """Rename an unusable file to a free name in the same directory; returns the new path.

    ``by`` renames, and raises FileExistsError if the name is taken.

    Raises:
        OSError: it cannot be renamed and is unchanged.
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


def make_directory(path: Path) -> None:
    """Make a directory of specd's own; in place of a ``REPLACEABLE`` one any other is set aside.

    Directories above it that are missing are made private too.

    Raises:
        LeadsNowhere: a link in its place, or on the way to it, leads to nothing.
        OSError: it cannot be made, or something else stands in its place.
    """
    reach(path.parent if path.name in places.REPLACEABLE else path)
    for missing in [each for each in reversed(path.parents) if not each.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        return
    # After one `sudo specd` it is root's.
    fits = path.is_dir() and os.access(path, os.W_OK | os.X_OK)
    if not fits and path.name in places.REPLACEABLE:
        set_aside(path)
    path.mkdir(mode=0o700, exist_ok=True)


def sweep(directory: Path) -> None:
    """Remove temporary files that a crash during ``write`` left; no other writer may run."""
    with contextlib.suppress(OSError):
        for left in tuple(directory.iterdir()):
            if _LEFTOVER.fullmatch(left.name):
                left.unlink()
