"""The text of specd.toml: a new file with every key explained, or one changed value.

A new file contains its keys as comments, so that later defaults and a machine-wide policy still
apply. A changed value keeps all comments, the order and the spelling of everything else. The result
is parsed and compared with the intended document before it is returned.
"""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.items import Item

from specd.config import allowed, reading
from specd.config.error import ConfigError, Problem
from specd.config.lines import Statement, statements
from specd.config.problems import nearest
from specd.config.reading import Document
from specd.config.schema import DEFAULTS, Pair, keys

COLUMN = 40
"""Column of the explanations in a new file."""

NO_PATH = Path("specd.toml")


class BadKey(Exception):
    """A wrong key or value for ``specd config set``; the message names the allowed ones."""


def new_text(pairs: Sequence[Pair] = (), values: Document | None = None) -> str:
    """A whole specd.toml that sets ``pairs`` and ``values`` ({section: {key: value}}).

    Every other key is a comment with its default.

    >>> print(new_text().splitlines()[0])
    # specd.toml: what specd keeps applied.
    """
    values = values or {}
    lines = [
        "# specd.toml: what specd keeps applied.",
        "# Every key is optional; a # before one means that its default counts.",
        "# `specd config validate` checks this file, and specd follows every change at once.",
    ]
    for section in allowed.sections():
        if section == "pair":
            lines += _pair_lines(pairs)
            continue
        lines += ["", f"[{section}]"]
        defaults = getattr(DEFAULTS, section)
        for key in allowed.names(section):
            held = values.get(section, {})
            value = held.get(key, getattr(defaults, key))
            mark = "" if key in held else "# "
            lines.append(_explained(f"{mark}{key} = {toml(value)}", allowed.about(section, key)))
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
    if key.startswith("pair."):
        return _set_in_pair(text, document, key, word)
    section, _, name = key.partition(".")
    if section == "pair" or section not in allowed.sections() or name not in allowed.names(section):
        known = [*keys(), "pair.MAIN.draft", "pair.MAIN.draft_tokens"]
        known.remove("pair")
        hint = nearest(key, known) or f" (there are {', '.join(known)})"
        raise BadKey(f"there is no key {key}{hint}")
    value = _value(section, name, word)
    wanted = {**document, section: {**document.get(section, {}), name: value}}
    if name in document.get(section, {}) or (section in document and not _headed(text, (section,))):
        made = tomlkit.parse(text)
        _replace(made[section], name, value)
        return _checked(made.as_string(), wanted)
    return _checked(_insert(text, (section,), f"[{section}]", name, value), wanted)


def unset_value(text: str, key: str) -> str:
    """``text`` without the dotted ``key``, so that its default applies; ``pair.MAIN`` is a pair.

    Raises:
        BadKey: it is not set.
        ConfigError: ``text`` or the result is invalid.
    """
    document = reading.parse(NO_PATH, text)
    made: Any = tomlkit.parse(text)
    section, _, name = key.partition(".")
    pairs = document.get("pair", [])
    at = _index(pairs, name) if section == "pair" and name else None
    if at is None and section == "pair":
        main, _, name = name.rpartition(".")
        at = _index(pairs, main) if main else None
        if at is None or name not in pairs[at]:
            raise BadKey(f"{key} is not set")
        del made["pair"][at][name]
        left = [{k: v for k, v in p.items() if i != at or k != name} for i, p in enumerate(pairs)]
        return _checked(made.as_string(), {**document, "pair": left})
    if at is not None:
        del made["pair"][at]
        left = [pair for i, pair in enumerate(pairs) if i != at]
        if not left:
            del made["pair"]
        rest = {k: v for k, v in document.items() if k != "pair"}
        return _checked(made.as_string(), {**rest, "pair": left} if left else rest)
    if name not in document.get(section, {}):
        raise BadKey(f"{key} is not set{'' if key in keys() else nearest(key, keys())}")
    del made[section][name]
    held = {k: v for k, v in document[section].items() if k != name}
    return _checked(made.as_string(), {**document, section: held})


def toml(value: object) -> str:
    """A value as TOML spells it, on one line; what cannot be printed is escaped."""
    text = tomlkit.item(value).as_string()
    return "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in text)


def _set_in_pair(text: str, document: Document, key: str, word: str) -> str:
    main, _, name = key.removeprefix("pair.").rpartition(".")
    if not main or name not in allowed.names("pair"):
        known = ", ".join(f"pair.MAIN.{each}" for each in allowed.names("pair"))
        raise BadKey(
            f"there is no key {key}{nearest(name, allowed.names('pair'))} (there are {known})"
        )
    value = _value("pair", name, word)
    pairs = document.get("pair", [])
    at = _index(pairs, main)
    if at is None:
        added = {"main": main, name: value}
        block = "".join(f"{each} = {toml(held)}\n" for each, held in added.items())
        return _checked(_append_pair(text, block), {**document, "pair": [*pairs, added]})
    changed = [{**pair, name: value} if i == at else pair for i, pair in enumerate(pairs)]
    wanted = {**document, "pair": changed}
    if name in pairs[at] or not _headed(text, ("pair", at)):
        made: Any = tomlkit.parse(text)
        _replace(made["pair"][at], name, value)
        return _checked(made.as_string(), wanted)
    return _checked(_insert(text, ("pair", at), "[[pair]]", name, value), wanted)


def _index(pairs: list[Document], main: str) -> int | None:
    if main.isdigit():
        if 1 <= int(main) <= len(pairs):
            return int(main) - 1
        raise BadKey(f"there is no pair {main}; specd.toml has {len(pairs)}")
    for at, pair in enumerate(pairs):
        if str(pair.get("main", "")).lower() == main.lower():
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


def _headed(text: str, table: tuple[str | int, ...]) -> bool:
    return any(each.header and each.table == table for each in statements(text))


def _insert(text: str, table: tuple[str | int, ...], header: str, name: str, value: object) -> str:
    rows = _rows(text)
    held = [each for each in statements(text) if each.table == table]
    assigned = f"{name} = {toml(value)}"
    if not held:
        separator = "\n" if rows and rows[-1].strip() else ""
        return f"{_ended(text)}{separator}{header}\n{assigned}\n"
    shown_at = _shown_default(rows, held[0], statements(text), name)
    if shown_at is not None:
        row = rows[shown_at]
        comment = re.search(r"\s(#.*)$", row.rstrip("\r\n").lstrip("# "))
        line = _explained(assigned, comment[1].lstrip("# ")) if comment else assigned
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


def _append_pair(text: str, block: str) -> str:
    rows = _rows(text)
    pairs = [each.last for each in statements(text) if each.table[:1] == ("pair",)]
    if not pairs:
        return f"{_ended(text)}{'' if not text.strip() else chr(10)}[[pair]]\n{block}"
    at = max(pairs)
    rows[at - 1] = _ended(rows[at - 1])
    return "".join([*rows[:at], "\n[[pair]]\n", block, *rows[at:]])


def _checked(text: str, wanted: Document) -> str:
    made = reading.parse(NO_PATH, text)
    if made != wanted:
        raise ConfigError(
            NO_PATH,
            (Problem(None, "", "is written in a way specd cannot change; edit it by hand"),),
        )
    allowed.validated(NO_PATH, made, text)
    return text


def _pair_lines(pairs: Sequence[Pair]) -> list[str]:
    about = {key: allowed.about("pair", key) for key in allowed.names("pair")}
    if not pairs:
        return [
            "",
            "# One [[pair]] for every main model that is to have a draft:",
            "# [[pair]]",
            _explained('# main = "qwen3-8b"', about["main"]),
            _explained('# draft = "auto"', about["draft"]),
            _explained('# draft_tokens = "auto"', about["draft_tokens"]),
        ]
    lines: list[str] = []
    for pair in pairs:
        lines += ["", "[[pair]]"]
        lines += [_explained(f"{key} = {toml(getattr(pair, key))}", about[key]) for key in about]
    return lines


def _explained(line: str, about: str) -> str:
    return f"{line:<{COLUMN}}  # {about}"


def _rows(text: str) -> list[str]:
    # Not splitlines(): TOML ends lines at line feeds only.
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _newline(row: str) -> str:
    return "\r\n" if row.endswith("\r\n") else "\n"


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"
