"""Values from LM Studio's files and answers, checked before they are used; none is trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from specd.files import private

_MAX_TEXT: Final = 500
_MAX_COUNT: Final = 1 << 53  # what a JSON number holds exactly
_MAX_TOKENS: Final = 10_000_000  # more than a context holds
_MAX_FILE_BYTES: Final = 16 << 20
_RATES: Final = (1e-3, 1e6)


def text(value: object, longest: int = _MAX_TEXT) -> str:
    """``value`` if it is a short printable string, else ""."""
    fits = isinstance(value, str) and len(value) <= longest and value.isprintable()
    return str(value) if fits else ""


def count(value: object, below: int = _MAX_COUNT) -> int | None:
    """``value`` if it is a whole number from 0 to ``below``, also when written as 12.0."""
    found = number(value, below)
    return int(found) if found is not None and found == int(found) else None


def number(value: object, below: float = 1e12) -> float | None:
    """``value`` if it is a number from 0 to ``below``, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < below else None


def tokens(value: object) -> int | None:
    """``value`` if it can be a number of tokens in one answer or prompt, else None."""
    return count(value, _MAX_TOKENS)


def rate(value: object) -> float | None:
    """``value`` if a machine can generate as many tokens per second, else None."""
    slowest, fastest = _RATES
    found = number(value, fastest)
    return found if found is not None and found >= slowest else None


def flag(value: object) -> bool | None:
    """``value`` if it is a boolean, else None."""
    return value if isinstance(value, bool) else None


def members(value: object) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """``value`` if it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def object_in(path: Path, at_most: int = _MAX_FILE_BYTES) -> dict[str, Any]:
    """The JSON object in a file; an empty one where none can be read."""
    try:
        return members(json.loads(private.read(path, at_most)))
    except (OSError, ValueError, RecursionError):
        return {}
