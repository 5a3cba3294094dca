"""Error messages for a specd.toml that name the place and the remedy."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from specd.config import allowed
from specd.config.error import ConfigError, Problem
from specd.config.lines import KeyPath, line_of
from specd.config.schema import keys

SHOWN = 60

_CURLY = frozenset("\u201c\u201d\u201e\u2018\u2019")


def of_syntax(error: Exception, text: str) -> Problem:
    """The problem of a text that is not TOML; the parser's message contains the position."""
    if isinstance(error, RecursionError):
        return Problem(None, "", "is nested too deeply")
    message = str(error)
    match = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if match is None:
        return Problem(None, "", f"is not TOML: {message}")
    what = message[: match.start()]
    what = re.sub(r"\('(.+?)',?\)", lambda found: found[1].replace("', '", "."), what)
    what = what[0].lower() + what[1:]
    if match[1] is None:
        return Problem(text.count("\n") + 1, "", f"is not TOML: {what} at the end of the file")
    slip = _slip(text.split("\n")[int(match[1]) - 1])
    return Problem(int(match[1]), "", f"is not TOML: {what} (column {match[2]}){slip}")


def _slip(line: str) -> str:
    """What to do about one of the commonest slips in a line; "" if it is none of them.

    The line itself is not repeated: it may hold a token.
    """
    _, equals, value = (part.strip() for part in line.partition("="))
    try:
        return "; the key is set twice" if equals and tomllib.loads(line) else ""
    except (tomllib.TOMLDecodeError, RecursionError):
        pass
    if set(value) & _CURLY:
        return '; write straight quotes: "…"'
    if value.casefold() in ("true", "false"):
        return f"; write {value.casefold()}"
    if value[:1] in ('"', "'"):
        return "; a quote is missing at its end" if value.count(value[0]) == 1 else ""
    plain = value and value[0] not in "[{" and not set(value) & set("\\\"'#")
    return '; put text in quotes: "…"' if plain else ""


def of_values(error: ValidationError, text: str) -> tuple[Problem, ...]:
    """All errors of the models' validation: one per key, in the order of the file."""
    found: dict[KeyPath, str] = {}
    for each in error.errors(include_url=False):
        place = _place(each["loc"])
        found.setdefault(place, _message(place, each))
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
    known = [*allowed.sections(), *keys()]
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


def nearest(word: str, known: list[str] | tuple[str, ...]) -> str:
    """``; did you mean …?`` if a known word is similar or ends with this one, else "".

    A key in a section that exists is compared with that section's keys.
    """
    section, _, name = word.lower().rpartition(".")
    inside = {each for each in known if section and each.lower().startswith(f"{section}.")}
    names = {each.rpartition(".")[2] if inside else each: each for each in inside or known}
    close = [each for each in known if not section and each.endswith(f".{name}")]
    close = close or difflib.get_close_matches(name if inside else word.lower(), names, 1, 0.6)
    return f"; did you mean {names.get(close[0], close[0])}?" if close else ""


def _place(location: tuple[int | str, ...]) -> KeyPath:
    # After the key itself pydantic adds the member of a union.
    return location[: 3 if location[0] == "pair" else 2]


def _message(place: KeyPath, error: ErrorDetails) -> str:
    section = str(place[0])
    if error["type"] == "extra_forbidden":
        return _unknown(place, error["input"])
    if error["type"] == "missing":
        return f"is missing: {allowed.about(section, str(place[-1]))}"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if not isinstance(place[-1], str) or place[-1] in allowed.sections():
        return _no_table(section)
    return _wrong(section, place[-1], error["input"])


def _unknown(place: KeyPath, value: object) -> str:
    section, name = str(place[0]), str(place[-1])
    if len(place) == 1:
        homes = [each for each in allowed.sections() if name in allowed.names(each)]
        if homes and not isinstance(value, dict | list):
            return f"belongs under {_header(homes[0])}"
        known = ", ".join(_header(each) for each in allowed.sections())
        return f"is not known{nearest(name, allowed.sections())} (there are {known})"
    known = ", ".join(allowed.names(section))
    near = nearest(name, allowed.names(section))
    homes = [each for each in allowed.sections() if name in allowed.names(each)]
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
