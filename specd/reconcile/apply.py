"""Write a plan: each file through the journal and the compare-and-swap write.

If a file has changed since it was planned, nothing is written, and the next pass plans it again.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from specd.files import swap
from specd.files.pointer import ABSENT
from specd.reconcile import ownership
from specd.reconcile.journal import Change, Journal, NewerJournal
from specd.reconcile.observe import is_away
from specd.reconcile.ownership import Deed, deed
from specd.reconcile.plan import FileEdit

PASSING = 3
"""A lock of another specd is reported after this many failed tries in a row."""


@dataclass(frozen=True, slots=True)
class Applied:
    """The result of one file edit.

    ``journal_id`` is None when nothing was written. ``deeds`` has one entry for each of the edit's
    changes. ``problem`` is the error, if any. ``conflict``: another program wrote to the file.
    ``permanent``: a retry cannot help until the user changes something (a read-only file).
    ``locked``: another specd was writing. ``times``: how many times in a row it failed.
    """

    edit: FileEdit
    journal_id: int | None = None
    problem: str | None = None
    conflict: bool = False
    permanent: bool = False
    locked: bool = False
    times: int = 1
    deeds: tuple[Deed, ...] = ()

    @property
    def lasts(self) -> bool:
        """Whether to report the failure; another specd's lock is usually gone at the next try."""
        return not self.locked or self.times > PASSING


def apply(edits: Sequence[FileEdit], journal: Journal, *, by: str) -> tuple[Applied, ...]:
    """Write every edit of a plan, in order; one that fails does not stop the others.

    ``by`` ("daemon", "specd apply") names the writer in the journal.
    """
    return tuple(_apply_one(edit, journal, by) for edit in edits)


def _apply_one(edit: FileEdit, journal: Journal, by: str) -> Applied:
    journal.settle_own()
    write = Write(edit, journal, by)
    try:
        written = write.do()
    except swap.SwapError as error:
        if write.number is not None and journal.settle_by_looking(write.number) == "written":
            # The error came after the exchange: the values stand, and can be restored.
            return Applied(edit, write.number, deeds=write.deeds)
        return Applied(
            edit,
            problem=str(error),
            conflict=isinstance(error, swap.Unsettled),
            permanent=isinstance(error, swap.ReadOnly | swap.NotKept | swap.Outside),
            locked=isinstance(error, swap.Taken),
        )
    except NewerJournal as error:
        return Applied(edit, problem=str(error), permanent=True)
    except OSError as error:
        why = f"{edit.path} could not be written: {error.strerror}: {error.filename}"
        return Applied(edit, problem=why)
    if write.number is None or not written:
        return Applied(edit, conflict=True)
    journal.settle(write.number, written=True)
    return Applied(edit, write.number, deeds=write.deeds)


class Write:
    """One write of one file; ``by`` names the writer in the journal, None: the caller writes it."""

    def __init__(self, edit: FileEdit, journal: Journal, by: str | None) -> None:
        self.number: int | None = None
        self.deeds: tuple[Deed, ...] = ()
        self._edit = edit
        self._journal = journal
        self._by = by
        self._folders = 0

    def do(self) -> bool:
        """Write or remove the file; returns False where its content is not the planned one.

        Raises:
            swap.SwapError: the file cannot be written.
            OSError, NewerJournal: the journal cannot be written.
        """
        edit = self._edit
        if edit.after is None:
            return self._take_away(edit.before or b"")
        if edit.before is None:
            self._refuse_if_away(edit.within)
            self._folders = sum(not parent.exists() for parent in edit.path.parents)
        done = swap.update(
            edit.path,
            lambda content: edit.after if content == edit.before else None,
            before_write=self._intend,
            within=edit.within,
            wait_s=self._journal.lock_s,
        )
        return done is not None

    def _refuse_if_away(self, home: Path | None) -> None:
        """Create nothing in the place of a home that is away: its values would count as gone."""
        if home is None or not is_away(home):
            return
        if any(path.is_relative_to(home) for path in self._journal.owned_files()):
            why = f"{home} is away: in its place is nothing, or models alone"
            raise swap.SwapError(self._edit.path, f"{why}; connect its disk or move it back")

    def _take_away(self, content: bytes) -> bool:
        """Remove a file that specd created, with its empty directories."""
        path, root = self._edit.path, self._journal.owned(self._edit.path)[ownership.ROOT]
        self._intend(path, content, b"")
        if not swap.remove(path, content, within=root.within, wait_s=self._journal.lock_s):
            self._abandon()
            return False
        with contextlib.suppress(OSError):
            for directory in list(path.parents)[: root.folders]:
                directory.rmdir()
        return True

    def _intend(self, _real: Path, before: bytes | None, after: bytes) -> None:
        self._abandon()
        if self._by is None:
            return
        # The planner's name for the file, and not a link's target: held values go by that name.
        edit = self._edit
        owned = self._journal.owned(edit.path)
        self.deeds = tuple(deed(owned.get(change.key), change) for change in edit.changes)
        self.number = self._journal.intend(
            edit.path,
            before,
            after,
            edit.changes,
            surface=edit.surface,
            by=self._by,
            within=edit.within,
            made=edit.made,
            folders=self._folders,
        )

    def _abandon(self) -> None:
        if self.number is not None:
            self._journal.settle(self.number, written=False)
            self.number = None


def describe(change: Change) -> str:
    """``key: old → new``, for messages."""
    return f"{change.key}: {show(change.shown_old)} → {show(change.shown_new)}"


def show(value: object) -> str:
    """A value as JSON; "(unset)" where there is none."""
    return "(unset)" if value is ABSENT else json.dumps(value, ensure_ascii=False)
