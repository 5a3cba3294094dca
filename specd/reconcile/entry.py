"""Read and write the lines of the journal, one JSON object each (pure).

An intent describes a write; an outcome holds its number and its state; a content line holds the
former content of a file, compressed; a ``Standing`` lists every owned value. Any other line (torn,
damaged, edited) is read as None.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from sys import intern
from typing import Any, Literal, TypeAlias, get_args

from specd.files.jsonedit import MAX_BYTES
from specd.files.pointer import ABSENT, Absent, Json, Match, Pointer

VERSION = 2

State: TypeAlias = Literal["intended", "written", "abandoned", "restored"]

EMPTY: tuple[Json, ...] = ({}, [], "")
"""A container without a value in it."""

ValueKey: TypeAlias = tuple[Path, str]
"""A value: the path of its file, and its key there."""

EVERYTHING: ValueKey = (Path("/"), "*")
"""Held in place of single values: all of them, also those that specd has not written yet."""


def is_held(held: AbstractSet[ValueKey], path: Path, key: str) -> bool:
    """Whether the user restored this value, or everything."""
    return EVERYTHING in held or (path, key) in held


_STATES = get_args(State)
_NAMES = {"before_sha": "before", "after_sha": "after"}
_CONTENT = b'{"v":1,"sha":"'
_CONTENT_END = b'"}'


class NewerJournal(Exception):
    """A newer specd wrote the journal; this one reads nothing from it and writes nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """One value: its key (no two of a file have the same), place, old and new value, and reason."""

    key: str
    at: Pointer
    old: Json | Absent
    new: Json | Absent
    why: str

    @property
    def shown_old(self) -> Json | Absent:
        """``old`` for messages: text in the place of a number or switch may be a secret."""
        return _shown(self.old, self.new)

    @property
    def shown_new(self) -> Json | Absent:
        """``new`` for messages; it may be what stood there before specd."""
        return _shown(self.new, self.old)


def _shown(value: Json | Absent, other: Json | Absent) -> Json | Absent:
    foreign = isinstance(value, str | list | dict) and isinstance(other, int | float)
    return "(not shown)" if foreign else value


@dataclass(frozen=True, slots=True)
class Entry:
    """One write of one file. ``time`` is RFC 3339 with zone; the hashes are SHA-256, hex.

    ``before_sha`` is None when the file was created, together with its innermost ``folders``
    directories. ``made`` are the objects and lists that were created to hold the values. No link
    may lead out of ``within``, if given. ``again`` is the key of the first value that the write
    put back after others had changed it, as known at its outcome.
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
    made: tuple[Pointer, ...] = ()
    folders: int = 0
    again: str | None = None

    @property
    def removed(self) -> bool:
        """Whether the write moved the file aside."""
        return self.after_sha == sha(b"")


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a write."""

    id: int
    state: State


@dataclass(frozen=True, slots=True)
class Owned:
    """An owned value.

    ``value`` is the one that specd wrote last, ``before`` the one before specd's first write, which
    has the number ``since``. ``folders`` is how many directories were created with the file.
    """

    path: Path
    key: str
    at: Pointer
    value: Json | Absent
    before: Json | Absent
    since: int
    within: Path | None = None
    folders: int = 0

    @property
    def is_shell(self) -> bool:
        """Whether it is an object, list or file that specd created to hold values."""
        return self.before is ABSENT and self.value in EMPTY

    @property
    def is_whole_file(self) -> bool:
        """Whether it is a file that was moved aside."""
        return not self.at and self.value is ABSENT


@dataclass(frozen=True, slots=True)
class Standing:
    """Every owned value, and those that the user restored."""

    owned: tuple[Owned, ...]
    held: frozenset[ValueKey]


@dataclass(frozen=True, slots=True)
class Content:
    """A line that holds the content with this SHA-256; ``unpack`` decodes it."""

    sha: str


def sha(content: bytes) -> str:
    """The SHA-256 of a content, hex: its name in the journal."""
    return hashlib.sha256(content).hexdigest()


def read(line: bytes) -> Entry | Outcome | Content | Standing | None:
    """A line (without its newline) decoded; None when the journal has no such line.

    Raises:
        NewerJournal: a newer specd wrote it.
    """
    if line.startswith(_CONTENT):
        # The head is enough: to find one content, a thousand others need not be unpacked.
        named = line[len(_CONTENT) :].partition(b'"')[0]
        whole = line.endswith(_CONTENT_END)
        return Content(named.decode("ascii", "replace")) if whole else None
    try:
        record = json.loads(line)
        if record["v"] > VERSION:
            raise NewerJournal("the journal was written by a newer specd; upgrade this one")
        kind = Entry if "path" in record else Standing if "owned" in record else Outcome
        decoded: Entry | Outcome | Standing = _decoded(kind, record)
    except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return decoded


def pack(content: bytes) -> bytes:
    """The line that holds ``content``."""
    packed = base64.b64encode(zlib.compress(content, 1))
    return _CONTENT + sha(content).encode() + b'","data":"' + packed + _CONTENT_END + b"\n"


def unpack(line: bytes, named: str) -> bytes | None:
    """The content in a line; None when its hash is not ``named``."""
    try:
        packed = base64.b64decode(json.loads(line)["data"])
        content = zlib.decompressobj().decompress(packed, MAX_BYTES + 1)
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
        return None
    return content if sha(content) == named else None


def line(record: Entry | Outcome | Standing, at: Callable[[Path], Path] = Path) -> bytes:
    """The line of ``record``; ``at`` maps each path to the one to write."""
    spelled = partial(_spelled, at=at)
    return json.dumps({"v": VERSION, **spelled(record)}, default=spelled).encode() + b"\n"


def _spelled(value: Any, at: Callable[[Path], Path]) -> Any:
    """``value`` for JSON: a dataclass by its fields, without ABSENT and default values."""
    if isinstance(value, Path):
        return str(at(value))
    if isinstance(value, Match):
        return [value.name, value.value, *([True] if value.stays else [])]
    if isinstance(value, frozenset):
        return sorted((str(at(path)), key) for path, key in value)
    return {
        _NAMES.get(field.name, field.name): known
        for field in fields(value)
        if (known := getattr(value, field.name)) is not ABSENT and known != field.default
    }


def _decoded(kind: Any, record: dict[str, Any]) -> Any:
    """A dataclass from the fields in ``record``, with ABSENT for values that are missing."""
    given: dict[str, Any] = {}
    for field in kind.__dataclass_fields__:
        name = _NAMES.get(field, field)
        if name in record:
            read = _READ.get(field)
            given[field] = record[name] if read is None else read(record[name])
        elif field in _VALUES:
            given[field] = ABSENT
    return kind(**given)


@lru_cache(maxsize=256)
def _path(spelled: str) -> Path:
    """One ``Path`` for all entries of a file: it takes more memory than an entry."""
    return Path(spelled)


def _pointer(steps: list[Any]) -> Pointer:
    return tuple(intern(step) if isinstance(step, str) else Match(*step) for step in steps)


def _state(value: object) -> State:
    if value not in _STATES:
        raise ValueError("no such state")
    return value  # type: ignore[return-value]


def _time(spelled: str) -> str:
    if datetime.fromisoformat(spelled).tzinfo is None:
        raise ValueError("a time without a zone")
    return spelled


_VALUES = ("old", "new", "value", "before")
_READ: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("id", "since", "folders"), int),
    **dict.fromkeys(("path", "within"), _path),
    **dict.fromkeys(("key", "surface", "why", "by", "after_sha"), intern),
    "before_sha": lambda sha: sha if sha is None else intern(sha),
    "at": _pointer,
    "made": lambda pointers: tuple(map(_pointer, pointers)),
    "changes": lambda changes: tuple(_decoded(Change, each) for each in changes),
    "owned": lambda owned: tuple(_decoded(Owned, each) for each in owned),
    "held": lambda held: frozenset((_path(path), intern(key)) for path, key in held),
    "state": _state,
    "time": _time,
}
"""How each field is read, by its name; others are taken as they are."""
