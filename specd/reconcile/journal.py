"""What specd wrote into LM Studio's files, and what stood there before.

One append-only file of JSON lines, ``entries.jsonl``: an intent, made durable before the first byte
of a file is touched, then its outcome. The old content stands in a line of its own before the
intent, compressed and named by its SHA-256: one write and one fsync make both durable, and a
thousand equal drifts keep one copy. A line torn by a crash is passed over; an intent without an
outcome is settled by looking at the file. Everything is readable by its owner alone: what stood in
settings.json may hold tokens.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from specd.files.pointer import ABSENT, Absent, Json, Match, Pointer

VERSION = 1

_CONTENT = b'{"v":1,"sha":"'

State: TypeAlias = Literal["intended", "written", "abandoned", "restored"]


class NewerJournal(Exception):
    """The journal was written by a newer specd; nothing is read from it and nothing written."""


@dataclass(frozen=True, slots=True)
class Change:
    """One value: ``key`` as people name it, where it stands, what it was and became, and why."""

    key: str
    at: Pointer
    old: Json | Absent
    new: Json | Absent
    why: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One write of one file. ``time`` is RFC 3339 with zone; the hashes are SHA-256, hex.

    ``before_sha`` is None when the file was created.
    """

    id: int
    time: str
    path: Path
    surface: str
    changes: tuple[Change, ...]
    state: State
    before_sha: str | None
    after_sha: str
    by: str

    @property
    def created(self) -> bool:
        """Whether there was no file before."""
        return self.before_sha is None


class Journal:
    """The journal in one directory; several processes may use it at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "entries.jsonl"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._read_to = 0
        self._entries: dict[int, Entry] = {}
        self._contents: dict[str, int] = {}
        self._refresh()

    def intend(
        self,
        path: Path,
        before: bytes | None,
        after: bytes,
        changes: tuple[Change, ...],
        *,
        surface: str,
        by: str,
    ) -> int:
        """Note durably what is about to be written; returns the entry's id.

        Raises:
            OSError: it cannot be noted, so it must not be written.
        """
        before_sha = None if before is None else _sha(before)
        with self._appending() as descriptor:
            number = next(reversed(self._entries), 0) + 1
            entry = Entry(
                id=number,
                time=datetime.now().astimezone().isoformat(timespec="milliseconds"),
                path=path,
                surface=surface,
                changes=changes,
                state="intended",
                before_sha=before_sha,
                after_sha=_sha(after),
                by=by,
            )
            content = b"" if before is None or before_sha in self._contents else _content(before)
            self._append(descriptor, content + _line(_record(entry)))
            os.fdatasync(descriptor) if hasattr(os, "fdatasync") else os.fsync(descriptor)
            self._entries[number] = entry
        return number

    def settle(self, number: int, *, written: bool) -> None:
        """Note what became of an intent."""
        self._mark(number, "written" if written else "abandoned")

    def restored(self, number: int) -> None:
        """Note that a write was undone."""
        self._mark(number, "restored")

    def entries(self) -> tuple[Entry, ...]:
        """Every write that took place, oldest first."""
        self._refresh()
        return tuple(e for e in self._entries.values() if e.state in ("written", "restored"))

    def get(self, number: int) -> Entry | None:
        """One entry."""
        self._refresh()
        return self._entries.get(number)

    def before(self, number: int) -> bytes | None:
        """What stood in the file before; None when there was no file.

        Raises:
            FileNotFoundError: the copy was pruned, or is not what it was.
        """
        sha = self._entries[number].before_sha
        if sha is None:
            return None
        if sha in self._contents:
            with self._file.open("rb") as file:
                file.seek(self._contents[sha])
                content = _unpacked(file.readline())
            if content is not None and _sha(content) == sha:
                return content
        raise FileNotFoundError(f"{self._file} no longer holds what write {number} replaced")

    def is_what_was_written(self, entry: Entry, content: bytes) -> bool:
        """Whether ``content`` is exactly what the entry's write left in the file."""
        return _sha(content) == entry.after_sha

    def last_write(self) -> Entry | None:
        """The newest write."""
        return next((e for e in reversed(self._entries.values()) if e.state == "written"), None)

    def recover(self) -> tuple[Entry, ...]:
        """Settle intents a crash left open, by what their files hold now; returns those."""
        self._refresh()
        open_ = [entry for entry in self._entries.values() if entry.state == "intended"]
        for entry in open_:
            try:
                holds = _sha(entry.path.read_bytes())
            except OSError:
                holds = ""
            self.settle(entry.id, written=holds == entry.after_sha)
        return tuple(self._entries[entry.id] for entry in open_)

    def _mark(self, number: int, state: State) -> None:
        with self._appending() as descriptor:
            self._append(descriptor, _line({"id": number, "state": state}))
            if number in self._entries:
                self._entries[number] = replace(self._entries[number], state=state)

    @contextlib.contextmanager
    def _appending(self) -> Iterator[int]:
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._refresh()
            yield descriptor
        finally:
            os.close(descriptor)

    def _append(self, descriptor: int, lines: bytes) -> None:
        if os.fstat(descriptor).st_size > self._read_to:
            lines = b"\n" + lines  # ends the line a crash or a full disk left torn
            self._read_to = os.fstat(descriptor).st_size
        view = memoryview(lines)
        while view:
            view = view[os.write(descriptor, view) :]
        self._take_all(lines)

    def _refresh(self) -> None:
        """Read what was appended since, by this process or another."""
        try:
            if self._file.stat().st_size <= self._read_to:
                return
            with self._file.open("rb") as file:
                file.seek(self._read_to)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    self._take(line)
                    self._read_to += len(line)
        except FileNotFoundError:
            return

    def _take_all(self, lines: bytes) -> None:
        for line in lines.splitlines(keepends=True):
            self._take(line)
            self._read_to += len(line)

    def _take(self, line: bytes) -> None:
        if line.startswith(_CONTENT):
            # Found by its head alone: a thousand old files need not be unpacked to find one.
            sha = line[len(_CONTENT) :].partition(b'"')[0].decode("ascii", "replace")
            self._contents[sha] = self._read_to
            return
        try:
            record = json.loads(line)
            if record["v"] > VERSION:
                raise NewerJournal(f"{self._file} was written by a newer specd; upgrade this one")
            number = int(record["id"])
            if "path" in record:
                self._entries[number] = _entry(record)
            elif number in self._entries:
                self._entries[number] = replace(self._entries[number], state=record["state"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps({"v": VERSION, **record}, ensure_ascii=True).encode() + b"\n"


def _content(content: bytes) -> bytes:
    packed = base64.b64encode(zlib.compress(content, 1))
    return _CONTENT + _sha(content).encode() + b'","data":"' + packed + b'"}\n'


def _unpacked(line: bytes) -> bytes | None:
    try:
        return zlib.decompress(base64.b64decode(json.loads(line)["data"]))
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
        return None


def _record(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "time": entry.time,
        "path": str(entry.path),
        "surface": entry.surface,
        "state": entry.state,
        "before": entry.before_sha,
        "after": entry.after_sha,
        "by": entry.by,
        "changes": [
            {
                "key": change.key,
                "at": [
                    step if isinstance(step, str) else [step.name, step.value] for step in change.at
                ],
                **({} if change.old is ABSENT else {"old": change.old}),
                **({} if change.new is ABSENT else {"new": change.new}),
                "why": change.why,
            }
            for change in entry.changes
        ],
    }


def _entry(record: dict[str, Any]) -> Entry:
    return Entry(
        id=int(record["id"]),
        time=str(record["time"]),
        path=Path(record["path"]),
        surface=str(record["surface"]),
        changes=tuple(
            Change(
                key=each["key"],
                at=tuple(step if isinstance(step, str) else Match(*step) for step in each["at"]),
                old=each.get("old", ABSENT),
                new=each.get("new", ABSENT),
                why=each["why"],
            )
            for each in record["changes"]
        ),
        state=record["state"],
        before_sha=record["before"],
        after_sha=record["after"],
        by=record["by"],
    )
