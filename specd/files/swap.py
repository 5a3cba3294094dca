"""Replace a file's content without ever losing what somebody else writes at the same time.

Compare and swap, for files: read; work out the new content; write it beside the file; let the two
names change places atomically; look at what came out. If that is not what was read, somebody wrote
in between: it is newer, so it goes back, and the work starts again from it. Putting back is the
same step once more: whatever comes out then and is not what was put in is newer still.

**Writers in place.** A program that opened the file before the exchange may still be writing into
the inode that came out. On Linux a read lease tells: the kernel grants it only while nobody has
the file open for writing, and holds up whoever opens it later. As long as it is refused, the file
that came out is not given up. Elsewhere (macOS, NFS) the file that came out is looked at again
after ``GRACE_S``; a program that truncates what it writes shows at once either way. What is left to
chance on Linux is an ``open`` that found the old file before the exchange and is still inside the
kernel, between the look-up and the lease check, when the lease has come and gone.

**Files that must stay the same file.** An exchange gives the name to another inode. A program that
keeps the file open for writing would go on writing into the old one, and other hard links would
keep the old content. So where the file has several links, or a program does not close it within
``WRITER_S``, the new content is written into the file itself. The journal holds the old content and
a file beside it the new, until it is whole. A write of another program in the moment between the
last look and specd's own is overwritten; and who reads in that moment may see half of it.

**Several specd processes** take turns (``specd.files.turns``).

**Crashes.** Killed at any point, the file is wholly old or wholly new; one that was being written
in place is completed by ``recover``. What may be left is a
temporary file beside it, whose name carries the hashes of what was read and what was to be written:
``recover`` needs nothing else to tell a leftover of specd's from somebody's update that had just
come out and has to go back. New content is on disk (fsync) before it gets the file's name. The
directory is not synced: after a power loss the file may be the old one again, which is drift like
any other, and costs one more write instead of one more fsync on every write.
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

from specd.files import attributes, holders, jsonedit, turns
from specd.files.exchange import ExchangeUnsupported, exchange, move_to_free_name

ATTEMPTS = 8
"""How often somebody may write in between before ``Unsettled`` is raised."""

SETTLE_S = 0.250
"""How long a file that cannot be understood may take to become whole: an app in mid-write."""

WRITER_S = 0.050
"""How long a writer that still has the file open is waited for."""

GRACE_S = 0.003
"""Without leases: how long after the exchange a late write in place is still noticed."""

AT_WORK_S = 10.0
"""A temporary file this young, of a process that lives, is not a leftover."""

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


class NotKept(SwapError):
    """Its owner, group or access control list would be lost."""


class Outside(SwapError):
    """A link leads out of the directory that the file was to lie in."""


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
class Recovered:
    """A temporary file a crash left beside ``path``, and what became of it.

    ``removed``: it was specd's own. ``put back``: it held somebody's update, which stands in
    ``path`` again. ``superseded``: it held somebody's update, and they have written anew since.
    ``kept``: it was ``path`` itself, on its way out, and stands there again. ``finished``: it held
    what was half written into ``path`` itself, and stands there whole.
    """

    path: Path
    outcome: Literal["removed", "put back", "superseded", "kept", "finished"]

    @property
    def told(self) -> str:
        """The outcome as a clause."""
        return {
            "removed": "its temporary file is removed",
            "finished": "its bytes were half written and are complete now",
            "put back": "what another program had written meanwhile is back in place",
            "superseded": "what another program had written meanwhile it has written anew since",
            "kept": "it was to be taken away, and is still there",
        }[self.outcome]


@dataclass(frozen=True, slots=True)
class _File:
    """One file as it was seen; ``content`` is None when it is no regular file."""

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
) -> Written | None:
    """Replace the content of ``path`` by ``transform(content)``; None when there is nothing to do.

    ``transform`` is called again with their content when somebody else wrote meanwhile; it gets
    None when there is no file, and returns None to leave things as they are. While it raises
    ``NotUnderstood`` the file is given ``SETTLE_S`` to become whole. ``before_write`` is called
    with (real path, old, new) before each attempt's exchange: a journal, say. With ``within``, no
    link is followed out of that directory.

    Raises:
        SwapError: one of its kinds; the file is what it was, or what somebody else made of it.
    """
    real = _real(path, within)
    with _explaining(real):
        if not real.parent.is_dir():
            if transform(None) is None:
                return None
            real.parent.mkdir(parents=True, exist_ok=True)
        with turns.turn(real.parent):
            _sweep(real.parent)
            for attempt in range(1, ATTEMPTS + 1):
                done, written = _attempt(real, transform, before_write, attempt)
                if done:
                    return written
                time.sleep(STEP_S)
    raise Unsettled(real, f"{real} was written by somebody else {ATTEMPTS} times in a row")


def remove(
    path: Path, content: bytes, *, within: Path | None = None, to: Path | None = None
) -> bool:
    """Take the file away if ``content`` is all it holds; whether it did. ``within`` as above.

    ``to`` is a name in the same directory that it gets instead of going away; what had that name
    goes away.

    Raises:
        SwapError: one of its kinds; the file is still there.
    """
    real = _real(path, within)
    with _explaining(real), turns.turn(real.parent), _reading(real) as read:
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
    """Whether a file of this name is one that ``update`` or ``remove`` makes on its way."""
    return _LEFTOVER.fullmatch(os.fsdecode(name)) is not None


def recover(directory: Path) -> tuple[Recovered, ...]:
    """Resolve what a crash in the middle of ``update`` left in ``directory``.

    Raises:
        SwapError: a leftover cannot be read, moved or removed; it stays for the next time.
    """
    if not directory.is_dir():
        return ()
    with _explaining(directory), turns.turn(directory):
        return _sweep(directory)


def _real(path: Path, within: Path | None) -> Path:
    real = Path(os.path.realpath(path))
    if within is not None and not real.is_relative_to(os.path.realpath(within)):
        raise Outside(path, f"{path} leads out of {within}, to {real}; specd does not follow")
    return real


# ---- one attempt -------------------------------------------------------------------------------


def _attempt(
    real: Path, transform: Transform, before_write: BeforeWrite, attempt: int
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
                # Worked out while the disk is at work: after that somebody waits for it.
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
    return won, Written(real, before, after, attempt) if won else None


@contextlib.contextmanager
def _settled(real: Path, transform: Transform) -> Iterator[tuple[_Read | None, bytes | None]]:
    """The file and what it is to become; a half-written one is given time."""
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
            raise ReadOnly(real, f"{real} is read-only; make it writable (chmod u+w) for specd")
        if not os.access(real, os.W_OK):
            mounted = os.fstatvfs(descriptor).f_flag & os.ST_RDONLY
            number = errno.EROFS if mounted else errno.EACCES
            raise OSError(number, os.strerror(number), str(real))
        inode = (facts.st_dev, facts.st_ino)
        yield _Read(inode, _content(descriptor), descriptor, facts)
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    content = os.pread(descriptor, 1 << 20, 0)
    while len(content) >= 1 << 20:
        more = os.pread(descriptor, 1 << 20, len(content))
        content += more
        if not more or len(content) > jsonedit.MAX_BYTES:
            break
    return content


@contextlib.contextmanager
def _part(real: Path, content: bytes, like: _Read | None) -> Iterator[tuple[Path, io.FileIO]]:
    """``content`` in a file beside ``real``, carrying what ``like`` carries; see ``_to_disk``."""
    part = _temporary(real, "specd-part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            if like is None:
                os.fchmod(descriptor, 0o644)
            else:
                attributes.copy(like.descriptor, like.facts, descriptor)
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            yield part, file
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _to_disk(file: io.FileIO) -> Iterator[None]:
    """Sync and close ``file`` while the body runs, which waits for the disk as well.

    Both waits end with the same commit of the file system, so together they take about as long as
    one: on ext4, 0.8 of one after the other on an idle disk and half of it on a busy one.
    """
    syncing = _SYNCING.submit(os.fsync, file.fileno())
    try:
        yield
    finally:
        syncing.exception()  # waits for the end, without raising
        file.close()
    syncing.result()


def _stands(real: Path, read: _Read | None) -> bool:
    """Whether nothing has happened to the file since it was read, as far as one look tells.

    Sparing the exchange spares other programs a moment in which specd's file, made from the
    content before their last write, stands in place of theirs.
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
    """Write ``after`` into the file itself, for whoever has it open or knows it by another name.

    ``part`` holds the same bytes, and lies under the name ``beside`` until the file is whole.
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
    """Whether ``ours`` now stands in ``real`` and what it displaced is what was read.

    ``part`` is ours under its first name, ``beside`` the name to exchange it by.
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
    """Exchange until what comes out is old, so that the newest stands in ``real``.

    ``put`` is what specd put there; ``beside`` came out and is newer than what specd had read.
    """
    for _ in range(ATTEMPTS):
        newer = _seen(beside)
        try:
            exchange(beside, real)
        except FileNotFoundError:
            # They removed the file meanwhile: then what they wrote last is what came out.
            with contextlib.suppress(FileExistsError):
                move_to_free_name(beside, real)
            return
        if _is_old(beside, put):
            return
        put = newer
    raise Unsettled(real, f"{real} is being written by several programs at once")


def _is_old(beside: Path, known: _File, to: Path | None = None) -> bool:
    """Remove what came out when it is what was ``known`` and nobody can write to it any more.

    Or give it the name ``to``.
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
        os.close(descriptor)  # gives the lease up as well


def _given_up(descriptor: int, content: bytes) -> bool:
    """Whether the file holds ``content``, and nobody has it open for writing or is about to.

    A writer that has not written anything yet is waited for. The lease lasts until ``descriptor``
    is closed.
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
    # No exchange here: the moment between this look and the rename is all that is left to chance.
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


# ---- what a crash leaves -----------------------------------------------------------------------


def _sweep(directory: Path) -> tuple[Recovered, ...]:
    """Resolve leftovers; the caller holds the directory's lock, so that no write is under way."""
    names = os.listdir(directory)  # noqa: PTH208 - hot path
    found = [each for each in map(_LEFTOVER.fullmatch, names) if each]
    hashed = any(each["name"].startswith(_HASHED) for each in found)
    whole = {_hashed(name): name for name in names} if hashed else {}
    resolved = (_resolve(directory, each, whole.get(each["name"], each["name"])) for each in found)
    return tuple(each for each in resolved if each is not None)


def _resolve(directory: Path, name: re.Match[str], whole: str) -> Recovered | None:
    """``whole`` is the name of the file, or its hash where there is no such file any more."""
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
    # Somebody's update: it came out of an exchange, and specd was killed before putting it back.
    try:
        stands = _seen(real)
    except FileNotFoundError:
        move_to_free_name(beside, real)
        return Recovered(real, "put back")
    if _short(stands.content) == name["after"] or _modified(beside) > _modified(real):
        beside.rename(real)
        return Recovered(real, "put back")
    beside.unlink()
    return Recovered(real, "superseded")


def _finish(beside: Path, real: Path, left: _File, name: re.Match[str]) -> Recovered:
    """Write the rest of what a crash cut short in the middle of the file itself."""
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
    """Whether a specd of another state directory may be about to use this file."""
    if pid == os.getpid() or time.time() - beside.lstat().st_mtime > AT_WORK_S:
        return False
    try:
        os.kill(pid, 0)
    except OSError:
        return False  # no such process, or another user's, to whom the number was given since
    return True


def _beside(real: Path, before: bytes, after: bytes, how: Literal["swap", "over"]) -> Path:
    hashes = f"{_short(before)}-{_short(after)}"
    return _temporary(real, f"{hashes}.specd-{how}")


def _temporary(real: Path, kind: str) -> Path:
    """A name beside ``real`` that tells whose temporary file it is: by a hash if it is too long."""
    end = f".{os.getpid()}.{kind}"
    whole = f".{real.name}{end}"
    return real.with_name(
        whole if len(os.fsencode(whole)) <= NAME_BYTES else f".{_hashed(real.name)}{end}"
    )


def _hashed(name: str) -> str:
    return _HASHED + hashlib.sha256(os.fsencode(name)).hexdigest()[:32]


def _short(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()[:16]


def _modified(path: Path) -> int:
    return path.lstat().st_mtime_ns


def _inode_of(file: io.FileIO) -> tuple[int, int]:
    facts = os.fstat(file.fileno())
    return facts.st_dev, facts.st_ino


def _seen(path: Path) -> _File:
    """What stands at ``path``; raises FileNotFoundError when nothing does."""
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
        raise Unsettled(path, str(error)) from error
    except attributes.NotKept as error:
        raise NotKept(
            path, f"{path} is left alone: {error}; give it to this user, or set the values by hand"
        ) from error
    except OSError as error:
        raise _explained(path, error) from error


def _explained(path: Path, error: OSError) -> SwapError:
    words = error.strerror or str(error)
    if error.filename is not None and Path(os.fsdecode(error.filename)).parent != path.parent:
        words = f"{words}: {os.fsdecode(error.filename)}"
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return ReadOnly(
            path, f"{path} may not be written ({words}); allow it, or set the values by hand"
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(path, f"{path} could not be written ({words}); free some space")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return Failed(path, f"{path} could not be written ({words}); close something")
    if error.errno == errno.EIO:
        return Failed(path, f"{path} could not be written ({words}); check the disk")
    return Failed(path, f"{path} could not be written: {words}")
