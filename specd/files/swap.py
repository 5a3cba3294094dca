"""Replace a file's content without losing what another program writes at the same time.

Compare-and-swap for files: read; compute the new content; write it to a temporary file beside the
file; exchange the two names atomically; compare the displaced file with what was read. If they
differ, another program wrote in between: its newer content is exchanged back, and the work starts
again from it. If the file displaced by that is not specd's own, it is newer still, and so on.

**Writers in place.** A program that opened the file before the exchange may still write into the
displaced inode. On Linux the kernel grants a read lease only while no process has the file open for
writing, and blocks later writers until the lease ends. While the lease is refused, the displaced
file is kept. Elsewhere (macOS, NFS) the displaced file is compared again after ``GRACE_S``; a
program that truncates the file first is noticed at once on any platform. One gap remains on Linux:
an ``open`` that found the old file before the exchange, and is still in the kernel between look-up
and lease check while specd takes and releases the lease.

**Files that must keep their inode.** An exchange gives the name to another inode. A program that
keeps the file open for writing would continue to write into the old one, and other hard links would
keep the old content. So if the file has several links, or a program does not close it within
``WRITER_S``, the new content is written into the file itself. Until that is complete, the journal
holds the old content and a file beside it the new content. A write of another program between the
last comparison and specd's write is lost, and a reader at that moment may see a part of the file.

**Several specd processes** take turns (``specd.files.turns``).

**Crashes.** If specd is killed at any point, the file is wholly old or wholly new; ``recover``
completes a file that was being written in place. A temporary file may be left beside it. Its name
contains the hashes of the content that was read and of the content to write, so ``recover`` can
distinguish specd's own file from another program's update that must go back. New content is synced
to disk before it gets the file's name. The directory is not synced: after a power loss the file may
be the old one, which is drift like any other and costs one more write.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from specd.files import attributes, holders, jsonedit, private, turns
from specd.files.exchange import ExchangeUnsupported, exchange, move_to_free_name

ATTEMPTS = 8
"""``Unsettled`` is raised after this many writes of other programs in between."""

SETTLE_S = 0.250
"""A file that is not valid JSON may become valid within this time: an app is writing it."""

WRITER_S = 0.050
"""Longest wait for a program that has the file open for writing."""

GRACE_S = 0.003
"""Without leases: late writes in place are noticed for this long after the exchange."""

AT_WORK_S = 10.0
"""A younger temporary file of a running process is in use, not left over."""

STEP_S = 0.001

NAME_BYTES = 255
"""The longest name that file systems allow."""

_HASHED = "~specd~"

_SYNCING = ThreadPoolExecutor(max_workers=1, thread_name_prefix="specd-sync")

_LEFTOVER = re.compile(
    r"\.(?P<name>.+)\.(?P<pid>\d+)"
    r"(?:\.(?P<before>[0-9a-f]{16})-(?P<after>[0-9a-f]{16})\.specd-(?P<how>swap|over)|\.specd-part)",
    re.DOTALL,
)

Transform: TypeAlias = Callable[["bytes | None"], "bytes | None"]
BeforeWrite: TypeAlias = Callable[[Path, "bytes | None", bytes], None]


class SwapError(Exception):
    """A file cannot be replaced and is unchanged. The message names the remedy."""

    def __init__(self, path: Path, message: str) -> None:
        super().__init__(message)
        self.path = path


class Unsettled(SwapError):
    """Another program keeps writing the file, or the file is incomplete."""


class ReadOnly(SwapError):
    """The file or its directory may not be written."""


class NotKept(SwapError):
    """Its owner, group or access control list would be lost."""


class Taken(SwapError):
    """Another specd process writes in the directory."""


class Outside(SwapError):
    """A link leads out of the directory that the file must be in."""


class Failed(SwapError):
    """The system refused, in its own words."""


@dataclass(frozen=True, slots=True)
class Written:
    """A finished write: ``path`` with symlinks resolved; ``before`` is None for a new file."""

    path: Path
    before: bytes | None
    after: bytes


@dataclass(frozen=True, slots=True)
class Recovered:
    """A temporary file that a crash left beside ``path``, and how ``recover`` resolved it."""

    path: Path
    outcome: Literal["removed", "put back", "superseded", "kept", "finished"]

    @property
    def result(self) -> str:
        """The outcome as a clause."""
        return {
            "removed": "its temporary file is removed",
            "finished": "its bytes were half written and are complete now",
            "put back": "what another program had written meanwhile is back in place",
            "superseded": "an older write of another program beside it is removed",
            "kept": "it was being removed, and is still there",
        }[self.outcome]


@dataclass(frozen=True, slots=True)
class _File:
    """One file at one moment; ``content`` is None if it is not a regular file."""

    inode: tuple[int, int]
    content: bytes | None


@dataclass(frozen=True, slots=True)
class _Read(_File):
    content: bytes
    descriptor: int
    facts: os.stat_result


def update(
    path: Path,
    transform: Transform,
    *,
    before_write: BeforeWrite,
    within: Path | None = None,
    wait_s: float = turns.WAIT_S,
) -> Written | None:
    """Replace the content of ``path`` by ``transform(content)``; None if nothing was written.

    ``transform`` gets None if there is no file, and returns None to leave the file alone. If
    another program writes meanwhile, it is called again with the new content. If it raises
    ``NotUnderstood``, it is called again for up to ``SETTLE_S``. ``before_write`` is called with
    (real path, old, new) before each exchange, for the journal. With ``within``, links out of that
    directory are not followed. ``wait_s`` is the longest wait for another specd process.

    Raises:
        SwapError: one of its kinds; specd changed nothing.
    """
    real = _real(path, within)
    with _explaining(real), contextlib.ExitStack() as made:
        if not real.parent.is_dir():
            if transform(None) is None:
                return None
            made.enter_context(_folders(real.parent, within))
        with turns.turn(real.parent, wait_s):
            _sweep(real.parent)
            for _ in range(ATTEMPTS):
                done, written = _attempt(real, transform, before_write)
                if done:
                    return written
                time.sleep(STEP_S)
    raise Unsettled(real, f"{real} was written by somebody else {ATTEMPTS} times in a row")


def remove(
    path: Path,
    content: bytes,
    *,
    within: Path | None = None,
    to: Path | None = None,
    wait_s: float = turns.WAIT_S,
) -> bool:
    """Remove the file if its content is ``content``; returns whether it did.

    With ``to``, a name in the same directory, the file is renamed instead and replaces the file
    with that name. ``within`` and ``wait_s`` as in ``update``.

    Raises:
        SwapError: one of its kinds; the file is still there.
    """
    real = _real(path, within)
    with _explaining(real), turns.turn(real.parent, wait_s), _reading(real) as read:
        if read is None or read.content != content:
            return False
        beside = _beside(real, content, b"", "swap")
        real.rename(beside)
        try:
            if _is_old(beside, read, to):
                return True
        except OSError:
            with contextlib.suppress(OSError):
                move_to_free_name(beside, real)
            raise
        with contextlib.suppress(FileExistsError):
            move_to_free_name(beside, real)
        beside.unlink(missing_ok=True)
        return False


def is_temporary(name: bytes) -> bool:
    """Whether this is a name of a temporary file of ``update`` or ``remove``."""
    return _LEFTOVER.fullmatch(os.fsdecode(name)) is not None


def recover(directory: Path) -> tuple[Recovered, ...]:
    """Resolve the temporary files that a crash during ``update`` left in ``directory``.

    Raises:
        SwapError: a file cannot be read, moved or removed; it stays for the next call.
    """
    if not directory.is_dir():
        return ()
    with _explaining(directory), turns.turn(directory):
        return _sweep(directory)


@contextlib.contextmanager
def _folders(folder: Path, within: Path | None) -> Iterator[None]:
    """Create ``folder`` and its parents; removes those of them that are still empty afterwards.

    ``within`` itself is never created: it may have been moved away.
    """
    root = Path(os.path.realpath(within)) if within else Path("/")
    below = [each for each in (*reversed(folder.parents), folder) if root in each.parents]
    made = [each for each in below if not each.exists()]
    try:
        for each in made:
            each.mkdir(exist_ok=True)
        yield
    finally:
        for each in reversed(made):
            with contextlib.suppress(OSError):
                each.rmdir()


def _real(path: Path, within: Path | None) -> Path:
    real = Path(os.path.realpath(path))
    if within is not None and not real.is_relative_to(os.path.realpath(within)):
        raise Outside(path, f"{path} leads out of {within}, to {real}; specd does not follow")
    return real


# ---- one attempt -------------------------------------------------------------------------------


def _attempt(
    real: Path, transform: Transform, before_write: BeforeWrite
) -> tuple[bool, Written | None]:
    with _settled(real, transform) as (read, after):
        before = None if read is None else read.content
        if after is None:
            return True, None
        over = read is not None and (read.facts.st_nlink > 1 or _stays_open(real, read))
        with _part(real, after, read) as (part, file):
            if not _stands(real, read):
                return False, None
            with _to_disk(file):
                # Computed while the disk syncs, to save time afterwards.
                beside = _beside(real, before or b"", after, "over" if over else "swap")
                ours = _File(_inode_of(file), after)
                before_write(real, before, after)
            if not _stands(real, read):
                return False, None
            if os.path.realpath(real.parent) != str(real.parent):
                raise Unsettled(real, f"the folder of {real} became a link to another meanwhile")
            if read is None:
                won = _create(part, real)
            elif over:
                won = _overwrite(part, real, read, after, beside)
            else:
                won = _replace(part, real, read, ours, beside)
    return won, Written(real, before, after) if won else None


@contextlib.contextmanager
def _settled(real: Path, transform: Transform) -> Iterator[tuple[_Read | None, bytes | None]]:
    """The file and its new content; waits up to ``SETTLE_S`` for an incomplete file."""
    deadline = time.monotonic() + SETTLE_S
    pause = STEP_S
    while True:
        with _reading(real) as read:
            try:
                after = transform(None if read is None else read.content)
            except jsonedit.NotUnderstood:
                if time.monotonic() + pause > deadline:
                    raise
            else:
                yield read, after
                return
        time.sleep(pause)
        pause *= 2


@contextlib.contextmanager
def _reading(real: Path) -> Iterator[_Read | None]:
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield None
        return
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise Failed(real, f"{real} is not a regular file; specd leaves it alone")
        if facts.st_size > jsonedit.MAX_BYTES:
            raise Failed(real, f"{real} is larger than any settings file; specd leaves it alone")
        if not facts.st_mode & 0o222:
            raise ReadOnly(real, f"{real} is read-only; make it writable (chmod u+w)")
        if not os.access(real, os.W_OK):
            mounted = os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
            number = errno.EROFS if mounted else errno.EACCES
            raise OSError(number, os.strerror(number), str(real))
        inode = (facts.st_dev, facts.st_ino)
        yield _Read(inode, _content(descriptor), descriptor, facts)
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    return private.read_at(descriptor, jsonedit.MAX_BYTES + 1)


@contextlib.contextmanager
def _part(real: Path, content: bytes, like: _Read | None) -> Iterator[tuple[Path, io.FileIO]]:
    """``content`` in a file beside ``real`` with the metadata of ``like``; see ``_to_disk``."""
    part = _temporary(real, "specd-part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            if like is None:
                os.fchmod(descriptor, 0o644)
            else:
                attributes.copy(like.descriptor, like.facts, descriptor)
            private.write_all(descriptor, content)
            yield part, file
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _to_disk(file: io.FileIO) -> Iterator[None]:
    """Sync and close ``file`` while the body runs, which syncs another file.

    Both syncs end with the same commit of the file system, so together they take hardly longer than
    one: on ext4, 0.8 of the time in sequence on an idle disk and half of it on a busy one.
    """
    syncing = _SYNCING.submit(os.fsync, file.fileno())
    try:
        yield
    finally:
        syncing.exception()  # waits for the end, without raising
        file.close()
    syncing.result()


def _stands(real: Path, read: _Read | None) -> bool:
    """Whether the file looks unchanged since it was read.

    If it has changed, skipping the exchange avoids a moment in which specd's older content is in
    place of another program's last write.
    """
    try:
        now = os.lstat(real)
    except FileNotFoundError:
        return read is None
    return read is not None and _fingerprint(now) == _fingerprint(read.facts)


def _fingerprint(facts: os.stat_result) -> tuple[int, int, int, int]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns


def _stays_open(real: Path, read: _Read) -> bool:
    """Whether a program has the file open for writing and does not close it within ``WRITER_S``."""
    deadline = time.monotonic() + WRITER_S
    while holders.has_writer(real, read.descriptor):
        if time.monotonic() > deadline:
            return True
        time.sleep(STEP_S)
    return False


def _create(part: Path, real: Path) -> bool:
    try:
        move_to_free_name(part, real)
    except FileExistsError:
        return False
    return True


# ---- in place ----------------------------------------------------------------------------------


def _overwrite(part: Path, real: Path, read: _Read, after: bytes, beside: Path) -> bool:
    """Write ``after`` into the file itself, for open descriptors and other hard links.

    ``part`` holds the same bytes, and has the name ``beside`` until the file is complete.
    """
    descriptor = os.open(real, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        facts = os.fstat(descriptor)
        part.rename(beside)
        if (facts.st_dev, facts.st_ino) != read.inode or _content(descriptor) != read.content:
            beside.unlink()
            return False
        _fill(descriptor, after)
        beside.unlink()
    finally:
        os.close(descriptor)
    return True


def _fill(descriptor: int, content: bytes) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done:], done)
    os.ftruncate(descriptor, len(content))
    os.fsync(descriptor)


# ---- the exchange ------------------------------------------------------------------------------


def _replace(part: Path, real: Path, read: _Read, ours: _File, beside: Path) -> bool:
    """Exchange; whether ``ours`` is now in ``real`` and the displaced file is the one read.

    ``part`` is the first name of our file, ``beside`` its name during the exchange.
    """
    part.rename(beside)
    try:
        exchange(beside, real)
    except ExchangeUnsupported:
        return _rename(beside, real, read, ours)
    except FileNotFoundError:
        beside.unlink()
        return False
    except OSError:
        beside.unlink()
        raise
    if _is_old(beside, read):
        return True
    _put_back(beside, real, ours)
    return False


def _put_back(beside: Path, real: Path, put: _File) -> None:
    """Exchange until the displaced file is old, so that the newest one is in ``real``.

    ``put`` is specd's file in ``real``; ``beside`` is the displaced file, newer than the one read.
    """
    for _ in range(ATTEMPTS):
        newer = _seen(beside)
        try:
            exchange(beside, real)
        except FileNotFoundError:
            # Another program removed the file meanwhile: the displaced file is its last write.
            with contextlib.suppress(FileExistsError):
                move_to_free_name(beside, real)
            return
        if _is_old(beside, put):
            return
        put = newer
    raise Unsettled(real, f"{real} is being written by several programs at once")


def _is_old(beside: Path, known: _File, to: Path | None = None) -> bool:
    """Remove the displaced file (or rename it to ``to``) if it is ``known`` and has no writer.

    Returns whether it did.
    """
    try:
        descriptor = os.open(beside, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        facts = os.fstat(descriptor)
        if known.content is None or (facts.st_dev, facts.st_ino) != known.inode:
            return False
        if not _given_up(descriptor, known.content):
            return False
        if to is None:
            beside.unlink()
        else:
            beside.rename(to)
        return True
    finally:
        os.close(descriptor)  # releases the lease too


def _given_up(descriptor: int, content: bytes) -> bool:
    """Whether the file holds ``content`` and no process has it open, or opens it, for writing.

    Waits for a writer that has not written yet. The lease lasts until ``descriptor`` is closed.
    """
    deadline = time.monotonic() + WRITER_S
    while _content(descriptor) == content:
        leased = holders.lease(descriptor)
        if leased is None:
            time.sleep(GRACE_S)
        if leased is not False:
            return _content(descriptor) == content and not (
                leased and holders.waited_for(descriptor)
            )
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_S)
    return False


def _rename(beside: Path, real: Path, read: _Read, ours: _File) -> bool:
    # Without an exchange, a write between this comparison and the rename would be lost.
    if not _stands(real, read) or not _given_up(read.descriptor, read.content):
        beside.unlink()
        return False
    beside.rename(real)
    late = _content(read.descriptor)
    if late == read.content:
        return True
    with _part(real, late, read) as (part, file):
        os.fsync(file.fileno())
        file.close()
        now = _seen(real)
        if now == ours:
            part.rename(real)
    return False


# ---- recovery after a crash --------------------------------------------------------------------


def _sweep(directory: Path) -> tuple[Recovered, ...]:
    """As ``recover``; the caller holds the directory's lock, so no other write is running."""
    names = os.listdir(directory)  # noqa: PTH208 - hot path
    found = [each for each in map(_LEFTOVER.fullmatch, names) if each]
    hashed = any(each["name"].startswith(_HASHED) for each in found)
    whole = {_hashed(name): name for name in names} if hashed else {}
    resolved = (_resolve(directory, each, whole.get(each["name"], each["name"])) for each in found)
    return tuple(each for each in resolved if each is not None)


def _resolve(directory: Path, name: re.Match[str], whole: str) -> Recovered | None:
    """Resolve one file; ``whole``: the target's name, or its hash if there is no such file."""
    beside, real = directory / name[0], directory / whole
    if beside.is_dir() and not beside.is_symlink():
        return None
    if _is_at_work(int(name["pid"]), beside):
        return None
    left = _seen(beside)
    if name["how"] == "over":
        return _finish(beside, real, left, name)
    if name["before"] is None or _short(left.content) in (name["before"], name["after"]):
        if name["after"] == _short(b"") and not os.path.lexists(real):
            move_to_free_name(beside, real)
            return Recovered(real, "kept")
        beside.unlink()
        return Recovered(real, "removed")
    # Another program's update, displaced by an exchange; specd was killed before the way back.
    try:
        stands = _seen(real)
    except FileNotFoundError:
        move_to_free_name(beside, real)
        return Recovered(real, "put back")
    newer = beside.lstat().st_mtime_ns > real.lstat().st_mtime_ns
    if newer or _short(stands.content) == name["after"]:
        beside.rename(real)
        return Recovered(real, "put back")
    beside.unlink()
    return Recovered(real, "superseded")


def _finish(beside: Path, real: Path, left: _File, name: re.Match[str]) -> Recovered:
    """Complete a file that was being written in place when specd was killed."""
    cut_short = False
    with contextlib.suppress(FileNotFoundError), _reading(real) as read:
        if read is not None and _short(left.content) == name["after"]:
            known = _short(read.content) in (name["before"], name["after"])
            cut_short = not known and not _parses(read.content)
    if cut_short and left.content is not None:
        descriptor = os.open(real, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            _fill(descriptor, left.content)
        finally:
            os.close(descriptor)
    beside.unlink()
    return Recovered(real, "finished" if cut_short else "removed")


def _parses(content: bytes) -> bool:
    try:
        jsonedit.parse(content)
    except jsonedit.NotUnderstood:
        return False
    return True


def _is_at_work(pid: int, beside: Path) -> bool:
    """Whether a running specd with another state directory may still use this file."""
    if pid == os.getpid() or time.time() - beside.lstat().st_mtime > AT_WORK_S:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False  # no such process, or another user's process that reuses the id
    return True


def _beside(real: Path, before: bytes, after: bytes, how: Literal["swap", "over"]) -> Path:
    hashes = f"{_short(before)}-{_short(after)}"
    return _temporary(real, f"{hashes}.specd-{how}")


def _temporary(real: Path, kind: str) -> Path:
    """A temporary name that contains the name of ``real``, or its hash if that is too long."""
    end = f".{os.getpid()}.{kind}"
    whole = f".{real.name}{end}"
    return real.with_name(
        whole if len(os.fsencode(whole)) <= NAME_BYTES else f".{_hashed(real.name)}{end}"
    )


def _hashed(name: str) -> str:
    return _HASHED + hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _short(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()[:16]


def _inode_of(file: io.FileIO) -> tuple[int, int]:
    facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino


def _seen(path: Path) -> _File:
    """The file at ``path`` now; raises FileNotFoundError if there is none."""
    facts = os.lstat(path)
    if not stat.S_ISREG(facts.st_mode):
        return _File((facts.st_dev, facts.st_ino), None)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        facts = os.fstat(descriptor)
        return _File((facts.st_dev, facts.st_ino), _content(descriptor))
    finally:
        os.close(descriptor)


# ---- errors --------------------------------------------------------------------------


@contextlib.contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except jsonedit.NotUnderstood as error:
        raise Unsettled(path, f"{path}: {error}") from error
    except turns.Taken as error:
        raise Taken(path, f"{path} was not written: {error}") from error
    except attributes.NotKept as error:
        raise NotKept(path, f"{path} is left alone: {error}") from error
    except OSError as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: OSError) -> SwapError:
    words = error.strerror or str(error)
    at = path if error.filename is None else Path(os.fsdecode(error.filename))
    if at.parent != path.parent:
        words = f"{words}: {at}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        # A temporary file beside it is refused by the folder.
        what = path.parent if at.parent == path.parent and at != path else path
        return ReadOnly(path, f"{what} may not be written ({words}); make it writable")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Failed(path, f"{path} could not be written ({words}); free some space")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Failed(path, f"{path} could not be written ({words}); close something")
    if isinstance(error, TimeoutError):
        return Taken(path, f"{path} was not written: {words}")
    if error.errno == errno.EIO:
        return Failed(path, f"{path} could not be written ({words}); check the disk")
    return Failed(path, f"{path} could not be written: {words}")
