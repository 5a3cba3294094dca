"""The smallest set of edits from the observed values to the desired ones (pure).

A plan is a list of file edits, each a list of changes to single values.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from specd.files import jsonedit
from specd.files.pointer import ABSENT, Edit, Json, Match, Pointer
from specd.lmstudio.surface import DesiredValue, Misfit, Target
from specd.reconcile import ownership
from specd.reconcile.entry import EMPTY, Change, Owned, ValueKey, is_held
from specd.reconcile.observe import FileSeen


@dataclass(frozen=True, slots=True)
class FileEdit:
    """What to change in one file.

    ``before`` is None when the file is to be created, ``after`` when it is to be removed. ``made``
    are the objects and lists that the edit creates. No link may lead out of the directory
    ``within``; None where the user's own link counts.
    """

    path: Path
    surface: str
    before: bytes | None
    after: bytes | None
    changes: tuple[Change, ...]
    made: tuple[Pointer, ...] = ()
    within: Path | None = None


@dataclass(frozen=True, slots=True)
class Blocked:
    """A file that cannot be edited now, and a sentence that says why.

    ``ignored``: LM Studio does not use the file. ``unread``: it cannot even be read.
    """

    path: Path
    surface: str
    why: str
    unsettled: bool = False
    ignored: bool = False
    unread: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """The edits, the blocked files, and the differences that stay because the user restored them.

    ``freed`` are owned values that are no longer desired and that others have changed.
    """

    edits: tuple[FileEdit, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    held: tuple[tuple[Path, Change], ...] = ()
    freed: frozenset[ValueKey] = frozenset()


def plan(
    targets: Iterable[Target],
    seen: Mapping[Path, FileSeen],
    owned: Callable[[Path], Mapping[str, Owned]] = lambda _: {},
    held: AbstractSet[ValueKey] = frozenset(),
) -> Plan:
    """Compare every target's desired values with those in its file.

    ``owned`` returns a file's owned values, by key. One that no target desires is given back; one
    that is ``held`` is left alone.
    """
    made = [_compare(target, seen[target.path], owned(target.path), held) for target in targets]
    return Plan(
        tuple(edit for each in made for edit in each.edits),
        tuple(blocked for each in made for blocked in each.blocked),
        tuple(left for each in made for left in each.held),
        frozenset(key for each in made for key in each.freed),
    )


def _compare(
    target: Target, file: FileSeen, owned: Mapping[str, Owned], held: AbstractSet[ValueKey]
) -> Plan:
    """The plan for one file."""

    def blocked(why: str, **how: bool) -> Plan:
        return Plan(blocked=(Blocked(file.path, target.surface, why, **how),))

    if file.problem is not None:
        return blocked(file.problem, unsettled=file.unsettled, unread=file.content is None)
    before = ownership.before_standing(owned, file.document)
    try:
        desired_values = target.desired_values(file.document, before)
    except Misfit as error:
        return blocked(f"{file.path}: {error}")
    if desired_values and target.app and file.marked:
        return blocked(
            f"{file.path} begins with a byte-order mark, and {target.app} ignores such a file; "
            "save it as UTF-8 without one",
            ignored=True,
        )
    differing = changes_between(file, desired_values)
    left = tuple((file.path, each) for each in differing if is_held(held, file.path, each.key))
    changes = tuple(each for each in differing if not is_held(held, file.path, each.key))
    if all(each.new in EMPTY for each in changes):
        changes = ()  # the shape of a file in which no value is desired
    # A value that the user restored while the file could not be written is given back here.
    kept = {each.key for each in desired_values if not is_held(held, file.path, each.key)}
    back = {k for k, o in owned.items() if k not in kept and not o.is_whole_file}
    try:
        after, freed = file.document, frozenset[str]()
        if after is not ABSENT and back:
            after = jsonedit.after(after, _edits(changes))
            given = ownership.give_back(owned, after, back, target.why, others=bool(kept))
            changes, after, freed = (*changes, *given.changes), given.document, given.freed
        gone = file.content is not None and after is ABSENT
        if not changes and not gone:
            return Plan(held=left, freed=frozenset((file.path, key) for key in freed))
        edit = FileEdit(
            file.path,
            target.surface,
            file.content,
            None if gone else render(file, changes),
            changes,
            () if file.content is None else ownership.shells_of(changes, file.document),
            target.within,
        )
    except jsonedit.NotUnderstood as error:
        return blocked(f"{file.path}: {error}")
    return Plan((edit,), held=left)


def _edits(changes: Iterable[Change]) -> list[Edit]:
    return [Edit(change.at, change.new) for change in changes]


def changes_between(file: FileSeen, desired_values: Iterable[DesiredValue]) -> tuple[Change, ...]:
    """The desired values that ``file`` does not hold, each with the value that stands there now."""
    changes: list[Change] = []
    for each in desired_values:
        at, new = each.edit.at, each.edit.value
        old = ABSENT if file.document is ABSENT else jsonedit.value_at(file.document, at)
        if not jsonedit.same(old, new):
            if old is ABSENT and file.document is not ABSENT:
                at = _with_element(file.document, at)
            changes.append(Change(key=each.key, at=at, old=old, new=new, why=each.why))
    return tuple(changes)


def _with_element(document: Json, at: Pointer) -> Pointer:
    """``at``, marked so that an element without a value stays when the value is removed again."""
    element = at[-2] if len(at) > 1 else None
    if not isinstance(element, Match) or jsonedit.value_at(document, at[:-1]) is ABSENT:
        return at
    return (*at[:-2], replace(element, stays=True), at[-1])


def render(file: FileSeen, changes: Iterable[Change]) -> bytes:
    """The file's bytes after ``changes``; a new file's where there is none.

    Raises:
        jsonedit.NotUnderstood: the content is not JSON, or a value stands where a container must.
    """
    edits = _edits(changes)
    if file.content is None:
        return jsonedit.fresh([edit for edit in edits if edit.value is not ABSENT])
    return jsonedit.edit(file.content, edits, file.document)


def unified_diff(edit: FileEdit) -> str:
    """The edit as a unified diff of the file's text, as ``diff -u`` prints it."""
    before = (edit.before or b"").decode("utf-8", "replace")
    after = (edit.after or b"").decode("utf-8", "replace")
    label = str(edit.path)
    lines = list(
        difflib.unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            "/dev/null" if edit.before is None else label,
            "/dev/null" if edit.after is None else label,
        )
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)
