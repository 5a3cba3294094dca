"""The smallest set of edits between what is and what is wanted (pure).

A plan is a list of file edits, each a list of changes to single values. Content is worked out again
from the file's bytes at the moment of writing, so a plan that is a moment old can never write
yesterday's bytes over today's.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from specd.files import jsonedit
from specd.files.pointer import ABSENT, Absent, Edit, Json
from specd.lmstudio.surface import OwnedValues, Problem, Target, Wish
from specd.reconcile.journal import Change
from specd.reconcile.observe import FileSeen

HeldKey = tuple[str, str]
"""A value the user has restored by hand: (path of the file, the value's display name)."""


@dataclass(frozen=True, slots=True)
class FileEdit:
    """What to change in one file; ``before`` is None when the file is to be created.

    ``within`` is a directory that no link may lead out of, None where the user's own link counts.
    """

    path: Path
    surface: str
    before: bytes | None
    after: bytes
    edits: tuple[Edit, ...]
    changes: tuple[Change, ...]
    within: Path | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """A file that cannot be edited as it stands, and why, in words."""

    path: Path
    surface: str
    why: str
    unsettled: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, what cannot be written, and what is left alone since the user restored it."""

    edits: tuple[FileEdit, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    held: tuple[tuple[Path, Change], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.edits)


def plan(
    targets: Iterable[Target],
    seen: Mapping[Path, FileSeen],
    held: AbstractSet[HeldKey] = frozenset(),
    owned: Callable[[Path], OwnedValues] = lambda _: {},
) -> Plan:
    """Compare what every target should hold with what was seen there.

    ``owned`` returns the values in a file that specd wrote.
    """
    edits: list[FileEdit] = []
    blocked: list[Blocked] = []
    kept: list[tuple[Path, Change]] = []
    for target in targets:
        file = seen[target.path]
        made = _changes(target, file, owned(target.path))
        if isinstance(made, Blocked):
            blocked.append(made)
            continue
        kept.extend((file.path, each) for each in made if (str(file.path), each.key) in held)
        changes = tuple(each for each in made if (str(file.path), each.key) not in held)
        if not changes:
            continue
        try:
            edits.append(_edit_file(file, target, changes))
        except jsonedit.NotUnderstood as error:
            why = f"{file.path}: {error}"
            blocked.append(Blocked(file.path, target.surface, why, unsettled=False))
    return Plan(tuple(edits), tuple(blocked), tuple(kept))


def _changes(target: Target, file: FileSeen, owned: OwnedValues) -> tuple[Change, ...] | Blocked:
    if file.problem is not None:
        return Blocked(file.path, target.surface, file.problem, file.unsettled)
    wishes = target.wishes(file.document, owned)
    if isinstance(wishes, Problem):
        return Blocked(file.path, target.surface, str(wishes), unsettled=False)
    return changes_between(file, wishes)


def changes_between(file: FileSeen, wishes: Iterable[Wish]) -> tuple[Change, ...]:
    """The wishes that ``file`` does not fulfil, each with what stands there now."""
    changes: list[Change] = []
    for wish in wishes:
        at, new = wish.edit.at, wish.edit.value
        old = ABSENT if file.document is ABSENT else jsonedit.value_at(file.document, at)
        if not jsonedit.same(old, new):
            changes.append(Change(key=wish.key, at=at, old=old, new=new, why=wish.why))
    return tuple(changes)


def _edit_file(file: FileSeen, target: Target, changes: tuple[Change, ...]) -> FileEdit:
    edits = tuple(Edit(change.at, change.new) for change in changes)
    after = render(file.content, edits, file.document)
    return FileEdit(file.path, target.surface, file.content, after, edits, changes, target.within)


def render(content: bytes | None, edits: Sequence[Edit], parsed: Json | Absent = ABSENT) -> bytes:
    """The file's bytes after ``edits``; a file that is not there (or is empty) starts afresh.

    ``parsed`` is the document in ``content``, if that is known.

    Raises:
        jsonedit.NotUnderstood: the content is not JSON, or a value stands where a container must.
    """
    if content is None:
        return jsonedit.fresh([edit for edit in edits if edit.value is not ABSENT])
    return jsonedit.edit(content, edits, parsed)


def unified_diff(edit: FileEdit) -> str:
    """The edit as a unified diff of the file's text, as ``diff -u`` prints it."""
    before = (edit.before or b"").decode("utf-8", "replace")
    after = edit.after.decode("utf-8", "replace")
    label = str(edit.path)
    lines = list(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            "/dev/null" if edit.before is None else label,
            label,
        )
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
