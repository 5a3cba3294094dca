"""One write of specd's, and how the journal spells it: one JSON object a line (pure).

An intent holds everything about a write; an outcome holds its number and its state; a content line
holds, compressed, what stood in a file before. Whatever cannot be read as one of these is nothing:
a torn line, a flipped bit, somebody's edit.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from sys import intern
from typing import Any, Literal, TypeAlias, get_args

from specd.files.jsonedit import MAX_BYTES
from specd.files.pointer import ABSENT, Absent, Json, Match, Pointer

VERSION = 1

State: TypeAlias = Literal["intended", "written", "abandoned", "restored"]

_STATES = get_args(State)
_CONTENT = b'{"v":1,"sha":"'
_CONTENT_END = b'"}'


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

    @property
    def told_old(self) -> Json | Absent:
        """``old`` as it may be told: text where specd keeps a switch may be anybody's secret."""
        foreign = isinstance(self.old, str | list | dict) and isinstance(self.new, int | float)
        return "(not shown)" if foreign else self.old


@dataclass(frozen=True, slots=True)
class Entry:
    """One write of one file. ``time`` is RFC 3339 with zone; the hashes are SHA-256, hex.

    ``before_sha`` is None when the file was created. No link may lead out of ``within``, if given.
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
    within: Path | None = None

    @property
    def removed(self) -> bool:
        """Whether there was no file after: it was moved aside."""
        return self.after_sha == sha(b"")

    @property
    def created(self) -> bool:
        """Whether there was no file before."""
        return self.before_sha is None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write."""

    id: int
    state: State


@dataclass(frozen=True, slots=True)
class Content:
    """That the content with this SHA-256 stands in this line; ``unpack`` gets it out."""

    sha: str


def sha(content: bytes) -> str:
    """How a content is named."""
    return hashlib.sha256(content).hexdigest()


def read(line: bytes) -> Entry | Outcome | Content | None:
    """What a line (without its newline) says; None when it is none of the journal's.

    Raises:
        NewerJournal: a newer specd wrote it.
    """
    if line.startswith(_CONTENT):
        # By its head alone: a thousand old files need not be unpacked to find one.
        named = line[len(_CONTENT) :].partition(b'"')[0]
        whole = line.endswith(_CONTENT_END)
        return Content(named.decode("ascii", "replace")) if whole else None
    try:
        record = json.loads(line)
        if record["v"] > VERSION:
            raise NewerJournal("the journal was written by a newer specd; upgrade this one")
        if "path" in record:
            return _entry(record)
        return Outcome(int(record["id"]), _state(record["state"]))
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def pack(content: bytes) -> bytes:
    """The line that holds ``content``."""
    packed = base64.b64encode(zlib.compress(content, 1))
    return _CONTENT + sha(content).encode() + b'","data":"' + packed + _CONTENT_END + b"\n"


def unpack(line: bytes, named: str) -> bytes | None:
    """The content in a line; None when it is not, byte for byte, the one ``named`` by its hash."""
    try:
        packed = base64.b64decode(json.loads(line)["data"])
        content = zlib.decompressobj().decompress(packed, MAX_BYTES + 1)
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
        return None
    return content if sha(content) == named else None


def outcome_line(outcome: Outcome) -> bytes:
    """The line of an outcome."""
    return _line({"id": outcome.id, "state": outcome.state})


def entry_line(entry: Entry) -> bytes:
    """The line of an entry."""
    return _line(
        {
            "id": entry.id,
            "time": entry.time,
            "path": str(entry.path),
            "surface": entry.surface,
            "state": entry.state,
            "before": entry.before_sha,
            "after": entry.after_sha,
            "by": entry.by,
            **({} if entry.within is None else {"within": str(entry.within)}),
            "changes": [
                {
                    "key": change.key,
                    "at": [s if isinstance(s, str) else [s.name, s.value] for s in change.at],
                    **({} if change.old is ABSENT else {"old": change.old}),
                    **({} if change.new is ABSENT else {"new": change.new}),
                    "why": change.why,
                }
                for change in entry.changes
            ],
        }
    )


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps({"v": VERSION, **record}, ensure_ascii=True).encode() + b"\n"


def _entry(record: dict[str, Any]) -> Entry:
    before = record["before"]
    time = datetime.fromisoformat(record["time"])
    if time.tzinfo is None:
        raise ValueError("a time without a zone")
    return Entry(
        id=int(record["id"]),
        time=record["time"],
        path=_path(record["path"]),
        surface=intern(record["surface"]),
        changes=tuple(map(_change, record["changes"])),
        state=_state(record["state"]),
        before_sha=None if before is None else intern(before),
        after_sha=intern(record["after"]),
        by=intern(record["by"]),
        within=_path(record["within"]) if "within" in record else None,
    )


@lru_cache(maxsize=256)
def _path(spelled: str) -> Path:
    """One for all of a file's entries: a path that was once asked anything outweighs an entry."""
    return Path(spelled)


def _change(record: dict[str, Any]) -> Change:
    steps = [step if isinstance(step, str) else Match(*step) for step in record["at"]]
    return Change(
        key=intern(record["key"]),
        at=tuple(intern(step) if isinstance(step, str) else step for step in steps),
        old=record.get("old", ABSENT),
        new=record.get("new", ABSENT),
        why=intern(record["why"]),
    )


def _state(value: object) -> State:
    if value not in _STATES:
        raise ValueError("no such state")
    return value  # type: ignore[return-value]
