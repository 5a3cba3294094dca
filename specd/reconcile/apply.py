"""Make a plan come true: each file through the journal and the compare-and-swap write.

What to change is worked out again from the bytes that stand in the file at that moment; if the file
has come to hold everything wanted by itself, nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from specd.files import swap
from specd.files.pointer import ABSENT
from specd.reconcile.journal import Change, Journal, NewerJournal
from specd.reconcile.plan import FileEdit, render


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one file edit.

    ``journal_id`` is None when nothing was written. ``problem`` says in words why not, when that is
    a fault; ``conflict`` tells that somebody else kept writing meanwhile; ``permanent`` that trying
    again will not help until the user changes something (a read-only file).
    """

    edit: FileEdit
    journal_id: int | None = None
    attempts: int = 0
    problem: str | None = None
    conflict: bool = False
    permanent: bool = False


def apply(edits: Sequence[FileEdit], journal: Journal, *, by: str) -> tuple[Applied, ...]:
    """Write every edit of a plan, in order; one that fails does not stop the others.

    ``by`` says on whose behalf ("daemon", "specd apply"); it goes into the journal.
    """
    return tuple(_apply_one(edit, journal, by) for edit in edits)


def _apply_one(edit: FileEdit, journal: Journal, by: str) -> Applied:
    journal.settle_own()
    entry: list[int] = []

    def transform(content: bytes | None) -> bytes | None:
        # Most often the file still is what was planned on; editing it again would cost as much as
        # the journal's fsync.
        after = edit.after if content == edit.before else render(content, edit.edits)
        return None if after == content else after

    def record(_real: Path, before: bytes | None, after: bytes) -> None:
        if entry:
            journal.settle(entry.pop(), written=False)
        # By the name the planner knows, so that what is restored is held, links or not.
        number = journal.intend(
            edit.path,
            before,
            after,
            edit.changes,
            surface=edit.surface,
            by=by,
            within=edit.within,
        )
        entry.append(number)

    try:
        written = swap.update(edit.path, transform, before_write=record, within=edit.within)
    except swap.SwapError as error:
        if entry and journal.settle_by_looking(entry[0]) == "written":
            # What failed came after the exchange: the values stand, and can be taken back.
            return Applied(edit, journal_id=entry[0])
        return Applied(
            edit,
            problem=str(error),
            conflict=isinstance(error, swap.Unsettled),
            permanent=isinstance(error, swap.ReadOnly | swap.NotKept | swap.Outside),
        )
    except NewerJournal as error:
        return Applied(edit, problem=str(error), permanent=True)
    if written is None:
        return Applied(edit)
    journal.settle(entry[0], written=True)
    return Applied(edit, journal_id=entry[0], attempts=written.attempts)


def describe(change: Change) -> str:
    """``key: old → new`` as a person reads it."""
    return f"{change.key}: {show(change.told_old)} → {show(change.new)}"


def show(value: object) -> str:
    """A JSON value, short; what is not there is "(unset)"."""
    return "(unset)" if value is ABSENT else json.dumps(value, ensure_ascii=False)
