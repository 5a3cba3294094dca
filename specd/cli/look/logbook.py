"""The daemon's log files as entries: parsed, found by time, read from the end, followed.

The log is ``specd.log`` and its rotated predecessors ``specd.log.1`` (newer) … ``specd.log.N``.
Reading starts at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

BLOCK = 1 << 16
LARGEST = 32 << 20
POLL_S = 0.1

LEVELS = ("debug", "info", "warning", "error")

_LINE = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))"
    r" (?P<level>[A-Z]+) +(?P<rest>.*)"
)
_FIELD = r'[A-Za-z_][\w.-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]\S*)'
_CONTEXT = re.compile(rf"  (?P<fields>{_FIELD}(?: {_FIELD})*)$")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. ``level`` is lower case; ``text`` is the whole line.

    Other lines, such as those of a traceback, have no ``time`` and no ``level``.
    """

    text: str
    time: datetime | None = None
    level: str = ""
    message: str = ""

    def as_json(self) -> dict[str, object]:
        """The same shape as the events on the socket."""
        if self.time is None:
            return {"time": None, "level": None, "message": self.text}
        match = _CONTEXT.search(self.message)
        fields = _fields(match["fields"]) if match else {}
        message = self.message[: match.start()] if match else self.message
        return {
            "time": self.time.isoformat(timespec="milliseconds"),
            "level": self.level,
            "message": message,
            **fields,
        }

    def at_least(self, level: str) -> bool:
        """Whether it has ``level`` or a higher one; a line without a level counts too."""
        if self.level not in LEVELS:
            return True
        return LEVELS.index(self.level) >= LEVELS.index(level)


def parse(text: str) -> Entry:
    """The entry of one line, without its newline."""
    match = _LINE.fullmatch(text)
    if match is None:
        return Entry(text)
    try:
        moment = datetime.fromisoformat(match["time"])
    except ValueError:
        return Entry(text)
    return Entry(text, moment, match["level"].lower(), match["rest"])


def files(log: Path) -> list[Path]:
    """The log's files that are there, oldest first."""
    numbered: list[tuple[int, Path]] = []
    if log.is_file():
        numbered.append((0, log))
    for path in log.parent.glob(f"{log.name}.*"):
        number = path.name.removeprefix(f"{log.name}.")
        if number.isdigit():
            numbered.append((int(number), path))
    return [path for _, path in sorted(numbered, reverse=True)]


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of the log at some moment.

    ``file`` is the log at that moment, None when there was none yet.
    """

    file: IO[bytes] | None
    offset: int


def mark(log: Path) -> Mark:
    """The end of the log as of now."""
    try:
        file = log.open("rb")
    except FileNotFoundError:
        return Mark(None, 0)
    return Mark(file, file.seek(0, os.SEEK_END))


def last(log: Path, count: float, level: str, since: datetime | None, until: Mark) -> list[Entry]:
    """The last ``count`` entries of at least ``level`` between ``since`` and ``until``.

    Oldest first.
    """
    found: list[Entry] = []
    for path in reversed(files(log)):
        for row in reversed(_rows(path, until.offset if path == log else None)):
            if len(found) >= count:
                return found[::-1]
            entry = parse(_decoded(row))
            if since is not None and entry.time is not None and entry.time < since:
                return found[::-1]
            if entry.at_least(level):
                found.append(entry)
    return found[::-1]


def _rows(path: Path, end: int | None) -> list[bytes]:
    """The lines of the last 32 MB before the offset ``end``; specd rotates the log at 5 MB."""
    with path.open("rb") as file:
        stop = file.seek(0, os.SEEK_END) if end is None else end
        start = file.seek(max(0, stop - LARGEST))
        return file.read(stop - start).splitlines()


def follow(log: Path, level: str, since: Mark) -> Iterator[Entry]:
    """Entries of at least ``level`` as they are written after ``since``, for ever.

    It continues across rotations, however many there are between two reads.
    """
    unread = [since.file or _open(log)]
    unread[0].seek(since.offset)
    half = b""
    while True:
        while chunk := unread[0].read(BLOCK):
            *rows, half = (half + chunk).split(b"\n")
            entries = (parse(_decoded(row)) for row in rows)
            yield from (entry for entry in entries if entry.at_least(level))
        if len(unread) > 1:
            unread.pop(0).close()
            half = b""
            continue
        # A file that was replaced is read once more: its last lines may be new.
        unread += _newer(log, unread[0])
        if len(unread) == 1:
            time.sleep(POLL_S)


def _open(log: Path) -> IO[bytes]:
    while True:
        try:
            return log.open("rb")
        except FileNotFoundError:
            time.sleep(POLL_S)


def _newer(log: Path, file: IO[bytes]) -> list[IO[bytes]]:
    """The files that replaced ``file``, oldest first; none while it is the current one."""
    mine = os.fstat(file.fileno())
    try:
        now = log.stat()
    except FileNotFoundError:
        return []  # between the two steps of a rotation
    if _inode(now) == _inode(mine):
        if now.st_size < file.tell():
            file.seek(0)  # emptied in place
        return []
    standing = _standing(log)
    inodes = [_inode(os.fstat(each.fileno())) for each in standing]
    older = inodes.index(_inode(mine)) + 1 if _inode(mine) in inodes else 0
    for each in standing[:older]:
        each.close()
    return standing[older:]


def _standing(log: Path) -> list[IO[bytes]]:
    """The log's files, opened, oldest first; never in the middle of a rotation."""
    while True:
        listed = files(log)
        opened: list[IO[bytes]] = []
        with contextlib.suppress(FileNotFoundError):
            opened = [path.open("rb") for path in listed]
            unmoved = [_inode(path.stat()) for path in listed]
            if listed == files(log) and unmoved == [_inode(os.fstat(f.fileno())) for f in opened]:
                return opened
        for each in opened:
            each.close()


def _inode(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _decoded(row: bytes) -> str:
    return row.decode("utf-8", "backslashreplace")


def _fields(text: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for field in re.findall(_FIELD, text):
        key, _, value = field.partition("=")
        found[key] = _value(value)
    return found


def _value(word: str) -> object:
    if word in ("true", "false"):
        return word == "true"
    if word.startswith('"') or _NUMBER.fullmatch(word):
        try:
            return json.loads(word)
        except ValueError:
            return word
    return word
