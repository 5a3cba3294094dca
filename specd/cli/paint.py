"""Colour and width for people, nothing for pipes; light enough for ``specd status``.

Honours NO_COLOR (any value) and FORCE_COLOR, and never lets a control character of a file's name
through to the terminal.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Literal, TextIO, TypeAlias

Ink: TypeAlias = Literal["red", "green", "yellow", "blue", "grey", "bold"]

_CODES: dict[Ink, str] = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "grey": "90",
    "bold": "1",
}


def wants_colour(stream: TextIO | None = None) -> bool:
    """Whether to colour ``stream`` (standard output)."""
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, ink: Ink | None, stream: TextIO | None = None) -> str:
    """``text`` in ``ink`` where ``stream`` (standard output) is to have colour."""
    return f"\x1b[{_CODES[ink]}m{text}\x1b[0m" if ink and wants_colour(stream) else text


def width(stream: TextIO | None = None) -> int:
    """Columns of the terminal behind ``stream`` (standard output); 80 where there is none."""
    return _size("COLUMNS", 0, stream) or 80


def height() -> int:
    """Lines of the terminal; 24 where there is none."""
    return _size("LINES", 1, None) or 24


def _size(variable: str, index: int, stream: TextIO | None) -> int:
    named = os.environ.get(variable, "")
    if named.isdigit() and int(named) > 0:
        return int(named)
    try:
        return os.get_terminal_size((stream or sys.stdout).fileno())[index]
    except (OSError, ValueError):
        return 0


def _broken(word: str, room: int) -> list[str]:
    """Parts of ``word`` that fit into ``room``, each as long as possible."""
    if cells(word) <= room:
        return [word]
    parts = [""]
    for piece in re.findall(r"(?:[^/._@-]|\.(?=\d))*[/._@-]?", word):
        if cells(parts[-1]) + cells(piece) > room:
            parts.append("")
        for letter in piece:
            if cells(parts[-1]) + cells(letter) > room:
                parts.append("")
            parts[-1] += letter
    return [part for part in parts if part]


def cells(text: str) -> int:
    """Columns that ``text`` takes on a terminal: wide letters take two, combining marks none."""
    if text.isascii():
        return len(text)
    import unicodedata  # noqa: PLC0415 - names beyond ASCII alone need it

    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def safe(text: str) -> str:
    """``text`` with every control character made visible."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def dumps(value: object, indent: int | None = 2) -> str:
    """JSON for people and programs; unprintable characters, such as C1 controls, are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def short(text: str) -> str:
    """``text`` made safe, with paths under the user's home directory written with ``~``."""
    home = os.environ.get("HOME", "")
    if len(home) > 1:
        text = re.sub(rf"(?<![^\s\"'(]){re.escape(home)}/", "~/", text)
    return safe(text)


def plural(count: int, thing: str) -> str:
    """``1 answer``, ``2 answers``."""
    return f"{count:,} {thing}{'s'[: count != 1]}"


def wrap(text: str, columns: int, indent: str) -> str:
    """Words of ``text`` filled to ``columns``, later lines indented.

    On a terminal paths are shortened, and a word longer than a line is broken at a separator;
    elsewhere a path stays whole, for programs that look for it.
    """
    room = max(20, columns - len(indent))
    lines: list[str] = [""]
    if sys.stdout.isatty():
        words = [part for word in short(text).strip().split(" ") for part in _broken(word, room)]
    else:
        words = safe(text).strip().split(" ")
    for word in words:
        if lines[-1] and cells(lines[-1]) + 1 + cells(word) > room:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return f"\n{indent}".join(lines)


def say(text: str, stream: TextIO | None = None) -> None:
    """Print ``text`` to ``stream`` (standard output); on a terminal it is wrapped by words."""
    stream = stream or sys.stdout
    shown = wrap(text, width(stream), "  ") if stream.isatty() else safe(text)
    print(shown, file=stream)


def complain(problem: object) -> None:
    """Print a problem, line by line, to standard error."""
    for line in str(problem).splitlines():
        say(f"specd: {line}", sys.stderr)
