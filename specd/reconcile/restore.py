"""Undo what specd wrote, and remember to leave it undone.

When the file is still exactly what specd wrote, its old bytes come back, and one that was not there
goes away again. When others wrote since,
only specd's values go back, each where it is still specd's. What was restored is *held*: the
planner leaves those values alone until the user asks for them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specd.files import jsonedit, swap
from specd.files.pointer import Edit
from specd.reconcile import aside
from specd.reconcile.held import HeldKeys
from specd.reconcile.journal import Entry, Journal
from specd.reconcile.observe import read_file


class CannotRestore(Exception):
    """There is nothing to undo by that number; the message says why."""


@dataclass(frozen=True, slots=True)
class Restored:
    """One undone write: the values that went back, and how."""

    id: int
    path: Path
    keys: tuple[str, ...]
    how: str

    def __str__(self) -> str:
        return f"{self.id}: {', '.join(self.keys) or 'nothing'} in {self.path} ({self.how})"

    def as_json(self) -> dict[str, Any]:
        """For the socket API."""
        return {
            "id": self.id,
            "path": str(self.path),
            "keys": list(self.keys),
            "how": self.how,
            "message": str(self),
        }


def restore(journal: Journal, number: int, held: HeldKeys) -> Restored:
    """Undo one write.

    Raises:
        CannotRestore: there is no such write, or it was undone already.
        swap.SwapError: the file cannot be written.
    """
    entry = journal.get(number)
    if entry is None or entry.state in ("intended", "abandoned"):
        raise CannotRestore(f"there is no write number {number}; `specd restore --list` lists them")
    if entry.state == "restored":
        raise CannotRestore(f"write number {number} was undone already")
    # Held first: interrupted between the two, specd must not take for drift what the user wanted.
    newly = held.hold(entry.path, [change.key for change in entry.changes])
    try:
        undone = _undo(journal, entry)
    except swap.SwapError:
        held.let_go(newly)
        raise
    journal.restored(number)
    return undone


def restore_all(journal: Journal, held: HeldKeys) -> tuple[Restored, ...]:
    """Undo every write, newest first."""
    numbers = [entry.id for entry in journal.entries() if entry.state == "written"]
    return tuple(restore(journal, number, held) for number in reversed(numbers))


def _undo(journal: Journal, entry: Entry) -> Restored:
    if entry.created and _taken_away(journal, entry):
        keys = tuple(change.key for change in entry.changes)
        return Restored(entry.id, entry.path, keys, "the file specd had made is taken away")
    went_back: list[str] = []
    how: list[str] = []

    def transform(content: bytes | None) -> bytes | None:
        went_back.clear()
        how.clear()
        if content is None:
            if entry.removed:
                went_back.extend(change.key for change in entry.changes)
                how.append("put back")
                return journal.before(entry.id)
            how.append("the file is gone")
            return None
        document = jsonedit.parse(content)
        mine = [
            change
            for change in entry.changes
            if jsonedit.same(jsonedit.value_at(document, change.at), change.new)
        ]
        went_back.extend(change.key for change in mine)
        before = _bytes_before(journal, entry, content)
        if before is not None:
            how.append("the file is as it was")
            return before
        how.append("these values alone" if mine else "others have changed it since")
        after = jsonedit.edit(content, [Edit(change.at, change.old) for change in mine])
        return None if after == content else after

    done = swap.update(entry.path, transform, before_write=lambda *_: None, within=entry.within)
    if entry.removed and done is not None:
        aside.forget(done.path, done.after)
    return Restored(entry.id, entry.path, tuple(went_back), how[0] if how else "unchanged")


def _taken_away(journal: Journal, entry: Entry) -> bool:
    """Remove a file that specd made, while nobody has put anything into it."""
    content = read_file(entry.path).content
    if content is None or not journal.is_what_was_written(entry, content):
        return False
    return swap.remove(entry.path, content, within=entry.within)


def _bytes_before(journal: Journal, entry: Entry, content: bytes) -> bytes | None:
    """What stood there before, where nobody has written since and it is still known."""
    if not journal.is_what_was_written(entry, content) or entry.before_sha is None:
        return None
    try:
        return journal.before(entry.id)
    except FileNotFoundError:
        return None
