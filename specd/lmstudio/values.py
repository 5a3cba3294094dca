"""Values from LM Studio's files and answers, checked before they are used; none is trusted."""

from __future__ import annotations

from typing import Any, Final

_MAX_TEXT: Final = 500
_MAX_COUNT: Final = 1 << 53  # what a JSON number holds exactly


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


def flag(value: object) -> bool | None:
    """``value`` if it is a boolean, else None."""
    return value if isinstance(value, bool) else None


def members(value: object) -> dict[str, Any]:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}
