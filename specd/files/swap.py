"""Replace a file's content without ever losing what somebody else writes at the same time.

Compare and swap, for files: read; work out the new content; write it beside the file; let the two
names change places atomically; look at what came out. If that is not what was read, somebody wrote
in between: their file is put back and the work starts again from it.

A writer that opened the file before the exchange may still be writing into the inode that came out.
On Linux a read lease tells: the kernel grants it only while nobody has the file open for writing.
As long as it is refused, the file that came out is not given up.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from specd.files import jsonedit
from specd.files.exchange import ExchangeUnsupported, exchange

ATTEMPTS = 8
"""How often somebody may write in between before ``Unsettled`` is raised."""

WRITER_S = 0.050
"""How long a writer that still has the file open is waited for."""

STEP_S = 0.001

MARK = ".specd-tmp"
"""What the names of temporary files end with; they start with a dot and the target's name."""

Transform: TypeAlias = Callable[["bytes | None"], "bytes | None"]
BeforeWrite: TypeAlias = Callable[[Path, "bytes | None", bytes], None]


class SwapError(Exception):
    """A file that could not be replaced; nothing of it was changed. The message says the remedy."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class Unsettled(SwapError):
    """Somebody keeps writing the file, or it is caught half-written."""


class ReadOnly(SwapError):
    """The file or its directory may not be written."""


class NoSpace(SwapError):
    """The disk or the quota is full."""


class Failed(SwapError):
    """The system refused, in its own words."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: ``path`` with symlinks resolved; ``before`` is None for a new file."""

    path: Path
    before: bytes | None
    after: bytes
    attempts: int


@dataclass(frozen=True, slots=True)
class _Read:
    descriptor: int
    inode: tuple[int, int]
    mode: int
    owner: tuple[int, int]
    content: bytes


def update(path: Path, transform: Transform, *, before_write: BeforeWrite) -> Written | None:
    """Replace the content of ``path`` by ``transform(content)``; None when there is nothing to do.

    ``transform`` is called again with their content when somebody else wrote meanwhile; it gets
    None when there is no file, and returns None to leave things as they are. ``before_write`` is called
    with (real path, old, new) before the exchange: a journal, say.

    Raises:
        SwapError: one of its kinds; the file is what it was, or what somebody else made of it.
    """
    real = Path(os.path.realpath(path))
    try:
        for attempt in range(1, ATTEMPTS + 1):
            done, written = _attempt(real, transform, before_write, attempt)
            if done:
                return written
            time.sleep(STEP_S)
    except jsonedit.NotUnderstood as error:
        raise Unsettled(real, f"{real}: {error}") from error
    except OSError as error:
        raise _explained(real, error) from error
    raise Unsettled(real, f"{real} was written by somebody else {ATTEMPTS} times in a row")


def _attempt(
    real: Path, transform: Transform, before_write: BeforeWrite, attempt: int
) -> tuple[bool, Written | None]:
    with _reading(real) as read:
        before = None if read is None else read.content
        after = transform(before)
        if after is None:
            return True, None
        before_write(real, before, after)
        with _temporary(real, after, read) as beside:
            won = _create(beside, real) if read is None else _replace(beside, real, read, after)
    return won, Written(real, before, after, attempt) if won else None


@contextlib.contextmanager
def _reading(real: Path) -> Iterator[_Read | None]:
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        yield None
        return
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Failed(real, f"{real} is not a regular file; specd leaves it alone")
        if facts.st_size > jsonedit.MAX_BYTES:
            raise Failed(real, f"{real} is larger than any settings file; specd leaves it alone")
        if not facts.st_mode & stat.S_IWUSR and os.geteuid() == facts.st_uid:
            raise ReadOnly(real, f"{real} is read-only; make it writable (chmod u+w) for specd")
        yield _Read(
            descriptor,
            (facts.st_dev, facts.st_ino),
            stat.S_IMODE(facts.st_mode),
            (facts.st_uid, facts.st_gid),
            _content(descriptor),
        )
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    chunks: list[bytes] = []
    offset = 0
    while chunk := os.pread(descriptor, 1 << 20, offset):
        chunks.append(chunk)
        offset += len(chunk)
    return b"".join(chunks)


@contextlib.contextmanager
def _temporary(real: Path, content: bytes, like: _Read | None) -> Iterator[Path]:
    if like is None:
        real.parent.mkdir(parents=True, exist_ok=True)
    beside = real.with_name(f".{real.name}.{os.getpid()}{MARK}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    descriptor = os.open(beside, flags, 0o600)
    try:
        try:
            os.fchmod(descriptor, like.mode if like is not None else 0o644)
            if like is not None and like.owner != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):
                    os.fchown(descriptor, *like.owner)
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        yield beside
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def _create(beside: Path, real: Path) -> bool:
    try:
        os.link(beside, real)
    except FileExistsError:
        return False
    return True


def _replace(beside: Path, real: Path, read: _Read, after: bytes) -> bool:
    """Whether ``after`` now stands in ``real`` and what was displaced is what was read."""
    try:
        exchange(beside, real)
    except ExchangeUnsupported:
        return _rename(beside, real, read)
    except FileNotFoundError:
        return False
    if _inode(beside) == read.inode and _left_alone(read):
        return True
    _put_back(beside, real, after)
    return False


def _rename(beside: Path, real: Path, read: _Read) -> bool:
    # No exchange here: the moment between this look and the rename is all that is left to chance.
    if _inode(real) != read.inode or _content(read.descriptor) != read.content:
        return False
    beside.replace(real)
    return True


def _left_alone(read: _Read) -> bool:
    """Whether the displaced file holds what was read and nobody can write to it any more."""
    deadline = time.monotonic() + WRITER_S
    while _has_writer(read.descriptor):
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_S)
    return _content(read.descriptor) == read.content


def _has_writer(descriptor: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        # SIGURG is ignored by default; the lease's own SIGIO would end the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def _put_back(beside: Path, real: Path, after: bytes) -> None:
    """Let the newest foreign file stand in ``real`` again, whoever wrote meanwhile."""
    try:
        exchange(beside, real)
    except FileNotFoundError:
        # They removed the file: then what they wrote last is what came out before.
        with contextlib.suppress(FileExistsError):
            os.link(beside, real)
        return
    if beside.read_bytes() != after:
        # What stood there was newer than what came out first: theirs again, not specd's.
        exchange(beside, real)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        facts = os.lstat(path)
    except FileNotFoundError:
        return None
    return facts.st_dev, facts.st_ino


def _explained(path: Path, error: OSError) -> SwapError:
    words = error.strerror or str(error)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnly(
            path, f"{path} may not be written ({words}); allow it, or set the values by hand"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(path, f"{path} could not be written ({words}); free some space")
    return Failed(path, f"{path} could not be written: {words}")
