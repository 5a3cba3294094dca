"""Pointers to values in a JSON document, and edits at them.

A pointer is a tuple of steps from the root. A ``str`` step names an object's member. A ``Match``
step selects, in an array of objects, the element whose member ``name`` equals ``value``: LM Studio
stores ordered lists of ``{"key": …, "value": …}``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


class Absent(Enum):
    """The type of ``ABSENT``, the value of a missing member; distinct from JSON ``null``."""

    ABSENT = "absent"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Match:
    """The element of an array of objects whose member ``name`` is the string ``value``.

    ``stays``: when its last other member is removed, the element stays.
    """

    name: str
    value: str
    stays: bool = False


Step: TypeAlias = str | Match
Pointer: TypeAlias = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Edit:
    """Set the value at ``at`` to ``value``; ``ABSENT`` removes it (a Match's whole element).

    Missing parents are created: objects for ``str`` steps, and for a ``Match`` a new last element
    that begins with the matching member.
    """

    at: Pointer
    value: Json | Absent
