"""Undo what specd wrote, and remember to leave it undone.

Each owned value goes back to what stood there before specd's first write of it; a value that others
have changed since stays theirs. Objects, lists and files that specd created go away with the last
value in them. The restored values are *held*: the planner leaves them alone until specd.toml or
``specd apply`` asks for them again. Where all are restored, those are held too that specd has not
written yet. A value that cannot be restored now stays owned, and can be restored later.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from specd.files import jsonedit, swap
from specd.files.pointer import Edit
from specd.lmstudio.surface import Content, DesiredValue, Target
from specd.reconcile import aside
from specd.reconcile.apply import Write
from specd.reconcile.entry import EVERYTHING, Owned, sha
from specd.reconcile.journal import Journal
from specd.reconcile.observe import is_away, read_file
from specd.reconcile.plan import FileEdit, plan

WHY = "restored"


class CannotRestore(Exception):
    """No write with that number can be undone; the message says why."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The values restored in one file, and how; ``id`` is the first write that this undoes."""

    id: int
    path: Path
    keys: tuple[str, ...]
    how: str

    def __str__(self) -> str:
        return f"{self.id}: {', '.join(self.keys) or 'nothing'} in {self.path} ({self.how})"


@dataclass(frozen=True, slots=True)
class Undone:
    """The values restored, and for the others why not, with the remedy."""

    restored: tuple[Restored, ...] = ()
    problems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the socket API."""
        restored = [
            {**asdict(each), "path": str(each.path), "message": str(each)} for each in self.restored
        ]
        return {"restored": restored, "problems": self.problems}


def restore(journal: Journal, number: int | None) -> Undone:
    """Undo the values that write ``number`` set, or all owned ones when None.

    Raises:
        CannotRestore: there is no write ``number``, or it was undone already.
        swap.SwapError: the file of write ``number`` cannot be written.
    """
    keys = _all(journal) if number is None else _of(journal, number)
    # Held first: if specd is interrupted after the write, it must not see the user's wish as drift.
    held = {(path, key) for path in keys for key in keys[path]}
    if number is None:
        held = {EVERYTHING}
    unsaved = journal.hand_over(held=held)
    restored: list[Restored] = []
    problems: list[str] = []
    for path, taken_back in keys.items():
        try:
            restored.append(_restore(journal, path, taken_back, number))
        except swap.SwapError as problem:
            if number is not None:
                raise
            problems.append(str(problem))
    unsaved = journal.hand_over() or unsaved
    if unsaved is not None and held:
        problems.append(
            f"{unsaved.filename} cannot be written ({unsaved.strerror}), so a restarted specd would"
            " write these values again; free some space or allow writing, then restore once more"
        )
    return Undone(tuple(restored), tuple(dict.fromkeys(problems)))  # a home away, once


def _all(journal: Journal) -> dict[Path, frozenset[str]]:
    return {
        path: frozenset(key for key, each in journal.owned(path).items() if not each.is_shell)
        for path in journal.owned_files()
    }


def _of(journal: Journal, number: int) -> dict[Path, frozenset[str]]:
    entry = journal.get(number)
    if entry is None or entry.state in ("intended", "abandoned"):
        raise CannotRestore(f"there is no write number {number}; `specd restore --list` lists them")
    if entry.state == "restored":
        raise CannotRestore(f"write number {number} was undone already")
    owned = journal.owned(entry.path)
    return {entry.path: frozenset(c.key for c in entry.changes if c.key in owned)}


def _restore(journal: Journal, path: Path, keys: AbstractSet[str], number: int | None) -> Restored:
    owned = journal.owned(path)
    first = number or min(each.since for each in owned.values())
    within = next(iter(owned.values())).within
    home = within or path.parent
    if is_away(home):
        raise swap.SwapError(
            path,
            f"{home} is not there or empty, so nothing in it can be restored; connect its disk or "
            "move it back, then restore once more: what stood there before is kept",
        )
    whole = [key for key, each in owned.items() if each.is_whole_file and key in keys]
    if whole:
        return _moved_back(journal, owned[whole[0]])

    def kept(current: Content, _: object) -> tuple[DesiredValue, ...]:
        values = (each for key, each in owned.items() if key not in keys and not each.is_shell)
        stand = ((each, jsonedit.value_at(current, each.at)) for each in values)  # type: ignore[arg-type]
        return tuple(DesiredValue(e.key, Edit(e.at, v), WHY) for e, v in stand)

    target = Target(WHY, path, kept, WHY, within)
    went_back: tuple[str, ...] = ()
    how = ""
    for _ in range(swap.ATTEMPTS):
        seen = read_file(path)
        made = plan([target], {path: seen}, journal.owned)
        for blocked in made.blocked:
            raise swap.Unsettled(path, blocked.why)
        if not made.edits:
            is_gone = seen.content is None
            journal.hand_over(freed={(path, key) for key in owned} if is_gone else made.freed)
            left = "the file is gone" if is_gone else "others have changed it since"
            return Restored(first, path, went_back, how or left)
        edit = made.edits[0]
        spelled = _bytes_before(journal, edit)
        if Write(replace(edit, after=spelled or edit.after), journal, by=None).do():
            values = (c.key for c in edit.changes if not owned[c.key].is_shell)
            went_back = (*went_back, *values)
            changed = owned if edit.after is None else {c.key for c in edit.changes}
            journal.hand_over(freed={(path, key) for key in changed})
            how = "the file is as it was" if spelled else "these values alone"
            if edit.after is None:
                return Restored(first, path, went_back, "the file that specd created is removed")
    raise swap.Unsettled(path, f"{path} is being written all the time; restore once more")


def _moved_back(journal: Journal, whole: Owned) -> Restored:
    """Restore a file that was moved aside, unless there is a new one."""
    done = swap.update(
        whole.path,
        lambda content: journal.before(whole.since) if content is None else None,
        before_write=lambda *_: None,
    )
    aside.forget(whole.path, journal)
    journal.hand_over(freed={(whole.path, whole.key)})
    keys, how = ((whole.key,), "it is back") if done else ((), "others have changed it since")
    return Restored(whole.since, whole.path, keys, how)


def _bytes_before(journal: Journal, edit: FileEdit) -> bytes | None:
    """The file's former bytes, if they mean the same as the edit's and only specd wrote since."""
    stands = sha(edit.before or b"")
    for entry in reversed(journal.entries()):
        if entry.path != edit.path:
            continue
        if edit.after is None or entry.after_sha != stands or entry.before_sha is None:
            return None
        try:
            before = journal.before(entry.id)
        except FileNotFoundError:
            return None
        if before is not None and jsonedit.same(jsonedit.parse(before), jsonedit.parse(edit.after)):
            return before
        stands = entry.before_sha
    return None
