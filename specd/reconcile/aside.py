"""Move one of LM Studio's files aside, so that the app makes it anew; undone like any write.

The file is renamed beside itself, so that it is there or not at every moment, and its content goes
into the journal first. When somebody writes it between the look and the rename, what they wrote is
what was moved, and what the journal gets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from specd.files.pointer import ABSENT
from specd.reconcile.entry import Change
from specd.reconcile.journal import Journal

SUFFIX = ".moved-aside"
LIMIT_BYTES = 64 << 20


class CannotMove(Exception):
    """The file is where it was; the message says why."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Where the file is now, and the number that undoes it."""

    journal_id: int
    to: Path


def move_aside(path: Path, journal: Journal, *, surface: str, why: str, by: str) -> Moved:
    """Rename ``path`` out of the app's sight.

    Raises:
        CannotMove: it is not there, is no file specd would copy, or cannot be renamed.
    """
    to = path.with_name(path.name + SUFFIX)
    change = Change(path.name, (), "(the whole file)", ABSENT, why)
    try:
        content = _read(path)
        number = journal.intend(path, content, b"", (change,), surface=surface, by=by)
        try:
            path.rename(to)
        except OSError:
            journal.settle(number, written=False)
            raise
        moved = _read(to)
        if moved != content:
            journal.settle(number, written=False)
            number = journal.intend(path, moved, b"", (change,), surface=surface, by=by)
        journal.settle(number, written=True)
    except FileNotFoundError as error:
        raise CannotMove(f"{path} is not there, so LM Studio will make it anew anyway") from error
    except OSError as error:
        raise CannotMove(f"{path} cannot be moved: {error.strerror or error}") from error
    return Moved(number, to)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LIMIT_BYTES + 1)
    if len(content) > LIMIT_BYTES:
        raise CannotMove(f"{path} is larger than {LIMIT_BYTES >> 20} MB; move it yourself")
    return content
