"""What specd wrote into LM Studio's files, and what stood there before.

One append-only file of JSON lines, ``entries.jsonl``: an intent, durable before the first byte of a
file is written, then its outcome. The old content stands in a line of its own before the intent,
named by its SHA-256: one write and one fsync make both durable, and a thousand equal drifts keep
one copy. A line torn by a crash or a full disk is skipped. An intent without an outcome is settled
by the file's content. Only the owner may read the journal: settings.json may hold tokens.

The owned values, with what stood there before (``ownership``), follow from all writes.

The file stays small: beyond ``PRUNE_ENTRIES`` or ``PRUNE_BYTES`` it is written again with the
newest writes, the first write of every owned value, and a line that lists the owned values, so that
they can be given back at any time later. A journal with unreadable lines is kept beside it.

Several processes and threads may use one journal. To append, each locks the file and reads what the
others have appended, so that each number is given once.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from specd import places
from specd.files import attributes, jsonedit, private, turns
from specd.files.pointer import Absent, Json, Pointer
from specd.reconcile import entry as entries_
from specd.reconcile import ownership
from specd.reconcile.entry import (
    Change,
    Content,
    Entry,
    NewerJournal,
    Outcome,
    Owned,
    Standing,
    State,
    ValueKey,
)
from specd.reconcile.observe import is_away, read_file
from specd.reconcile.ownership import Ownership

__all__ = ["Change", "Entry", "Journal", "NewerJournal", "State"]

FILE = "entries.jsonl"

PRUNE_ENTRIES = 2_000
KEPT_ENTRIES = 1_000
PRUNE_BYTES = 16 << 20
KEPT_BYTES = 8 << 20

LINE_BYTES = 2 * jsonedit.MAX_BYTES
"""The longest line there can be: the largest content, incompressible, in base64."""

LOCK_S = 5.0
"""How long another specd may hold the lock to rewrite the journal."""

_CHUNK = 1 << 15
_LARGE_CHUNK = 1 << 20


class Journal:
    """The journal in one directory; several processes and threads may use it at once."""

    _descriptor: int | None = None

    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE
        self._lock = threading.RLock()
        self._forget()
        self._smallest = 0  # bytes that pruning left
        self._open_intents: set[int] = set()
        self._owed: list[Outcome | Standing] = []
        self.lock_s = LOCK_S
        """Seconds to wait for another specd; the daemon's loop, which tries again, waits less."""
        self.problem: str | None = None
        """What the last attempt to read the journal met: a failure, or lines still to write."""
        private.make_directory(directory)
        with self._lock:
            self._read_on(self._opened())
            self._adopt(places.holds_path(directory.parent))

    def _forget(self) -> None:
        self._read_to: int = 0
        self._last: int = 0
        self._unread_lines: int = 0
        self._entries: dict[int, Entry] = {}
        self._written: dict[Path, str] = {}  # when each file was last written
        self._contents: dict[str, tuple[int, int]] = {}  # by hash: offset and length of the line
        self._ownership = Ownership()

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            # Everything that matters is on disk; a failure to close (a lost server) is no fault.
            with contextlib.suppress(OSError):
                os.close(descriptor)

    __del__ = close

    # -- writing --------------------------------------------------------------------------------

    def intend(
        self,
        path: Path,
        before: bytes | None,
        after: bytes,
        changes: tuple[Change, ...],
        *,
        surface: str,
        by: str,
        within: Path | None = None,
        made: tuple[Pointer, ...] = (),
        folders: int = 0,
    ) -> int:
        """Write an intent to disk, before the file itself is written; returns the entry's id.

        Raises:
            OSError: the journal cannot be written, so the file must not be.
            NewerJournal: a newer specd writes this journal now.
        """
        with self._appending() as descriptor:
            number = self._last + 1
            intent = Entry(
                id=number,
                time=datetime.now().astimezone().isoformat(timespec="milliseconds"),
                path=path,
                surface=surface,
                changes=changes,
                state="intended",
                before_sha=None if before is None else entries_.sha(before),
                after_sha=entries_.sha(after),
                by=by,
                within=within,
                made=made,
                folders=folders,
            )
            known = before is None or self._content(descriptor, intent.before_sha) is not None
            content = b"" if known or before is None else entries_.pack(before)
            owed = self.owes
            self._append(descriptor, content + entries_.line(intent))
            try:
                _sync(descriptor)
            except OSError:
                with contextlib.suppress(OSError):
                    self._append(descriptor, entries_.line(Outcome(number, "abandoned")))
                raise
            if owed:  # those lines were written first, and count first
                self._read_on(descriptor)
            else:  # not read back before the outcome: the file's values should be written soon
                self._take(intent)
            self._open_intents.add(number)
        return number

    def settle(self, number: int, *, written: bool) -> None:
        """Append the outcome of an intent, now or, if that fails, with the next line."""
        with self._lock:
            self._owed.append(Outcome(number, "written" if written else "abandoned"))
            self._take(self._owed[-1])
            self._open_intents.discard(number)
            with contextlib.suppress(OSError), self._appending() as descriptor:
                self._append(descriptor, b"")
                self._read_on(descriptor)

    def settle_by_looking(self, number: int) -> State:
        """Settle an intent by its file's content; "intended" while that cannot be read."""
        if number not in self._entries:  # the journal's file was removed
            self._open_intents.discard(number)
            return "intended"
        holds = _holds(self._entries[number])
        if holds is not None:
            self.settle(number, written=holds)
        return self._entries[number].state

    def hand_over(
        self,
        *,
        freed: AbstractSet[ValueKey] = frozenset(),
        held: Iterable[ValueKey] = (),
        released: bool = False,
    ) -> OSError | None:
        """Record that values are no longer owned (``freed``), are ``held``, or all ``released``.

        Returns the error if that could not be written. Except for ``released``, it counts anyway,
        and is written with the next line.
        """

        def now() -> Standing:
            standing = self._ownership.standing(freed)
            kept = frozenset() if released else standing.held
            return replace(standing, held=kept.union(held))

        with self._lock:
            try:
                with self._appending() as descriptor:
                    if self.owes or now() != self._ownership.standing():
                        self._append(descriptor, entries_.line(now()))
                        _sync(descriptor)
                        self._read_on(descriptor)
            except OSError as error:
                if not released:
                    self._owed.append(now())
                    self._take(self._owed[-1])
                return error
            return None

    @property
    def owes(self) -> bool:
        """Whether lines could not be written yet; a crash now would lose them."""
        return bool(self._owed)

    def settle_own(self) -> None:
        """Settle this process's intents of unknown outcome by their files' content."""
        for number in tuple(self._open_intents):
            self.settle_by_looking(number)

    def recover(self) -> tuple[Entry, ...]:
        """Settle the intents that a crash left open, by their files' content; returns them."""
        with contextlib.suppress(TimeoutError), self._appending():
            self._file.with_suffix(".new").unlink(missing_ok=True)
        with self._lock:
            self._refresh()
            open_ = [each.id for each in self._entries.values() if each.state == "intended"]
        for number in open_:
            self.settle_by_looking(number)
        return tuple(self._entries[number] for number in open_)

    def follow_home(self, home: Path) -> Path | None:
        """Record that a home was moved to ``home``; returns its old place, None if none was moved.

        A home was moved if it is gone, and all owned values in it stand in the new one.

        Raises:
            OSError: the journal cannot be written.
        """
        files = {path: tuple(self.owned(path).values()) for path in self.owned_files()}
        # settings.json may be a link that leads out of the home, so its folder says nothing.
        roots = {known[0].within or path.parent for path, known in files.items()}
        for old in (each for each in roots if roots.isdisjoint(each.parents)):
            if old == home or not is_away(old):
                continue
            at = partial(_moved, old, home)
            if all(_stand(files[path], at(path)) for path in files if at(path) != path):
                with self._appending() as descriptor:
                    self._pruned(descriptor, at)
                return old
        return None

    # -- reading --------------------------------------------------------------------------------

    def entries(self) -> tuple[Entry, ...]:
        """The writes that took place and were not pruned, oldest first."""
        with self._lock:
            self._refresh()
            return tuple(
                replace(each, state="restored") if self._ownership.is_undone(each) else each
                for each in self._entries.values()
                if each.state in ("written", "restored")
            )

    def newest(self) -> int:
        """The highest number given; 0 before the first."""
        with self._lock:
            self._refresh()
            return self._last

    def paths(self) -> frozenset[Path]:
        """The files of all intents, written or not."""
        with self._lock:
            self._refresh()
            return frozenset(each.path for each in self._entries.values())

    def get(self, number: int) -> Entry | None:
        """One entry."""
        with self._lock:
            return next((each for each in self.entries() if each.id == number), None)

    def before(self, number: int) -> bytes | None:
        """The file's content before write ``number``; None when there was no file.

        Raises:
            FileNotFoundError: the copy was pruned or is damaged.
        """
        with self._lock:
            descriptor = self._opened()
            self._read_on(descriptor)
            named = self._entries[number].before_sha
            content = self._content(descriptor, named)
        if named is not None and content is None:
            raise FileNotFoundError(f"{self._file} no longer holds what write {number} replaced")
        return content

    def owned(self, path: Path) -> Mapping[str, Owned]:
        """The owned values in a file, by key."""
        return self._ownership.of(path)

    def owned_files(self) -> tuple[Path, ...]:
        """The files with an owned value."""
        return self._ownership.paths()

    def held(self) -> frozenset[ValueKey]:
        """The values that the user restored."""
        return self._ownership.held

    def before_standing(self, path: Path, document: Json | Absent) -> dict[str, Json | Absent]:
        """What stood before specd in each place of a file that still holds a value of specd's."""
        owned = self.owned(path)
        standing = ownership.before_standing(owned, document)
        changed = {key for key, o in owned.items() if not o.is_shell} - standing.keys()
        with self._lock:
            for entry in reversed(self._entries.values()) if changed else ():
                for change in entry.changes if entry.path == path else ():
                    first = owned.get(change.key)
                    if change.key in changed and first is not None and entry.id >= first.since:
                        once = {change.key: replace(first, value=change.new)}
                        standing |= ownership.before_standing(once, document)
        return standing

    @property
    def unread(self) -> str | None:
        """A message if lines are broken, else None."""
        with self._lock:
            self._refresh()
            lines = self._unread_lines
        many = "1 line" if lines == 1 else f"{lines:,} lines"
        broken = f"{many} of the journal cannot be read; the writes in it cannot be undone"
        return broken if lines else None

    def last_written(self, paths: AbstractSet[Path]) -> dict[Path, datetime]:
        """When specd last wrote each of ``paths``; files that it never wrote are left out."""
        with self._lock:
            known = paths & self._written.keys()
            return {path: datetime.fromisoformat(self._written[path]) for path in known}

    # -- the file -------------------------------------------------------------------------------

    def _adopt(self, holds: Path) -> None:
        """Take over the held values from an earlier specd's file of its own; ignored if broken."""
        with contextlib.suppress(private.Broken, TypeError, ValueError, OSError):
            listed: Any = private.read_json(holds)
            held = {(Path(path), str(key)) for path, key in listed}
            if self.hand_over(held=held) is None:
                holds.unlink()

    @contextlib.contextmanager
    def _appending(self) -> Iterator[int]:
        with self._lock:
            descriptor = self._locked()
            try:
                self._read_on(descriptor)
                large = self._read_to > max(PRUNE_BYTES, 2 * self._smallest)
                if large or len(self._entries) > PRUNE_ENTRIES:
                    descriptor = self._pruned(descriptor)
                yield descriptor
            finally:
                with contextlib.suppress(OSError):
                    fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _locked(self) -> int:
        """Lock the file at the journal's path, which pruning may replace meanwhile."""
        deadline = time.monotonic() + self.lock_s
        while True:
            descriptor = self._opened()
            try:
                had = turns.take(descriptor, deadline - time.monotonic())
            except OSError:
                return descriptor  # the file system has no locks
            if not had:
                raise TimeoutError(
                    errno.ETIMEDOUT, "another specd keeps it locked", str(self._file)
                )
            if attributes.stands(self._file, descriptor):
                return descriptor

    def _opened(self) -> int:
        descriptor = self._descriptor
        if descriptor is not None and attributes.stands(self._file, descriptor):
            return descriptor
        self.close()
        private.make_directory(self._file.parent)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._file, flags, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "it is no regular file", str(self._file))
        self._descriptor = descriptor
        self._forget()  # only now, when another file can be read
        return self._descriptor

    def _append(self, descriptor: int, lines: bytes) -> None:
        lines = b"".join(map(entries_.line, self._owed)) + lines
        size = os.fstat(descriptor).st_size
        if size > self._read_to:
            lines = b"\n" + lines  # ends the line a crash left torn
        try:
            private.write_all(descriptor, lines)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, size)  # a part of a line would count as a broken one
            raise OSError(error.errno, error.strerror, str(self._file)) from error
        self._owed.clear()

    def _refresh(self) -> None:
        """Read the lines that any process appended since; sets ``problem`` if that fails."""
        try:
            self._read_on(self._opened())
        except OSError as error:
            self.problem = f"journal: {self._file}: {error.strerror or error}"
        else:
            self.problem = (
                f"journal: {self._file} could not be written, so a restarted specd would write "
                "again what was just restored"
                if self.owes
                else None
            )

    def _read_on(self, descriptor: int) -> None:
        if os.fstat(descriptor).st_size < self._read_to:
            self._forget()
        for start, line, size in _lines(descriptor, self._read_to):
            record = entries_.read(line)
            self._take(record, start, size)
            self._read_to = start + size
            self._unread_lines += record is None and bool(line.strip())
        for owed in self._owed:
            self._take(owed)

    def _take(
        self, line: Entry | Outcome | Content | Standing | None, start: int = 0, size: int = 0
    ) -> None:
        if isinstance(line, Content):
            self._contents[line.sha] = start, size
        elif isinstance(line, Standing):
            self._ownership.stand(line)
        elif isinstance(line, Outcome):
            known = self._entries.get(line.id)
            if known is not None and known.state != line.state:
                self._count(replace(known, state=line.state))
        elif line is not None:
            self._last = max(self._last, line.id)
            self._count(line)

    def _count(self, entry: Entry) -> None:
        before = self._entries.get(entry.id)
        if before is not None and entry.state == "intended" and entry.time == before.time:
            return  # a line of this process, which counted when it was written
        if entry.state == "written":
            self._written[entry.path] = entry.time
        if entry.state == "written" or (entry.state == "restored" and before is None):
            entry = replace(entry, again=entry.again or self._ownership.put_back_by(entry))
            self._ownership.wrote(entry)
        self._entries[entry.id] = entry
        if entry.state == "restored":
            self._ownership.took_back(entry)

    def _content(self, descriptor: int, named: str | None) -> bytes | None:
        """The content with the hash ``named``; None when it is missing or damaged."""
        if named is None or named not in self._contents:
            return None
        start, size = self._contents[named]
        return entries_.unpack(private.read_at(descriptor, size, start), named)

    # -- keeping it small -----------------------------------------------------------------------

    def _pruned(self, descriptor: int, at: Callable[[Path], Path] = Path) -> int:
        """Rewrite the file without the oldest writes; returns its descriptor, locked.

        ``at`` maps each path to the one to write. On an error (a full disk) the old file stays in
        use, and a later write tries again.
        """
        beside = self._file.with_suffix(".new")
        try:
            made = os.open(
                beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
        except OSError:
            return descriptor
        try:
            with contextlib.suppress(OSError):
                fcntl.flock(made, fcntl.LOCK_EX)
            for line in self._lines_worth_keeping(descriptor, at):
                private.write_all(made, line)
            os.fsync(made)
            if self._unread_lines:
                # A link, and no rename, so that there is a journal at any time.
                private.set_aside(self._file, by=os.link)
            beside.replace(self._file)
        except OSError:
            os.close(made)
            return descriptor
        self.close()
        self._forget()
        self._descriptor = made
        self._read_on(made)
        self._smallest = self._read_to
        return made

    def _lines_worth_keeping(self, descriptor: int, at: Callable[[Path], Path]) -> Iterator[bytes]:
        written: set[str] = set()
        for each in self._worth_keeping():
            named = each.before_sha
            if named is not None and named not in written:
                content = self._content(descriptor, named)
                if content is not None:
                    written.add(named)
                    yield entries_.pack(content)
            yield entries_.line(each, at)
        yield entries_.line(self._ownership.standing(), at)

    def _worth_keeping(self) -> list[Entry]:
        """The newest writes, and the first write of every owned value, in order."""
        newest = next(reversed(self._entries.values()), None)
        took_place = [e for e in self._entries.values() if e.state != "abandoned" or e is newest]
        first = self._ownership.first_writes()
        kept = {e.id: e for e in [e for e in took_place if e.id in first][-KEPT_ENTRIES // 2 :]}
        contents = {each.before_sha for each in kept.values()}
        size = 0
        for each in reversed(took_place):
            if each.before_sha not in contents and each.before_sha is not None:
                contents.add(each.before_sha)
                size += self._contents.get(each.before_sha, (0, 0))[1]
            size += len(entries_.line(each))
            if len(kept) >= KEPT_ENTRIES or (size > KEPT_BYTES and each is not newest):
                break
            kept[each.id] = each
        return [kept[number] for number in sorted(kept)]


def _moved(old: Path, new: Path, path: Path) -> Path:
    return new / path.relative_to(old) if path.is_relative_to(old) else path


def _stand(owned: Iterable[Owned], path: Path) -> bool:
    """Whether the file at ``path`` holds all these values."""
    document = read_file(path).document
    return all(
        jsonedit.same(jsonedit.value_at(document, each.at), each.value)  # type: ignore[arg-type]
        for each in owned
        if not each.is_shell
    )


def _holds(intent: Entry) -> bool | None:
    """Whether a write took place, by its file's content; None while that cannot be read."""
    seen = read_file(intent.path)
    if seen.content is None:
        return None if seen.problem is not None else intent.removed
    named = entries_.sha(seen.content)
    if named in (intent.before_sha, intent.after_sha):
        return named == intent.after_sha
    if isinstance(seen.document, Absent):
        return None
    # Another program has written since: the write took place if specd's values are there.
    document = seen.document
    return bool(intent.changes) and all(
        jsonedit.same(jsonedit.value_at(document, each.at), each.new) for each in intent.changes
    )


def _lines(descriptor: int, start: int) -> Iterator[tuple[int, bytes, int]]:
    """(offset, line without its newline, bytes with it) of every whole line from ``start`` on.

    To bound memory, a line longer than ``LINE_BYTES`` is yielded in parts, each as an empty line.
    """
    rest = b""
    overlong = False
    # Small reads keep the daemon's heap small; long lines are read in larger ones.
    size = _CHUNK
    while chunk := os.pread(descriptor, size, start + len(rest)):
        *whole, rest = (rest + chunk).split(b"\n")
        size = _CHUNK if whole else min(2 * size, _LARGE_CHUNK)
        for line in whole:
            yield start, b"" if overlong else line, len(line) + 1
            start += len(line) + 1
            overlong = False
        if len(rest) > LINE_BYTES:
            yield start, b"", len(rest)
            start += len(rest)
            rest, overlong = b"", True


def _sync(descriptor: int) -> None:
    if hasattr(os, "fdatasync"):
        os.fdatasync(descriptor)
    else:
        os.fsync(descriptor)
