"""Where a value stands inside a JSON document, and the edits specd can make there.

A pointer is a tuple of steps from the root. A ``str`` step names an object's member. A ``Match``
step picks, in an array of objects, the one element whose member ``name`` equals ``value``; that is
how LM Studio keeps ordered lists of ``{"key": …, "value": …}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Absent(Enum):
    """The value of something that is not there: distinct from JSON ``null``."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Match:
    """The element of an array of objects whose member ``name`` is the string ``value``."""

    name: str
    value: str


Step: TypeAlias = str | Match
Pointer: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """Make the value at ``at`` be ``value``; ``ABSENT`` takes it out (a Match's whole element).

    Missing parents are created: objects for ``str`` steps, and for a ``Match`` an element holding
    the matching member first, appended to the array.
    """

    at: Pointer
    value: Json | Absent
