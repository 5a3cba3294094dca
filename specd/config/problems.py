"""Error messages for a specd.toml that name the place and the remedy."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from specd.config import allowed
from specd.config.error import ConfigError, Problem
from specd.config.lines import KeyPath, line_of
from specd.config.schema import SECTIONS, keys

SHOWN = 60


def of_syntax(error: Exception, text: str) -> Problem:
    """The problem of a text that is not TOML; the parser's message contains the position."""
    if isinstance(error, RecursionError):
        return Problem(None, "", "is nested too deeply")
    message = str(error)
    match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if match is None:
        return Problem(None, "", f"is not TOML: {message}")
    what = message[: match.start()]
    what = what[0].lower() + what[1:]
    if match[1] is None:
        return Problem(text.count("\n") + 1, "", f"is not TOML: {what} at the end of the file")
    return Problem(int(match[1]), "", f"is not TOML: {what} (column {match[2]})")


def of_values(document: dict[str, Any], text: str) -> tuple[Problem, ...]:
    """All errors of a document that is no configuration: one per key, in the order of the file."""
    found: dict[KeyPath, str] = {}
    for section, value in document.items():
        if section not in SECTIONS:
            found[section,] = _unknown((section,), value)
        elif section == "pair" and isinstance(value, list):
            for index, pair in enumerate(value):
                found |= _in_table((section, index), pair)
        else:
            found |= _in_table((section,), value if section != "pair" else None)
    problems = (Problem(line_of(text, place), dotted(place), what) for place, what in found.items())
    return tuple(sorted(problems, key=lambda problem: problem.line or 0))


def locked_keys(path: Path, policy: Any, text: str) -> frozenset[str]:
    """The keys and sections in a policy's ``[policy] locked``.

    Raises:
        ConfigError: it is not a list of names, or contains an unknown name.
    """
    line = line_of(text, ("policy", "locked"))
    locked = policy.get("locked", []) if isinstance(policy, dict) else None
    unknown = set(policy) - {"locked"} if isinstance(policy, dict) else set()
    if unknown:
        what = f"[policy] knows only locked, not {', '.join(sorted(unknown))}"
        raise ConfigError(path, (Problem(line, "policy", what),))
    if not isinstance(locked, list) or not all(isinstance(name, str) for name in locked):
        what = 'must be a list of names, such as ["benchmark", "agent.log_level"]'
        raise ConfigError(path, (Problem(line, "policy.locked", what),))
    known = [*SECTIONS, *keys()]
    wrong = tuple(
        Problem(line, "policy.locked", f"there is no {shown(name)}{nearest(name, known)}")
        for name in locked
        if name not in known
    )
    if wrong:
        raise ConfigError(path, wrong)
    return frozenset(locked)


def dotted(place: KeyPath) -> str:
    """``("pair", 1, "draft")`` as ``pair[2].draft``, counted from one."""
    text = ""
    for step in place:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else step
    return text if text.isprintable() else shown(text)


def shown(value: object) -> str:
    """A value as JSON, shortened if it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def nearest(word: str, known: Iterable[str]) -> str:
    """``; did you mean …?`` if a known word is similar, else ""."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _in_table(place: KeyPath, table: object) -> dict[KeyPath, str]:
    section = str(place[0])
    if not isinstance(table, dict):
        return {place: _no_table(section)}
    found: dict[KeyPath, str] = {}
    if section == "pair" and "main" not in table:
        found[*place, "main"] = f"is missing: {allowed.about(section, 'main')}"
    for name, value in table.items():
        here = (*place, name)
        if name not in allowed.names(section):
            found[here] = _unknown(here, value)
            continue
        try:
            required = {"main": "any"} if section == "pair" else {}
            msgspec.convert({**required, name: value}, SECTIONS[section])
        except msgspec.ValidationError as error:
            refused = error.__cause__  # what the section itself does not accept
            found[here] = str(refused) if refused else _wrong(section, name, value)
    return found


def _unknown(place: KeyPath, value: object) -> str:
    section, name = str(place[0]), str(place[-1])
    if len(place) == 1:
        homes = [each for each in SECTIONS if name in allowed.names(each)]
        if homes and not isinstance(value, dict | list):
            return f"belongs under {_header(homes[0])}"
        known = ", ".join(_header(each) for each in SECTIONS)
        return f"is not known{nearest(name, SECTIONS)} (there are {known})"
    known = ", ".join(allowed.names(section))
    near = nearest(name, allowed.names(section))
    homes = [each for each in SECTIONS if name in allowed.names(each)]
    if not near and homes:
        return f"belongs under {_header(homes[0])}, not {_header(section)}"
    return f"is not known{near} ({_header(section)} knows {known})"


def _wrong(section: str, key: str, value: object) -> str:
    if key == "token_env":
        # A wrong value for a variable's name may be the token itself, so it is not shown.
        return f"must be {allowed.words(section, key)}"
    wrong = f"must be {allowed.words(section, key)}, not {shown(value)}"
    choices = allowed.values(section, key)
    if isinstance(value, str):
        if value.lower() in ("true", "false") and "true" in choices:
            return f"{wrong}; remove the quotes"
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            return f"{wrong}; remove the quotes"
        return wrong + nearest(value, choices)
    return wrong


def _no_table(section: str) -> str:
    if section == "pair":
        return "must be written as [[pair]], with two brackets, once for every pair"
    return f"must be a table: write [{section}] on a line of its own, and its keys below"


def _header(section: str) -> str:
    return "[[pair]]" if section == "pair" else f"[{section}]"
