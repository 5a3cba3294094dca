"""The user's mix of prompt classes, which gives the benchmark's weights."""

from __future__ import annotations

import math
from typing import Final

CLASSES: Final = (
    "short", "long", "code", "table", "formula", "translation", "creative",
    "rewrite", "tools", "thinking", "2k", "8k", "32k",
)  # fmt: skip

EXAMPLE = '"code=3, creative=0.5"'


def read(text: str) -> dict[str, float]:
    """Weights by class from ``class=weight, …``; a missing class has the weight 1.

    Raises:
        ValueError: an unknown or repeated class, or a weight that is not from 0 to 1000.
    """
    found: dict[str, float] = {}
    for each in filter(None, (part.strip() for part in text.split(","))):
        name, equals, weight = (word.strip() for word in each.partition("="))
        if not equals:
            raise ValueError(f"must be classes with weights such as {EXAMPLE}, not {each!r}")
        if name not in CLASSES:
            raise ValueError(f"must name classes of {', '.join(CLASSES)}, not {name!r}")
        if name in found:
            raise ValueError(f"names {name} twice")
        found[name] = _weight(name, weight)
    if found and not any(found.get(name, 1.0) for name in CLASSES):
        raise ValueError("must leave at least one class a weight above 0")
    return found


def _weight(name: str, word: str) -> float:
    try:
        weight = float(word)
    except ValueError:
        weight = math.nan
    if not 0 <= weight <= 1000:
        raise ValueError(f"must give {name} a weight from 0 to 1000, not {word!r}")
    return weight
