"""Move one of LM Studio's files aside, so that the app creates it again; undone like any write.

Its content goes into the journal first. The file is renamed only if it still holds that content;
when another program has written it meanwhile, both steps are repeated. If specd is killed at any
point, the file is in its place, or moved aside with a copy in the journal.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from specd.files import jsonedit, private, swap
from specd.files.pointer import ABSENT
from specd.reconcile.entry import Change, sha
from specd.reconcile.journal import Journal

SUFFIX = ".moved-aside"


class CannotMove(Exception):
    """The file is where it was; the message says why."""


@dataclass(frozen=True, slots=True)
class Moved:
    """Where the file is now, and the journal's number for ``specd restore``."""

    journal_id: int
    to: Path


def move_aside(path: Path, journal: Journal, *, surface: str, why: str, by: str) -> Moved:
    """Rename ``path`` out of the app's sight.

    Raises:
        CannotMove: the file is missing, too large, or cannot be renamed.
    """
    real = Path(os.path.realpath(path))
    to = real.with_name(real.name + SUFFIX)
    change = Change(path.name, (), "(the whole file)", ABSENT, why)
    try:
        for _ in range(swap.ATTEMPTS):
            content = private.read(path, jsonedit.MAX_BYTES)
            number = journal.intend(path, content, b"", (change,), surface=surface, by=by)
            moved = False
            try:
                moved = swap.remove(path, content, to=to)
            finally:
                journal.settle(number, written=moved)
            if moved:
                return Moved(number, to)
    except FileNotFoundError as error:
        raise CannotMove(f"{path} is not there, so LM Studio will make it anew anyway") from error
    except swap.SwapError as error:
        raise CannotMove(f"{path} cannot be moved: {error}") from error
    except OSError as error:
        raise CannotMove(f"{path} cannot be moved: {error.strerror or error}") from error
    raise CannotMove(f"{path} is being written all the time; try again later")


def forget(path: Path, journal: Journal) -> None:
    """Remove what was moved aside from ``path``, if it is what the journal says."""
    to = Path(os.path.realpath(path))
    to = to.with_name(to.name + SUFFIX)
    moved = {each.before_sha for each in journal.entries() if each.path == path and each.removed}
    with contextlib.suppress(swap.SwapError, OSError):
        content = private.read(to, jsonedit.MAX_BYTES)
        if sha(content) in moved:
            swap.remove(to, content)
