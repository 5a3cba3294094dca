"""The line number of each key in a TOML text.

The parser of specd.toml keeps no positions. The text is valid, so it can be split into statements:
a header is one line, and a ``key = value`` ends at the first line with which the parser accepts it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]

LONGEST_VALUE = 400
"""Most lines of one value; after a longer one, line numbers may be wrong."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One header or assignment: its table, the keys it sets, and its lines ``[first, last]``."""

    table: KeyPath
    keys: tuple[KeyPath, ...]
    first: int
    last: int
    header: bool


def statements(text: str) -> list[Statement]:
    """The statements of ``text`` (valid TOML) in order; lines count from 1."""
    rows = text.replace("\r\n", "\n").split("\n")
    found: list[Statement] = []
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    at = 0
    while at < len(rows):
        row = rows[at].strip()
        if not row or row.startswith("#"):
            at += 1
            continue
        if row.startswith("["):
            table = _table(row, counts)
            found.append(Statement(table, (table,), at + 1, at + 1, header=True))
            at += 1
            continue
        end, value = _assignment(rows, at)
        inner = tuple((*table, *path) for path in _paths(value))
        found.append(Statement(table, inner, at + 1, end, header=False))
        at = end
    return found


def line_of(text: str, key: KeyPath) -> int | None:
    """The line of ``key``, or of its nearest parent; None if there is neither."""
    first: dict[KeyPath, int] = {}
    for statement in statements(text):
        for path in statement.keys:
            for depth in range(1, len(path) + 1):
                first.setdefault(path[:depth], statement.first)
    for depth in range(len(key), 0, -1):
        if key[:depth] in first:
            return first[key[:depth]]
    return None


def _table(row: str, counts: dict[KeyPath, int]) -> KeyPath:
    names = _names(tomllib.loads(row))
    path: KeyPath = ()
    for name in names[:-1]:
        path = (*path, name)
        if path in counts:
            path = (*path, counts[path] - 1)
    path = (*path, names[-1])
    if row.startswith("[["):
        counts[path] = counts.get(path, 0) + 1
        path = (*path, counts[path] - 1)
    return path


def _names(nested: Any) -> list[str]:
    names: list[str] = []
    while nested:
        if isinstance(nested, list):
            nested = nested[0]
        else:
            name, nested = next(iter(nested.items()))
            names.append(name)
    return names


def _assignment(rows: list[str], at: int) -> tuple[int, dict[str, Any]]:
    last = min(len(rows), at + LONGEST_VALUE)
    for end in range(at + 1, last + 1):
        try:
            return end, tomllib.loads("\n".join(rows[at:end]))
        except tomllib.TOMLDecodeError:
            continue
    return last, {}


def _paths(value: Any) -> list[KeyPath]:
    if isinstance(value, dict) and value:
        return [(key, *rest) for key, inner in value.items() for rest in _paths(inner)]
    if isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        return [(at, *rest) for at, inner in enumerate(value) for rest in _paths(inner)]
    return [()]
