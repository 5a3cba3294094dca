"""The text of specd.toml: a new file with every key explained, or one changed value.

A new file contains its keys as comments, so that later defaults and a machine-wide policy still
apply. A changed value keeps all comments, the order and the spelling of everything else. The result
is parsed and compared with the intended document before it is returned.
"""

from __future__ import annotations

import contextlib
import copy
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Item

from specd.config import allowed, reading
from specd.config.error import ConfigError, Problem
from specd.config.lines import KeyPath, Statement, statements
from specd.config.problems import nearest
from specd.config.reading import Document
from specd.config.schema import DEFAULTS, Pair, keys

COLUMN = 40
"""Column of the explanations in a new file."""

NO_PATH = Path("specd.toml")


class BadKey(Exception):
    """A wrong key or value for ``specd config set``; the message names the allowed ones."""


def new_text(pairs: Sequence[Pair] = ()) -> str:
    """A whole specd.toml that sets ``pairs``; every other key is a comment with its default.

    >>> print(new_text().splitlines()[0])
    # specd.toml: what specd keeps applied.
    """
    lines = [
        "# specd.toml: what specd keeps applied.",
        "# Every key is optional; a # before one means that its default counts.",
        "# `specd config validate` checks this file, and specd follows every change at once.",
    ]
    for section in allowed.sections():
        if section != "pair":
            lines += ["", f"[{section}]", *_explained("# ", section, getattr(DEFAULTS, section))]
            continue
        for pair in pairs:
            lines += ["", "[[pair]]", *_explained("", section, pair)]
        if not pairs:
            lines += ["", "# One [[pair]] for every main model that is to have a draft:"]
            lines += ["# [[pair]]", *_explained("# ", section, Pair("qwen3-8b"))]
    return "\n".join(lines) + "\n"


def set_value(text: str, key: str, word: str) -> str:
    """``text`` with the dotted ``key`` set to the value that ``word`` spells.

    A pair's key is ``pair.MAIN.draft`` or ``pair.1.draft`` (counted from one). A main model
    without a pair gets a new one.

    Raises:
        BadKey: there is no such key, or the value is not allowed.
        ConfigError: ``text`` is invalid, or has no place for the value.
    """
    document = reading.parse(NO_PATH, text)
    section, _, name = key.partition(".")
    main, _, name = name.rpartition(".") if section == "pair" else ("", "", name)
    known = [each for each in keys() if each != "pair"]
    known += [f"pair.MAIN.{each}" for each in allowed.names("pair")]
    meant = f"pair.MAIN.{name}" if main else key
    if meant not in known:
        listed = [each for each in known if each.startswith(f"{section}.")] or known
        hint = nearest(meant, known) or f" (there are {', '.join(listed)})"
        raise BadKey(f"there is no key {key}{hint}")
    if not isinstance(document.get(section, [] if main else {}), list if main else dict):
        allowed.validated(NO_PATH, document, text)  # raises, and names the mistake
    value = _value(section, name, word)
    wanted = copy.deepcopy(document)
    table: KeyPath = (section,)
    if main:
        at = index(document, main)
        if at is None:
            added = {"main": main, name: value}
            wanted.setdefault("pair", []).append(added)
            assigned = [f"{each} = {toml(held)}\n" for each, held in added.items()]
            return _checked(_appended(text, "[[pair]]", "".join(assigned)), wanted)
        table = (section, at)
    held = _at(wanted, table) if main else wanted.setdefault(section, {})
    if name in held or (section in document and not _headed(text, table)):
        made = tomlkit.parse(text)
        _replace(_at(made, table), name, value)
        text = made.as_string()
    else:
        text = _inserted(text, table, name, value)
    held[name] = value
    return _checked(text, wanted)


def unset_value(text: str, key: str) -> str:
    """``text`` without the dotted ``key``, so that its default applies; ``pair.MAIN`` is a pair.

    Raises:
        BadKey: it is not set.
        ConfigError: ``text`` or the result is invalid.
    """
    wanted = reading.parse(NO_PATH, text)
    section, _, name = key.partition(".")
    place: tuple[str | int | None, ...] = (section, name)
    if section == "pair":
        main, last = split(key)
        place = (section, index(wanted, main), last)[: 3 if last else 2]
    made = tomlkit.parse(text)
    for document in (wanted, made):
        try:
            del _at(document, place[:-1])[place[-1]]
        except (LookupError, TypeError):
            near = "" if section == "pair" or key in keys() else nearest(key, keys())
            raise BadKey(f"{key} is not set{near}") from None
        if section == "pair" and not document["pair"]:
            del document["pair"]
    return _checked(made.as_string(), wanted)


def toml(value: object) -> str:
    """A value as TOML spells it, on one line; what cannot be printed is escaped."""
    text = tomlkit.item(value).as_string()
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)


def _at(document: Any, place: Iterable[str | int | None]) -> Any:
    for step in place:
        document = document[step]
    return document


def split(key: str) -> tuple[str, str]:
    """The main, and what follows it, of a pair's key; two empty texts for another key."""
    section, _, rest = key.partition(".")
    main, _, name = rest.rpartition(".")
    if section != "pair":
        return "", ""
    return (main, name) if name in allowed.names("pair") else (rest, "")


def index(document: Document, main: str) -> int | None:
    """The index of the pair with this main model, or of the pair with this number.

    Raises:
        BadKey: there are fewer pairs than this number.
    """
    held = document.get("pair", [])
    pairs = held if isinstance(held, list) and all(isinstance(each, dict) for each in held) else []
    if main.isdecimal():
        if 1 <= int(main) <= len(pairs):
            return int(main) - 1
        raise BadKey(f"there is no pair {main}; specd.toml has {len(pairs) or 'none'}")
    for at, pair in enumerate(pairs):
        if main and str(pair.get("main", "")).lower() == main.lower():
            return at
    return None


def _value(section: str, name: str, word: str) -> object:
    candidates: list[object] = []
    with contextlib.suppress(tomllib.TOMLDecodeError, RecursionError):
        spelled = tomllib.loads(f"value = {word}")
        candidates += spelled.values() if len(spelled) == 1 else ()
    candidates.append(word)
    if allowed.takes_text(section, name):
        candidates = [each for each in candidates if isinstance(each, str)]
    problem = ""
    for value in candidates:
        probe = {"main": "any", name: value} if section == "pair" else {name: value}
        try:
            allowed.validated(NO_PATH, {section: [probe] if section == "pair" else probe}, "")
        except ConfigError as error:
            problem = problem or error.problems[0].message
        else:
            return value
    raise BadKey(f"{section}.{name}: {problem}")


def _replace(table: Any, name: str, value: object) -> None:
    # A plain assignment would remove the comment behind the value.
    old = table.get(name)
    new = tomlkit.item(value)
    if isinstance(old, Item):
        new.trivia.comment_ws = old.trivia.comment_ws
        new.trivia.comment = old.trivia.comment
    table[name] = new


def _headed(text: str, table: KeyPath) -> bool:
    return any(each.header and each.table == table for each in statements(text))


def _inserted(text: str, table: KeyPath, name: str, value: object) -> str:
    """``text`` with a new key in ``table``, which has a header or is missing."""
    rows = _rows(text)
    held = [each for each in statements(text) if each.table == table]
    assigned = f"{name} = {toml(value)}"
    if not held:
        return _appended(text, f"[{table[0]}]", f"{assigned}\n")
    shown_at = _shown_default(rows, held[0], statements(text), name)
    if shown_at is not None:
        row = rows[shown_at]
        comment = re.search(r"\s(#.*)$", row.rstrip("\r\n").lstrip("# "))
        line = f"{assigned:<{COLUMN}}  {comment[1]}" if comment else assigned
        rows[shown_at] = line + _newline(row)
    else:
        last = held[-1].last - 1
        rows[last] = _ended(rows[last])
        rows.insert(last + 1, assigned + _newline(rows[last]))
    return "".join(rows)


def _shown_default(
    rows: list[str], header: Statement, all_of: list[Statement], name: str
) -> int | None:
    """The row of ``# name = …`` within the table that ``header`` opens."""
    end = min(
        (each.first for each in all_of if each.header and each.first > header.first),
        default=len(rows) + 1,
    )
    for at in range(header.first, end - 1):
        if re.match(rf"#\s*{re.escape(name)}\s*=", rows[at]):
            return at
    return None


def _appended(text: str, header: str, block: str) -> str:
    """``text`` with a new table: a pair behind the last pair, another one at the end."""
    rows = _rows(text)
    pairs = [each.last for each in statements(text) if each.table[:1] == ("pair",)]
    at = max(pairs) if pairs and header == "[[pair]]" else len(rows)
    before = _ended("".join(rows[:at]))
    separator = "\n" if before and rows[at - 1].strip() else ""
    return f"{before}{separator}{header}\n{block}{''.join(rows[at:])}"


def _checked(text: str, wanted: Document) -> str:
    made = reading.parse(NO_PATH, text)
    if made != wanted:
        raise ConfigError(
            NO_PATH,
            (Problem(None, "", "is written in a way specd cannot change; edit it by hand"),),
        )
    allowed.validated(NO_PATH, made, text)
    return text


def _explained(mark: str, section: str, values: object) -> Iterator[str]:
    """A line for each key of a section, with the key's description."""
    for key in allowed.names(section):
        assigned = f"{mark}{key} = {toml(getattr(values, key))}"
        yield f"{assigned:<{COLUMN}}  # {allowed.about(section, key)}"


def _rows(text: str) -> list[str]:
    # Not splitlines(): TOML ends lines at line feeds only.
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _newline(row: str) -> str:
    return "\r\n" if row.endswith("\r\n") else "\n"


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
