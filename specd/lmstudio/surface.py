"""What a surface is: a file of LM Studio's in which specd keeps some values.

Each surface is one plain module with the same two names:

- ``NAME``: what it is called in the journal and the log;
- ``targets(wanted)``: its files, each with a function from the file's current content to wishes.

Surfaces are pure: they read no file, they are told what is in it. ``surfaces`` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from specd import config
from specd.files.pointer import ABSENT, Absent, Edit, Json
from specd.lmstudio.model import Model


@dataclass(frozen=True, slots=True)
class Wish:
    """One value that a file should hold. ``key`` is how people see it named, ``why`` a clause."""

    surface: str
    path: Path
    key: str
    edit: Edit
    why: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why nothing may be wished of a file as it stands: what is wrong where, and what helps."""

    path: Path
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class WantedDraft:
    """What should draft for ``main``: a model, its own ``mtp`` heads, or (neither) nothing.

    ``draft_tokens`` is the draft length, None to leave LM Studio's default. ``why_none`` is a
    clause that tells why nothing should, for the journal; ``sessions_before`` how many requests the
    main was loaded for before specd made it one, ABSENT for LM Studio's default, None where specd
    did not.
    """

    main: Model
    draft: Model | None
    draft_tokens: int | None = None
    mtp: bool = False
    why_none: str = ""
    sessions_before: Json | Absent | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Everything wanted of the files under one home."""

    home: Path
    speculation: config.Speculation
    drafts: tuple[WantedDraft, ...] = ()


Content: TypeAlias = "Json | Absent"
"""A file's parsed content; ``ABSENT`` when there is no file."""

WishesOf: TypeAlias = Callable[[Content], "tuple[Wish, ...] | Problem"]


@dataclass(frozen=True, slots=True)
class Target:
    """One file of a surface, and what is wished of it given what it holds.

    ``within`` is a directory that no link may lead out of; None where the user's own link counts.
    """

    surface: str
    path: Path
    wishes: WishesOf
    within: Path | None = None


class Surface(Protocol):
    """The shape every surface module has."""

    NAME: str

    def targets(self, wanted: Wanted) -> Iterable[Target]:
        """Every file this surface wants something of."""


def kind_of(value: Content) -> str:
    """What a JSON value is, in words for a message; never the value, which may be a secret."""
    if value is ABSENT:
        return "nothing"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"


def mismatch(path: Path, key: str, found: Content, expected: str) -> Problem:
    """The problem of a value of the wrong kind where LM Studio's own should be."""
    what = f"{key} is {kind_of(found)}" if key else f"it holds {kind_of(found)}"
    return Problem(
        path,
        f"{path}: {what} where LM Studio keeps {expected}; specd leaves the file alone. "
        "Start LM Studio to have it repaired, or restore the file from a backup",
    )
