"""Which values in LM Studio's files are owned by specd, and what stood there before.

specd owns a value (file, key) from its first write on. What stood there before that write is kept,
however often others change the value and specd writes it again, until it has been given back, or
until specd no longer desires the value and finds it changed by others. Everything that undoes
starts from here: ``specd restore``, a withdrawn pair, a length left to LM Studio again, another
draft, ``specd uninstall``. A value that specd did not write is not listed, so never removed.

Objects, lists and files that specd created to hold its values are *shells*. They go away with the
last value in them, unless they hold something of others.

A value that the user restored is *held*: specd does not write it until specd.toml or ``specd
apply`` asks for it again.

Pure: ``Journal`` reads and writes the lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from specd.files import jsonedit
from specd.files.pointer import ABSENT, Absent, Edit, Json, Match, Pointer
from specd.reconcile.entry import EMPTY, Change, Entry, Owned, Standing, ValueKey

ROOT = ""
"""The key of a file that specd created, as a shell."""

Deed: TypeAlias = Literal["set", "put back", "given back"]
"""A write sets a value, puts specd's last one back, or gives back what stood there before specd."""


class Ownership:
    """The owned and held values, as far as the journal was read."""

    def __init__(self) -> None:
        self._files: dict[Path, Mapping[str, Owned]] = {}
        self.held: frozenset[ValueKey] = frozenset()

    def of(self, path: Path) -> Mapping[str, Owned]:
        """The owned values in a file, by key; the mapping does not change afterwards."""
        return self._files.get(path, {})

    def paths(self) -> tuple[Path, ...]:
        """The files with an owned value."""
        return tuple(self._files)

    def first_writes(self) -> frozenset[int]:
        """The numbers of all owned values' first writes, which hold what stood there before."""
        return frozenset(each.since for known in self._files.values() for each in known.values())

    def is_undone(self, entry: Entry) -> bool:
        """Whether specd owns none of the values that this write set any more."""
        known = self.of(entry.path)
        return not any(
            change.key in known and known[change.key].since <= entry.id for change in entry.changes
        )

    def standing(self, freed: AbstractSet[ValueKey] = frozenset()) -> Standing:
        """All owned and held values, without the owned ones in ``freed``."""
        owned = (each for known in self._files.values() for each in known.values())
        return Standing(
            tuple(each for each in owned if (each.path, each.key) not in freed), self.held
        )

    # -- lines of the journal ---------------------------------------------------------------------

    def stand(self, standing: Standing) -> None:
        """Replace everything by ``standing``."""
        files: dict[Path, dict[str, Owned]] = {}
        for each in standing.owned:
            files.setdefault(each.path, {})[each.key] = each
        self._files = dict(files)
        self.held = standing.held

    def put_back_by(self, entry: Entry) -> str | None:
        """The key of the first value that a write sets once more; not yet taken in."""
        known = {key: each for key, each in self.of(entry.path).items() if each.since < entry.id}
        changes = map(_plain, entry.changes)
        return next((c.key for c in changes if deed(known.get(c.key), c) == "put back"), None)

    def wrote(self, entry: Entry) -> None:
        """Take in a write that took place."""
        known = dict(self.of(entry.path))
        changes = [_plain(change) for change in entry.changes]
        for at in shells_of(changes) if entry.before_sha is None else entry.made:
            known.setdefault(key_of(at), _owned(entry, key_of(at), at, ABSENT, {}))
        for change in changes:
            first = known.get(change.key)
            if first is None:
                now = _owned(entry, change.key, change.at, change.old, change.new)
            else:
                now = replace(first, value=change.new)
            _keep(known, now)
        if entry.removed:
            known = {key: each for key, each in known.items() if each.is_whole_file}
        self._set(entry.path, known)

    def took_back(self, entry: Entry) -> None:
        """Take in that an earlier specd gave back what a write had replaced."""
        known = dict(self.of(entry.path))
        for change in map(_plain, entry.changes):
            owned = known.get(change.key)
            if owned is not None and jsonedit.same(owned.value, change.new):
                _keep(known, replace(owned, value=change.old))
        if all(each.is_shell for each in known.values()):
            known = {}
        self._set(entry.path, known)

    def _set(self, path: Path, known: Mapping[str, Owned]) -> None:
        if known:
            self._files[path] = known
        else:
            self._files.pop(path, None)


def _owned(
    entry: Entry, key: str, at: Pointer, before: Json | Absent, value: Json | Absent
) -> Owned:
    return Owned(entry.path, key, at, value, before, entry.id, entry.within, entry.folders)


def _keep(known: dict[str, Owned], now: Owned) -> None:
    if jsonedit.same(now.before, now.value):
        known.pop(now.key, None)
    else:
        known[now.key] = now


def _plain(change: Change) -> Change:
    """The change of the value alone, where an earlier specd recorded its whole element."""
    if not change.at or not isinstance(change.at[-1], Match):
        return change
    old = change.old.get("value", ABSENT) if isinstance(change.old, dict) else change.old
    return replace(change, at=(*change.at, "value"), old=old)


def key_of(at: Pointer) -> str:
    """The key of an object or a list."""
    return ".".join(step if isinstance(step, str) else step.value for step in at)


def shells_of(changes: Iterable[Change], document: Json | Absent = ABSENT) -> tuple[Pointer, ...]:
    """The objects and lists that the changes create in ``document``, the outermost first.

    With no document, also the root. A list's element does not count: it goes with its value.
    """
    found: dict[Pointer, None] = {}
    for change in changes:
        for depth in range(len(change.at)):
            at = change.at[:depth]
            named = not at or isinstance(at[-1], str)
            there = document is not ABSENT and jsonedit.value_at(document, at) is not ABSENT
            if named and not there and change.new is not ABSENT:
                found[at] = None
    return tuple(sorted(found, key=len))


def before_standing(
    owned: Mapping[str, Owned], document: Json | Absent
) -> dict[str, Json | Absent]:
    """What stood before specd in the place of each owned value that ``document`` still holds."""
    return {
        key: each.before
        for key, each in owned.items()
        if document is not ABSENT
        and jsonedit.same(jsonedit.value_at(document, each.at), each.value)
    }


def deed(owned: Owned | None, change: Change) -> Deed:
    """What a write does to a value; ``owned``: its ownership before, if any."""
    if owned is not None and jsonedit.same(owned.before, change.new):
        return "given back"
    return "put back" if owned is not None and jsonedit.same(owned.value, change.new) else "set"


@dataclass(frozen=True, slots=True)
class GivenBack:
    """How values of a file are given back.

    ``changes`` put back what stood there before, and remove shells; ``document`` is the file's
    content afterwards, ABSENT where the file goes away. ``freed`` are the keys of all values that
    specd no longer owns afterwards, also where others have changed them and nothing is written.
    """

    changes: tuple[Change, ...]
    document: Json | Absent
    freed: frozenset[str]


def give_back(
    owned: Mapping[str, Owned],
    document: Json,
    keys: AbstractSet[str],
    why: str,
    *,
    others: bool = False,
) -> GivenBack:
    """Give back the values of one file named by ``keys``.

    ``others``: specd keeps other values in the file, so its shells stay.

    Raises:
        jsonedit.NotUnderstood: something other than an object stands on the way to a value.
    """
    values = [each for key, each in owned.items() if key in keys and not each.is_shell]
    mine = [
        each for each in values if jsonedit.same(jsonedit.value_at(document, each.at), each.value)
    ]
    changes = [Change(each.key, each.at, each.value, each.before, why) for each in mine]
    after = jsonedit.after(document, [Edit(change.at, change.new) for change in changes])
    last = not others and all(each.is_shell or each in values for each in owned.values())
    freed = {each.key for each in values}
    shells = sorted((each for each in owned.values() if each.is_shell), key=lambda e: -len(e.at))
    left, taken = after, list[Change]()
    for shell in shells:
        value = jsonedit.value_at(left, shell.at)
        mine_in_it = any(each.at[: len(shell.at)] == shell.at for each in mine if shell.at)
        if (last or mine_in_it) and value in EMPTY and shell.at:
            taken.append(Change(shell.key, shell.at, value, ABSENT, why))
            left = jsonedit.after(left, [Edit(shell.at, ABSENT)])
    gone = last and ROOT in owned and left == {}
    if gone or ROOT not in owned:
        changes, after = [*changes, *taken], left
        freed.update(change.key for change in taken)
    # Else others have put something into a file that specd created: its shells stay.
    freed.update(shell.key for shell in shells if last)
    return GivenBack(tuple(changes), ABSENT if gone else after, frozenset(freed))
