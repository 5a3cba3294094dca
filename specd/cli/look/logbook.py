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

from specd.agent.events import LOG_FILES

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
class LogLine:
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


def parse(text: str) -> LogLine:
    """The entry of one line, without its newline."""
    match = _LINE.fullmatch(text)
    if match is None:
        return LogLine(text)
    try:
        moment = datetime.fromisoformat(match["time"])
    except ValueError:
        return LogLine(text)
    return LogLine(text, moment, match["level"].lower(), match["rest"])


def files(log: Path) -> list[Path]:
    """The log's files that are there, newest first."""
    return [path for path in _places(log) if path.is_file()]


def _places(log: Path) -> list[Path]:
    return [log, *(log.with_name(f"{log.name}.{n}") for n in range(1, LOG_FILES + 1))]


def end(log: Path) -> IO[bytes] | None:
    """The log, opened, at its end as of now; None when there is none yet."""
    try:
        file = log.open("rb")
    except FileNotFoundError:
        return None
    file.seek(0, os.SEEK_END)
    return file


def last(
    log: Path, count: float, level: str, since: datetime | None, until: IO[bytes] | None
) -> list[LogLine]:
    """The last ``count`` entries of at least ``level``, oldest first.

    They are from ``since`` on and before the place of ``until``, which ``end`` has opened.
    """
    found: list[LogLine] = []
    stop = 0 if until is None else until.tell()
    for path in files(log):
        for row in reversed(_rows(path, stop if path == log else None)):
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


def follow(log: Path, level: str, since: IO[bytes] | None) -> Iterator[LogLine]:
    """Entries of at least ``level`` as they are written after the place of ``since``, for ever.

    It continues across rotations, however many there are between two reads.
    """
    file = since or _open(log)
    half = b""
    while True:
        later = _after(log, file)  # before reading: a file that was replaced gets no more lines
        while chunk := file.read(BLOCK):
            *rows, half = (half + chunk).split(b"\n")
            entries = (parse(_decoded(row)) for row in rows)
            yield from (entry for entry in entries if entry.at_least(level))
        if later is None:
            time.sleep(POLL_S)
        else:
            file.close()
            file, half = later, b""


def _open(log: Path) -> IO[bytes]:
    while True:
        try:
            return log.open("rb")
        except FileNotFoundError:
            time.sleep(POLL_S)


def _after(log: Path, file: IO[bytes]) -> IO[bytes] | None:
    """The log's file that was begun after ``file``, opened; None while ``file`` is the newest.

    Files are opened from the newest on, because a rotation moves them in this direction: one that
    is moved meanwhile is met twice, never missed.
    """
    mine = _inode(os.fstat(file.fileno()))
    later: IO[bytes] | None = None
    for path in _places(log):
        with contextlib.suppress(FileNotFoundError):
            found = path.open("rb")
            facts = os.fstat(found.fileno())
            if _inode(facts) == mine:
                found.close()
                if path == log and facts.st_size < file.tell():
                    file.seek(0)  # emptied in place
                break
            if later is not None:
                later.close()
            later = found
    return later


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
