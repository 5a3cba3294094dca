"""Undo what specd wrote, and remember to leave it undone.

Each value goes back to what stood there before specd's first write of it, where it is still
specd's; what others have changed since stays theirs. Objects, lists and files that specd created
go away with the last of its values. What is taken back is *held*: the planner leaves those values
alone until the user asks for them again. What cannot be put back now stays specd's, and can be put
back later.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specd.files import jsonedit, swap
from specd.files.pointer import ABSENT, Absent, Edit, Json
from specd.reconcile import aside
from specd.reconcile.apply import take_away
from specd.reconcile.entry import Owned, sha
from specd.reconcile.journal import Journal
from specd.reconcile.observe import read_file
from specd.reconcile.ownership import ROOT, give_back

WHY = "restored"


class CannotRestore(Exception):
    """Nothing can be undone by that number; the message says why."""


class HomeAway(swap.SwapError):
    """LM Studio's home, or its disk, is not there."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What went back in one file, and how; ``id`` is the first write that is undone by it."""

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What went back, and why the rest did not, with the remedy."""

    restored: tuple[Restored, ...] = ()
    problems: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For the socket API."""
        return {
            "restored": [each.as_json() for each in self.restored],
            "problems": list(self.problems),
        }


def restore(journal: Journal, number: int | None) -> Outcome:
    """Undo the values that write ``number`` set, or all of specd's when None.

    Raises:
        CannotRestore: there is no write ``number``, or it was undone already.
        swap.SwapError: the file of write ``number`` cannot be written.
    """
    keys = _all(journal) if number is None else _of(journal, number)
    # Held first: interrupted between the two, specd must not take for drift what the user wanted.
    unsaved = journal.hand_over(held={(path, key) for path in keys for key in keys[path]})
    restored: list[Restored] = []
    problems: list[str] = []
    for path, taken_back in keys.items():
        try:
            restored.append(_File(journal, path, taken_back, number).put_back())
        except swap.SwapError as problem:
            if number is not None:
                raise
            problems.append(str(problem))
    unsaved = journal.hand_over() or unsaved
    if unsaved is not None and keys:
        problems.append(
            f"{unsaved.filename} cannot be written ({unsaved.strerror}), so a restarted specd would"
            " write these values again; free some space or allow writing, then restore once more"
        )
    return Outcome(tuple(restored), tuple(problems))


def _all(journal: Journal) -> dict[Path, frozenset[str]]:
    return {path: frozenset(journal.owned(path)) for path in journal.owned_files()}


def _of(journal: Journal, number: int) -> dict[Path, frozenset[str]]:
    entry = journal.get(number)
    if entry is None or entry.state in ("intended", "abandoned"):
        raise CannotRestore(f"there is no write number {number}; `specd restore --list` lists them")
    if entry.state == "restored":
        raise CannotRestore(f"write number {number} was undone already")
    owned = journal.owned(entry.path)
    return {entry.path: frozenset(c.key for c in entry.changes if c.key in owned)}


class _File:
    """The values of one file that are to be put back."""

    def __init__(
        self, journal: Journal, path: Path, keys: AbstractSet[str], number: int | None
    ) -> None:
        self._journal = journal
        self._path = path
        self._owned: Mapping[str, Owned] = journal.owned(path)
        self._keys = keys
        self._within = next(iter(self._owned.values())).within
        self._id = number or min(each.since for each in self._owned.values())
        self._went_back: tuple[str, ...] = ()
        self._freed: frozenset[str] = frozenset()
        self._how = ""

    def put_back(self) -> Restored:
        """Write the file.

        Raises:
            swap.SwapError: the file cannot be written, or its home is not there.
        """
        home = self._within or self._path.parent
        if _is_away(home):
            raise HomeAway(
                self._path,
                f"{home} is not there or empty, so nothing in it can be put back; connect its disk "
                "or move it back, then restore once more: what stood there before is kept",
            )
        for _ in range(swap.ATTEMPTS):
            content = read_file(self._path).content
            if self._goes_away(content):
                if take_away(self._path, content or b"", self._owned[ROOT]):
                    self._how = "the file specd had made is taken away"
                    break
                continue
            done = swap.update(
                self._path, self._after, before_write=lambda *_: None, within=self._within
            )
            if done is not None and done.before is None:
                aside.forget(done.path, done.after)
            if not self._goes_away(read_file(self._path).content):
                break
        self._journal.hand_over(freed={(self._path, key) for key in self._freed})
        return Restored(self._id, self._path, self._went_back, self._how)

    def _goes_away(self, content: bytes | None) -> bool:
        """Whether nothing but what specd created stands in the file."""
        if content is None or ROOT not in self._owned:
            return False
        try:
            return self._given_back(jsonedit.parse(content)) is ABSENT
        except jsonedit.NotUnderstood:
            return False

    def _given_back(self, document: Json) -> Json | Absent:
        given = give_back(self._owned, document, self._keys, WHY)
        self._freed = given.freed
        self._went_back = tuple(c.key for c in given.changes if not self._owned[c.key].is_shell)
        self._edits = [Edit(change.at, change.new) for change in given.changes]
        return given.document

    def _after(self, content: bytes | None) -> bytes | None:
        whole = next((e for e in self._owned.values() if e.is_whole_file), None)
        if whole is not None and whole.key in self._keys:
            return self._moved_back(whole, content)
        if content is None:
            self._freed, self._how = frozenset(self._keys), "the file is gone"
            return None
        document = self._given_back(jsonedit.parse(content))
        if isinstance(document, Absent):
            return None
        before = self._bytes_before(content, document)
        if before is not None:
            self._how = "the file is as it was"
            return before
        self._how = "these values alone" if self._edits else "others have changed it since"
        after = jsonedit.edit(content, self._edits)
        return None if after == content else after

    def _moved_back(self, whole: Owned, content: bytes | None) -> bytes | None:
        """A file that was moved aside comes back, unless there is a new one."""
        self._freed = frozenset({whole.key})
        if content is not None:
            self._how = "others have changed it since"
            return None
        before = self._journal.before(whole.since)
        self._went_back, self._how = (whole.key,), "put back"
        return before

    def _bytes_before(self, content: bytes, document: Json) -> bytes | None:
        """The file as it was spelled, where nobody but specd has written since."""
        stands = sha(content)
        for entry in reversed(self._journal.entries()):
            if entry.path != self._path:
                continue
            if entry.after_sha != stands or entry.before_sha is None:
                return None
            try:
                before = self._journal.before(entry.id)
            except FileNotFoundError:
                return None
            if before is not None and jsonedit.same(jsonedit.parse(before), document):
                return before
            stands = entry.before_sha
        return None


def _is_away(home: Path) -> bool:
    """Whether a directory is missing, or is the empty place where a disk was mounted."""
    try:
        with os.scandir(home) as entries:
            return next(iter(entries), None) is None
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
