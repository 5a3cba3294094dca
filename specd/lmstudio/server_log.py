"""Draft counts in LM Studio's own server log.

``server-logs/YYYY-MM/YYYY-MM-DD.N.log`` has one line per event, ``[time][level][instance] words``;
lines of the server itself have another word in the third bracket, or none. An answer is logged as
JSON over many lines, in the shape of the requested path (see ``answers``):

    [2026-09-10 00:35:56][INFO][qwen3-8b] Generated prediction: {
      "usage": {
        "total_draft_tokens_count": 492,

llama.cpp adds its own line: ``draft acceptance = 0.80 (  160 accepted /   200 generated)``.

Only numbers and models' names are read, by their place in the JSON. The text of an answer is never
kept, and log lines quoted in it do not count: a JSON string holds no line break, so a quoted line
never begins a line of the log. LM Studio does not document the format, so a log without counts
proves nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from specd.lmstudio import keys
from specd.lmstudio.values import text

_TAIL_BYTES: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024  # keeps the daemon's memory small
_LONGEST_LINE: Final = 1024 * 1024

_LOG_NAME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})\.(\d+)\.log$")
_HEAD: Final = re.compile(rb"(?:\[\d{4}-[^\]]{1,40}\] ?)?\[[A-Z]{3,8}\] ?((?:\[[^\]]{1,300}\] ?)*)")
_BRACKET: Final = re.compile(rb"\[([^\]]+)\]")
_SERVER: Final = b"LM STUDIO SERVER"
_REQUEST: Final = b"Running "  # "Running chat completion on conversation with 1 messages."
_ANSWER: Final = re.compile(rb"Generated (?:prediction|packet): \{$")
_MEMBER: Final = re.compile(rb'  "(model|model_instance_id)": "([^"\\]{1,300})",?$')
_SECTION: Final = re.compile(rb'  "(?:usage|stats)": \{$')
_COUNTED: Final = re.compile(rb'    "(total|accepted)_draft_tokens_count": (\d{1,15}),?$')
_DRAFT: Final = re.compile(rb'    "draft_model": "([^"\\]{1,300})",?$')
_LLAMA: Final = re.compile(
    rb"(?:[a-z_]+ [a-z_]+: [^\n\"]{0,80}\| )?draft acceptance(?: rate)?\s*=\s*[\d.]+\s*"
    rb"\(\s*(\d{1,15})\s*accepted\s*/\s*(\d{1,15})\s*generated"
)


@dataclass(frozen=True, slots=True)
class LoggedDraft:
    """One answer's draft counts (tokens) as logged; "" for a model that is not named."""

    draft: str
    total: int
    accepted: int
    main: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a log has been read: ``offset`` bytes of the file with this ``inode``.

    ``modified`` is the file's time stamp at that read, in seconds since 1970.
    """

    log: str
    inode: int
    offset: int
    modified: float


@dataclass(frozen=True, slots=True)
class News:
    """The draft counts logged since the last read, oldest first.

    All are newer than ``since``, in seconds since 1970; not every line has a time. ``bare``: how
    many answers of each main, since its last draft counts, have no counts.
    """

    drafts: tuple[LoggedDraft, ...]
    since: float
    bare: Mapping[str, int] = field(default_factory=dict)


def newest(home: Path) -> Path | None:
    """The newest server log; None when there is none."""
    for month in sorted(_names(home / keys.SERVER_LOGS), reverse=True):
        folder = home / keys.SERVER_LOGS / month
        logs = [name for name in _names(folder) if _LOG_NAME.search(name)]
        if logs:
            return folder / max(logs, key=_day_and_number)
    return None


def read_on(home: Path, place: Place | None) -> tuple[tuple[News, ...], Place | None]:
    """The counts logged in ``home`` after ``place``, and the new place; never raises.

    A ``place`` in another home is ignored. An unfinished answer is left for the next read. A log
    that is no longer the newest is read to its end first, and of each log at most the last few
    megabytes.
    """
    latest = newest(home)
    if place is not None and not Path(place.log).is_relative_to(home / keys.SERVER_LOGS):
        place = None
    logs = [Path(place.log)] if place is not None else []
    logs += [latest] if latest is not None and latest not in logs else []
    news: list[News] = []
    for log in logs:
        known = place if place and place.log == str(log) else None
        found, reached = _read(log, known, whole=log != latest)
        place = reached or place
        if found.drafts or found.bare:
            news.append(found)
    return tuple(news), place


def _read(log: Path, place: Place | None, *, whole: bool) -> tuple[News, Place | None]:
    """The counts from ``place`` on; ``whole``: nothing more will be written at the end."""
    nothing = News((), 0.0)
    try:
        # Opening a named pipe must not block.
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return nothing, None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            return nothing, None
        start, since = 0, _day(log)
        if place is not None and place.inode == facts.st_ino and place.offset <= facts.st_size:
            start, since = place.offset, place.modified
        start = max(start, facts.st_size - _TAIL_BYTES)
        reader = _Reader(start)
        for line, end in _lines(descriptor, start, facts.st_size, whole=whole):
            reader.read(line, end)
        if whole:
            reader.close()
        reached = Place(str(log), facts.st_ino, reader.done, facts.st_mtime)
        return News(tuple(reader.found), since, reader.bare), reached
    except OSError:
        return nothing, None
    finally:
        os.close(descriptor)


def _lines(descriptor: int, start: int, end: int, *, whole: bool) -> Iterator[tuple[bytes, int]]:
    """The lines between two offsets, each with the offset behind it; a very long one is cut.

    A last line without an end is left out unless the file is ``whole``.
    """
    rest = b""
    at = start  # behind the lines yielded so far
    while start < end and (chunk := os.pread(descriptor, min(_CHUNK_BYTES, end - start), start)):
        start += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        left = start - len(rest)
        for number, line in enumerate(lines):
            at = left if number == len(lines) - 1 else at + len(line) + 1
            yield line.rstrip(b"\r"), at
        if len(rest) > _LONGEST_LINE:
            rest = rest[:_CHUNK_BYTES]
    if rest and whole:
        yield rest.rstrip(b"\r"), end


class _Reader:
    """Collects answers from lines: ``found``, oldest first. One answer is open at a time.

    ``done`` is the offset behind the last line that need not be read again.
    """

    def __init__(self, done: int) -> None:
        self.found: list[LoggedDraft] = []
        self.bare: dict[str, int] = {}
        self.done = done
        self._behind = done  # the offset behind the line read last
        self._running = ""  # the instance whose request was logged last
        self._main: str | None = None  # of the open answer; None: none is open
        self._in_section = False
        self._of_chat = False  # /api/v1/chat never has counts
        self._has_figures = False  # and any other has them where a draft ran
        self._counts: dict[str, int] = {}
        self._draft = ""
        self._of_instance = False  # the last entry is about an instance, and may quote a text
        self._from_llama = False  # the last counts found come from llama.cpp's own line

    def read(self, line: bytes, end: int) -> None:
        """Take in the next line, which ends at ``end``."""
        head = _HEAD.match(line)
        if head is not None:
            self.close()
            brackets = [each for each in _BRACKET.findall(head[1]) if each != _SERVER]
            self._of_instance = bool(brackets)
            self._read_words(line[head.end() :], _name(brackets[0]) if brackets else "")
        elif self._main is not None:
            self._read_answer(line)
        elif not self._of_instance:
            self._read_llama(line, "")
        if self._main is None:
            self.done = end
        elif head is not None:
            self.done = self._behind
        self._behind = end

    def close(self) -> None:
        """End the open answer. One that a restart cut off counts as far as it was written."""
        accepted = self._counts.get("accepted")
        if self._main is not None and accepted is not None:
            # MLX counts only the accepted tokens: at least so many were drafted.
            total = self._counts.get("total", accepted)
            self._add(LoggedDraft(self._draft, total, accepted, self._main), llama=False)
        elif self._main and self._has_figures:
            self.bare[self._main] = self.bare.get(self._main, 0) + 1
        self._main, self._in_section, self._counts, self._draft = None, False, {}, ""
        self._of_chat = self._has_figures = False

    def _read_words(self, words: bytes, instance: str) -> None:
        if _ANSWER.match(words):
            self._main = instance
        elif words.startswith(_REQUEST):
            self._running = instance
        else:
            self._read_llama(words, instance)

    def _read_answer(self, line: bytes) -> None:
        if line == b"}":
            self.close()
        elif self._in_section:
            self._in_section = not line.startswith(b"  }")
            if counted := _COUNTED.match(line):
                self._counts[counted[1].decode()] = int(counted[2])
            elif draft := _DRAFT.match(line):
                self._draft = _name(draft[1])
        elif _SECTION.match(line):
            self._in_section = True
            self._has_figures = not self._of_chat
        elif member := _MEMBER.match(line):
            self._of_chat = member[1] == b"model_instance_id"
            self._main = self._main or _name(member[2])

    def _read_llama(self, words: bytes, instance: str) -> None:
        if counted := _LLAMA.match(words):
            accepted, total = map(int, counted.groups())
            self._add(LoggedDraft("", total, accepted, instance or self._running), llama=True)

    def _add(self, new: LoggedDraft, *, llama: bool) -> None:
        """Keep ``new``, unless it is llama.cpp's line about an answer that is already counted."""
        self.bare.pop(new.main, None)
        last = self.found[-1] if self.found else None
        beside = last and llama != self._from_llama
        if last and beside and (last.total, last.accepted) == (new.total, new.accepted):
            self.found[-1] = last if llama else new
            return
        self.found.append(new)
        self._from_llama = llama


def _name(raw: bytes) -> str:
    return text(raw.decode("utf-8", "replace"))


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _day_and_number(name: str) -> tuple[str, int]:
    found = _LOG_NAME.search(name)
    return (found[1], int(found[2])) if found else ("", 0)


def _day(log: Path) -> float:
    """When the day in the log's name began; 0 where the name has none."""
    try:
        return datetime.strptime(_day_and_number(log.name)[0], "%Y-%m-%d").astimezone().timestamp()
    except ValueError:
        return 0.0
