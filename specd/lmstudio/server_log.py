"""Draft statistics in LM Studio's own server log, where it writes any.

``server-logs/YYYY-MM/YYYY-MM-DD.N.log`` holds what the server logged, as much or as little as the
user has set. With responses logged, an answer's ``stats`` stand there as JSON, spread over lines;
llama.cpp writes its own line (``draft acceptance rate = 0.57576 (171 accepted / 297 generated)``).
Nothing of this is promised, so only the counts and the models' names are looked for, and finding
none proves nothing. What else stands there, prompts and answers among it, is passed over: inside a
JSON string every quote is escaped, so no text can be taken for a statistic.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from specd.lmstudio import keys

_TAIL_BYTES: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024  # the daemon reads it, and is to stay small
_LONGEST: Final = 512  # bytes of one statistic
_NEAR: Final = 4096  # counts further apart than this are of different answers

_LOG_NAME: Final = re.compile(r"(\d{4}-\d{2}-\d{2})\.(\d+)\.log$")
_STATISTIC: Final = re.compile(
    rb'"(?P<name>model|draft_?model|(?:total|accepted|rejected|ignored)_?draft_?tokens_?count'
    rb"|used_?draft_?model_?key)\"\s*:\s*"
    rb'(?:"(?P<text>[^"\\\x00-\x1f]{0,300})"|(?P<number>\d{1,15}))'
    rb"|draft acceptance(?: rate)?\s*=\s*[\d.]+\s*\(\s*(?P<accepted>\d{1,15})\s*accepted\s*/"
    rb"\s*(?P<generated>\d{1,15})\s*generated",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class LoggedDraft:
    """One answer's draft counts (tokens) as logged; a model that is not named is ""."""

    draft: str
    total: int
    accepted: int
    main: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """How far a log has been read: ``offset`` bytes of the file that was ``inode`` then.

    ``modified`` is when it was written last before that, in seconds since 1970.
    """

    log: str
    inode: int
    offset: int
    modified: float


@dataclass(frozen=True, slots=True)
class News:
    """What was logged since the last look, oldest first.

    ``since`` is the earliest it can be of, in seconds since 1970: the log's lines promise no time.
    """

    drafts: tuple[LoggedDraft, ...]
    since: float


def newest(home: Path) -> Path | None:
    """The newest server log; None when there is none."""
    for month in sorted(_names(home / keys.SERVER_LOGS), reverse=True):
        folder = home / keys.SERVER_LOGS / month
        logs = [name for name in _names(folder) if _LOG_NAME.search(name)]
        if logs:
            return folder / max(logs, key=_day_and_number)
    return None


def read(log: Path) -> tuple[LoggedDraft, ...]:
    """The draft counts in the last few megabytes of ``log``, oldest first; never raises."""
    return _read(log, None)[0].drafts


def read_on(home: Path, place: Place | None) -> tuple[tuple[News, ...], Place | None]:
    """What the logs of ``home`` tell beyond ``place``, and how far they are read now; never raises.

    ``place`` counts for nothing where it is of another home. A log that is no longer the newest is
    read to its end first. Of each at most the last few megabytes are read.
    """
    latest = newest(home)
    if place is not None and not Path(place.log).is_relative_to(home / keys.SERVER_LOGS):
        place = None
    logs = [Path(place.log)] if place is not None else []
    logs += [latest] if latest is not None and latest not in logs else []
    news: list[News] = []
    for log in logs:
        told, reached = _read(log, place if place and place.log == str(log) else None)
        place = reached or place
        if told.drafts:
            news.append(told)
    return tuple(news), place


def _read(log: Path, place: Place | None) -> tuple[News, Place | None]:
    nothing = News((), 0.0)
    try:
        # A pipe by that name must not keep anybody waiting.
        descriptor = os.open(log, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return nothing, None
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            return nothing, None
        reached = Place(str(log), facts.st_ino, facts.st_size, facts.st_mtime)
        start, since = 0, _day(log)
        if place is not None and place.inode == facts.st_ino and place.offset <= facts.st_size:
            start, since = place.offset, place.modified
        start = max(start, facts.st_size - _TAIL_BYTES)
        return News(tuple(_logged(_chunks(descriptor, start, facts.st_size))), since), reached
    except OSError:
        return nothing, None
    finally:
        os.close(descriptor)


def _chunks(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (chunk := os.pread(descriptor, min(_CHUNK_BYTES, end - start), start)):
        start += len(chunk)
        yield chunk


def _logged(chunks: Iterator[bytes]) -> Iterator[LoggedDraft]:
    gathered: dict[str, str | int] = {}
    main = ""
    end = 0
    for at, found in _statistics(chunks):
        if found["generated"] is not None:
            yield LoggedDraft("", int(found["generated"]), int(found["accepted"]))
            continue
        name = found["name"].decode().lower().replace("_", "")
        number = found["number"]
        value = int(number) if number is not None else found["text"].decode("utf-8", "replace")
        if name == "model" or name in gathered or at - end > _NEAR:
            yield from _whole(gathered, main)
            gathered = {}
        if name == "model":
            main = str(value)
        else:
            gathered[name] = value
        end = at + len(found[0])
    yield from _whole(gathered, main)


def _statistics(chunks: Iterator[bytes]) -> Iterator[tuple[int, re.Match[bytes]]]:
    """Every statistic with its place in all the chunks; one may lie across two of them."""
    before = 0
    rest = b""
    for chunk in chunks:
        rest += chunk
        done = max(0, len(rest) - _LONGEST)
        for found in _STATISTIC.finditer(rest):
            if found.start() >= done:
                break
            yield before + found.start(), found
            done = max(done, found.end())
        before += done
        rest = rest[done:]
    for found in _STATISTIC.finditer(rest):
        yield before + found.start(), found


def _whole(gathered: dict[str, str | int], main: str) -> Iterator[LoggedDraft]:
    """What was gathered, where it counts anything: a request names a draft too, but counts none."""
    total, accepted = (
        gathered.get("totaldrafttokenscount"),
        gathered.get("accepteddrafttokenscount"),
    )
    if isinstance(total, int) and isinstance(accepted, int):
        draft = gathered.get("draftmodel") or gathered.get("useddraftmodelkey")
        yield LoggedDraft(draft if isinstance(draft, str) else "", total, accepted, main)


def _names(folder: Path) -> list[str]:
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def _day_and_number(name: str) -> tuple[str, int]:
    found = _LOG_NAME.search(name)
    return (found[1], int(found[2])) if found else ("", 0)


def _day(log: Path) -> float:
    """When the day in the log's name began; 0 where the name is none of a day."""
    try:
        return datetime.strptime(_day_and_number(log.name)[0], "%Y-%m-%d").astimezone().timestamp()
    except ValueError:
        return 0.0
