"""The daemon's log: one line per decision, to the log file and to listeners on the socket.

A line is ``TIME LEVEL message  key=value key=value``: RFC 3339 local time with zone and
milliseconds, the level, plain words, two spaces, then the context. Values that hold spaces, quotes
or control characters are JSON strings, so a hostile file name can neither forge a line nor reach
the terminal as an escape sequence.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.handlers
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from specd.files import private

Level: TypeAlias = Literal["debug", "info", "warning", "error"]
LEVELS: dict[Level, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}

LOG_BYTES = 5_000_000
LOG_FILES = 5
REMEMBERED = 500

_PLAIN = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:+@%,←→×~[]{}()<>|#*&!?"
)


class Say(Protocol):
    """How any part of the daemon writes a line to the log."""

    def __call__(self, level: Level, message: str, **fields: str | float | bool | None) -> None:
        """One line to the log."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log. ``number`` counts up from 1 within this daemon's life."""

    number: int
    time: str
    level: Level
    message: str
    fields: dict[str, str | int | float | bool | None]

    def as_json(self) -> dict[str, object]:
        """As sent on ``/v1/events`` and printed by ``specd logs --json``."""
        return {"time": self.time, "level": self.level, "message": self.message, **self.fields}


class Events:
    """The daemon's log; safe to call from any thread."""

    def __init__(self, log_file: Path, level: Level) -> None:
        self._lock = threading.Lock()
        self._listeners: list[Callable[[], None]] = []
        self._number = 0
        self._recent: deque[Event] = deque(maxlen=REMEMBERED)
        self._level = LEVELS[level]
        self._file = _LogFile(log_file)

    def set_level(self, level: Level) -> None:
        """Drop lines below ``level`` from now on."""
        self._level = LEVELS[level]

    def say(self, level: Level, message: str, **fields: str | float | bool | None) -> None:
        """One decision in plain words, with its context."""
        if LEVELS[level] < self._level:
            return
        with self._lock:
            self._number += 1
            now = datetime.now().astimezone().isoformat(timespec="milliseconds")
            event = Event(self._number, now, level, message, fields)
            self._recent.append(event)
            self._file.handle(logging.makeLogRecord({"msg": format_line(event)}))
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    @contextlib.contextmanager
    def heard(self, listener: Callable[[], None]) -> Iterator[None]:
        """Call ``listener`` after each line while the body runs, on the thread that wrote it."""
        with self._lock:
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def since(self, number: int) -> list[Event]:
        """The lines after ``number``, of the last ``REMEMBERED`` ones."""
        # Without the lock, which a slow disk may hold for long.
        return [event for event in tuple(self._recent) if event.number > number]

    @property
    def problem(self) -> str | None:
        """The reason why the last line is missing from the log file, if it is."""
        return self._file.problem

    def close(self) -> None:
        """Flush and close the log file."""
        self._file.close()


def format_line(event: Event) -> str:
    """The log line of an event, without the newline."""
    context = " ".join(
        f"{key}={_value(value)}" for key, value in event.fields.items() if value is not None
    )
    message = _printable(event.message)
    line = f"{event.time} {event.level.upper():<7} {message}"
    return f"{line}  {context}" if context else line


def _value(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if text and _PLAIN.issuperset(text) and not (isinstance(value, str) and _is_json(text)):
        return text
    return _printable(json.dumps(text, ensure_ascii=False))


def _is_json(text: str) -> bool:
    """Whether a text would be read back as a number or the like."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


class _LogFile(logging.handlers.RotatingFileHandler):
    """The log's file; opens it again if it was removed, and keeps a write error in ``problem``."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path,
            maxBytes=LOG_BYTES,
            backupCount=LOG_FILES,
            encoding="utf-8",
            errors="backslashreplace",
            delay=True,
        )
        self.problem: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        self.problem = None
        if self.stream is not None and not os.path.exists(self.baseFilename):  # noqa: PTH110 - a str
            self.close()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - logging's
        error = sys.exc_info()[1]
        why = getattr(error, "strerror", None) or error
        self.problem = f"log: {self.baseFilename} cannot be written: {why}"
        with contextlib.suppress(OSError):
            self.close()

    def _open(self) -> io.TextIOWrapper:
        path = Path(self.baseFilename)
        private.make_directory(path.parent)
        if not private.usable(path):
            private.set_aside(path)  # a pipe in its place would wait for a reader
        path.touch(mode=0o600)
        return super()._open()
