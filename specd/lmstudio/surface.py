"""A surface: a file of LM Studio's in which specd keeps some values.

Each surface is one plain module with the same two names:

- ``NAME``: what it is called in the journal and the log;
- ``targets(desired)``: its files, each with a function that returns the values it should hold.

Surfaces are pure: they read no file and return only desired values. The planner gives back values
of specd's that are no longer desired, and never removes a value that specd did not write.
``surfaces`` lists the surfaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from specd import config
from specd.files.pointer import ABSENT, Absent, Edit, Json
from specd.lmstudio.home import App
from specd.lmstudio.model import Model


@dataclass(frozen=True, slots=True)
class DesiredValue:
    """A value that a file should hold. ``key`` is unique in the file, ``why`` a clause."""

    key: str
    edit: Edit
    why: str


class Misfit(Exception):
    """specd cannot edit a file as it is; the message says what is wrong in it, and what helps."""


Before: TypeAlias = Mapping[str, "Json | Absent"]
"""What stood there before specd's first write, for each value it owns, by ``DesiredValue.key``."""


@dataclass(frozen=True, slots=True)
class DesiredDraft:
    """What should draft for ``main``: ``draft``, its own heads (``mtp``), or neither.

    ``draft_tokens`` is the draft length, None for LM Studio's default. ``adopted``: the user chose
    the draft, so specd writes only what it needs beside it. ``why`` is a clause for the journal.
    ``parallel_costs`` says what an MLX main loses by serving one request at a time.
    """

    main: Model
    draft: Model | None
    draft_tokens: int | None = None
    mtp: bool = False
    adopted: bool = False
    why: str = ""
    parallel_costs: str = ""


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything desired in the files that ``apps`` keep under one home."""

    home: Path
    speculation: config.Speculation
    drafts: tuple[DesiredDraft, ...] = ()
    apps: tuple[App, ...] = ()


Content: TypeAlias = "Json | Absent"
"""A file's parsed content; ``ABSENT`` when there is no file."""


@dataclass(frozen=True, slots=True)
class Target:
    """One file of a surface, and a function that returns the values it should hold.

    It gets the file's content and the values before specd's first write, and may raise ``Misfit``.
    specd's other values in it go back to what stood there before; ``why`` is the reason for that.
    No link may lead out of the directory ``within``; None where the user's own link counts.
    ``app``: the app that reads a model's file. It ignores it if it begins with a byte-order mark,
    and the user may choose its values there: a plan for other content is out of date.
    """

    surface: str
    path: Path
    desired_values: Callable[[Content, Before], tuple[DesiredValue, ...]]
    why: str
    within: Path | None = None
    app: str = ""


class Surface(Protocol):
    """The shape every surface module has."""

    NAME: str

    def targets(self, desired: Desired) -> Iterable[Target]:
        """Every file in which this surface keeps values."""


_KINDS: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def check(
    document: Content, at: tuple[str, ...], expected: Literal["a list", "a single value"]
) -> None:
    """Check the value at ``at`` in ``document``, if there is one.

    Raises:
        Misfit: a value of the wrong kind stands there, or above it.
    """
    value = document
    for depth, step in enumerate(at):
        if value is ABSENT:
            return
        if not isinstance(value, dict):
            raise mismatch(".".join(at[:depth]), value, "an object")
        value = value.get(step, ABSENT)
    listed = isinstance(value, list)
    fits = listed if expected == "a list" else not isinstance(value, dict | list)
    if value is not ABSENT and not fits:
        raise mismatch(".".join(at), value, expected)


def mismatch(key: str, found: Content, expected: str) -> Misfit:
    """The error of a value of the wrong kind; it never shows the value, which may be a secret."""
    where = f"{key} is" if key else "it holds"
    return Misfit(
        f"{where} {_KINDS[type(found)]} where LM Studio keeps {expected}; specd leaves the file "
        "alone. Start LM Studio to have it repaired, or restore the file from a backup"
    )
