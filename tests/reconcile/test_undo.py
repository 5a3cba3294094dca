"""Undo against a model: whatever LM Studio, the user and the disk do, in whatever order.

The real reconciler, journal and files, in a temporary directory. The model knows of each value what
stood there before specd's first write and what specd wrote last, from the files alone; and of each
file what it would hold without specd.
"""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from specd import config
from specd.lmstudio import keys, model_defaults
from specd.lmstudio.home import lm_studio
from specd.reconcile import users
from specd.reconcile.desired import DesiredPair
from specd.reconcile.journal import Journal
from specd.reconcile.reconciler import DesiredState, Reconciler
from specd.reconcile.restore import CannotRestore, restore

from .pairs import OTHER, SMALL, model

ABSENT: Any = object()
Document = dict[str, Any]
Value = tuple[str, str]
"""The name of a file and the key of a value in it."""

MAINS = {"there": model("There-8B-4bit"), "made": model("Made-8B-4bit")}
SWITCH = "configPresetInclusiveness.speculativeDecoding"
VISUALIZE = ".".join(keys.VISUALIZE)
LEVEL = keys.UI_LEVEL[0]
SETTINGS = (SWITCH, VISUALIZE, LEVEL, "speculativeDecoding")
FIELDS = {
    keys.DRAFT_MODEL: "operation",
    keys.DRAFT_TOKENS_EXACT: "operation",
    keys.PARALLEL_SESSIONS: "load",
}
VALUES: dict[str, tuple[str, ...]] = {"settings": SETTINGS} | dict.fromkeys(MAINS, tuple(FIELDS))


def get(document: Document | None, key: str) -> Any:
    """A value of a document, by the key people know it by."""
    if document is None:
        return ABSENT
    if key in FIELDS:
        fields = document.get(FIELDS[key], {}).get("fields", [])
        return next((each["value"] for each in fields if each["key"] == key), ABSENT)
    *parents, last = key.split(".")
    for parent in parents:
        document = document.get(parent, {})
    return document.get(last, ABSENT)


def put(document: Document, key: str, value: Any) -> None:
    """Set a value, or take it out if ABSENT."""
    if key in FIELDS:
        fields = document.get(FIELDS[key], {}).get("fields", [])
        fields[:] = [each for each in fields if each["key"] != key]
        if value is not ABSENT:
            section = document.setdefault(FIELDS[key], {}).setdefault("fields", [])
            section.append({"key": key, "value": value})
        return
    *parents, last = key.split(".")
    for parent in parents:
        if value is ABSENT and parent not in document:
            return
        document = document.setdefault(parent, {})
    document.pop(last, None)
    if value is not ABSENT:
        document[last] = value


def plain(document: Document | None) -> Document | None:
    """The document with lists of fields as objects: their order is nobody's business."""
    if document is None:
        return None
    made = copy.deepcopy(document)
    for section in ("operation", "load"):
        if "fields" in made.get(section, {}):
            made[section]["fields"] = {e["key"]: e["value"] for e in made[section]["fields"]}
    return made


def shapeless(document: Document | None) -> Document | None:
    """As ``plain``, without what LM Studio writes into a file in which nothing is set."""
    made = plain(document)
    for section in ("operation", "load") if made is not None else ():
        held = made.get(section, {})
        if held.get("fields") == {}:
            del held["fields"]
        if not held:
            made.pop(section, None)
    return made and {key: value for key, value in made.items() if (key, value) != ("preset", "")}


def foreign(document: Document | None, names: tuple[str, ...]) -> Document:
    """What is not specd's in a document, without empty objects, lists and strings."""
    made = copy.deepcopy(document or {})
    for key in names:
        put(made, key, ABSENT)
    return {key: value for key, value in _filled(made).items() if value}


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v for k, v in ((k, _filled(v)) for k, v in value.items()) if v not in ({}, [])}
    return value


@contextmanager
def full_after(writes: int) -> Iterator[None]:
    """A disk that takes this many more writes, of the journal's and of the files'."""
    left, write = [writes], os.write

    def limited(descriptor: int, content: Any) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content)

    os.write = limited
    try:
        yield
    finally:
        os.write = write


class Undo(RuleBasedStateMachine):
    """One home, one specd, and everybody else."""

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")
        self.root = Path(tempfile.mkdtemp(dir=memory if memory.is_dir() else None))
        self.home = self.root / "home"
        self.own: dict[Value, tuple[Any, Any]] = {}  # what stood there before, what specd wrote
        self.held: set[Value] = set()
        self.deleted: set[str] = set()
        self.clean: dict[str, Document | None] = {}
        self.speculation = config.Speculation()
        self.pairs: dict[str, tuple[Any, int | None] | None] = {}

    def teardown(self) -> None:
        self.journal.close()
        shutil.rmtree(self.root)

    # -- the world ------------------------------------------------------------------------------

    @initialize(
        level=st.sampled_from([ABSENT, 1, 5]),
        switch=st.sampled_from([ABSENT, False, True]),
        draft=st.sampled_from([ABSENT, "the/users"]),
    )
    def begin(self, level: Any, switch: Any, draft: Any) -> None:
        self.clean = {"settings": {"theirs": {"a": 1}}, "there": {"preset": "p"}, "made": None}
        put(self.clean["settings"], LEVEL, level)  # type: ignore[arg-type]
        put(self.clean["settings"], SWITCH, switch)  # type: ignore[arg-type]
        put(self.clean["there"], keys.DRAFT_MODEL, draft)  # type: ignore[arg-type]
        self.home.mkdir()
        for name, document in self.clean.items():
            self.save(name, document)
        self.start()

    def path(self, name: str) -> Path:
        if name == "settings":
            return self.home / "settings.json"
        return model_defaults.config_path(self.home, MAINS[name])

    def read(self, name: str) -> Document | None:
        with suppress(FileNotFoundError):
            return json.loads(self.path(name).read_bytes())  # type: ignore[no-any-return]
        return None

    def save(self, name: str, document: Document | None, indent: int | None = 2) -> None:
        """As LM Studio saves: the whole file anew."""
        if document is None:
            self.path(name).unlink(missing_ok=True)
        else:
            self.path(name).parent.mkdir(parents=True, exist_ok=True)
            self.path(name).write_text(json.dumps(document, indent=indent))

    @property
    def is_away(self) -> bool:
        return not self.home.exists()

    def edit(self, name: str, change: Callable[[Document], object]) -> None:
        """Somebody else changes a file: what it holds, and what it would hold without specd."""
        now = self.read(name) or {}
        change(now)
        self.save(name, now)
        clean = self.clean[name] or {}
        change(clean)
        self.clean[name] = clean

    # -- LM Studio and the user -----------------------------------------------------------------

    @precondition(lambda self: not self.is_away)
    @rule(name=st.sampled_from([*VALUES]), where=st.integers(0, 2), value=st.integers(0, 3))
    def change_something_foreign(self, name: str, where: int, value: int) -> None:
        def change(document: Document) -> None:
            parent = ("theirs", "chat", "operation")[where]
            document.setdefault(parent, {})[f"foreign{where}"] = value + 0.5

        self.edit(name, change)

    @precondition(lambda self: not self.is_away)
    @rule(
        value=st.sampled_from([(name, key) for name in VALUES for key in VALUES[name]]),
        new=st.sampled_from([ABSENT, 1, 2, 3, 4, 5, True, False, "the/users", SMALL.identifier]),
    )
    def change_a_value(self, value: Value, new: Any) -> None:
        name, key = value
        now = self.read(name)
        if now is None or get(now, key) == new:
            return
        put(now, key, new)
        self.save(name, now)
        if value not in self.own:
            self.back_to(value, new)

    @precondition(lambda self: not self.is_away)
    @rule(name=st.sampled_from([*VALUES]), parent=st.sampled_from(["chat", "operation", "load"]))
    def delete_an_object(self, name: str, parent: str) -> None:
        if self.read(name) is not None:
            self.edit(name, lambda document: document.pop(parent, None))
            self.save(name, self.read(name) or {"theirs": {"b": 2}})
            self.edit(name, lambda document: document.setdefault("theirs", {"b": 2}))

    @precondition(lambda self: not self.is_away)
    @rule(name=st.sampled_from([*VALUES]))
    def delete_a_file(self, name: str) -> None:
        self.save(name, None)
        self.clean[name] = None
        self.deleted.add(name)

    @precondition(lambda self: not self.is_away)
    @rule(name=st.sampled_from([*VALUES]), indent=st.sampled_from([None, 1, 4]))
    def save_in_another_style(self, name: str, indent: int | None) -> None:
        self.save(name, self.read(name), indent)

    @rule()
    def move_the_home_away_or_back(self) -> None:
        one, other = self.home, self.root / "away"
        one.rename(other) if one.exists() else other.rename(one)

    # -- specd ----------------------------------------------------------------------------------

    @rule()
    def start(self) -> None:
        """Start specd, once it has ended."""
        if hasattr(self, "journal"):
            self.journal.hand_over()
            self.journal.close()
        self.journal = Journal(self.root / "state" / "journal")
        self.journal.recover()
        self.reconciler = Reconciler(self.journal, by="test")

    @rule(
        enabled=st.booleans(),
        visualize=st.booleans(),
        level=st.sampled_from(["keep", 3]),
        key=st.sampled_from([SWITCH, "speculativeDecoding", ""]),
        drafts=st.fixed_dictionaries(
            dict.fromkeys(
                MAINS,
                st.none()
                | st.tuples(st.sampled_from([None, SMALL, OTHER]), st.sampled_from([None, 2, 5])),
            )
        ),
    )
    def configure(
        self, enabled: bool, visualize: bool, level: Any, key: str, drafts: dict[str, Any]
    ) -> None:
        self.speculation = config.Speculation(
            enabled=enabled, visualize=visualize, ui_level=level, settings_key=key
        )
        self.pairs = drafts
        self.journal.hand_over(released=True)
        self.held.clear()

    def want(self) -> DesiredState | None:
        if self.is_away:
            return None
        pairs = tuple(
            DesiredPair(
                config.Pair(main=MAINS[name].key),
                "wanted" if pair[0] else "withdrawn",
                "a test",
                MAINS[name],
                pair[0],
                pair[1],
                users=users.drafting(MAINS[name], [lm_studio(self.home)], self.journal),
            )
            for name, pair in self.pairs.items()
            if pair is not None
        )
        return DesiredState(self.home, self.speculation, pairs)

    def wished(self, now: dict[str, Document | None]) -> dict[Value, Any]:
        """What every value should be, of those that specd wants."""
        made: dict[Value, Any] = {}
        spec, level = self.speculation, get(now["settings"], LEVEL)
        if now["settings"] is not None:
            made["settings", VISUALIZE] = spec.visualize
            if spec.settings_key and spec.enabled:
                made["settings", spec.settings_key] = True
            high = level is not ABSENT and type(level) is int and level >= 3
            if spec.ui_level != "keep" and not high:
                made["settings", LEVEL] = spec.ui_level
            elif level is not ABSENT:
                made["settings", LEVEL] = level
        for name, pair in self.pairs.items():
            if pair is not None and pair[0] is not None:
                made[name, keys.DRAFT_MODEL] = pair[0].identifier
                made[name, keys.PARALLEL_SESSIONS] = 1
                if pair[1] is not None:
                    made[name, keys.DRAFT_TOKENS_EXACT] = pair[1]
        return made

    @rule(writes=st.none() | st.integers(0, 12))
    def run(self, writes: int | None) -> None:
        """A pass, on a disk that takes as many more writes."""
        self.reconciler.set_desired(self.want())
        before = self.everything()
        wished = self.wished(before)
        with full_after(10_000 if writes is None else writes):
            self.reconciler.run(None, force=True)
        after = self.everything()
        if writes is not None:
            self.learn(before, after)
            return
        if not self.is_away:
            for value in self.all_values():
                name, key = value
                was = get(before[name], key)
                mine = value in self.own and same(was, self.own[value][1])
                expected = was
                if value in wished and value not in self.held:
                    expected = wished[value]
                elif mine and before[name] is not None:
                    expected = self.own[value][0]
                assert same(get(after[name], key), expected), (value, was, expected)
        self.learn(before, after)
        again = self.reconciler.run(None, force=True).applied
        assert again == (), "twice is once"
        assert self.everything() == after

    def learn(self, before: dict[str, Document | None], after: dict[str, Document | None]) -> None:
        """Take up what specd has written, as the files show it.

        A value that somebody else has changed may become theirs now or later: the journal tells.
        """
        for value in self.all_values():
            name, key = value
            was, now = get(before[name], key), get(after[name], key)
            owned = key in self.journal.owned(self.path(name))
            if not same(was, now):
                first = self.own[value][0] if value in self.own else was
                self.own[value] = (first, now)
                if same(first, now):
                    self.is_theirs(value, now)
                else:
                    assert owned, value
            elif value in self.own and not owned:
                assert not same(now, self.own[value][1]) or before[name] is None, value
                self.is_theirs(value, now)
            elif value in self.own and same(now, self.own[value][1]) and before[name] is not None:
                assert owned, value

    def is_theirs(self, value: Value, now: Any) -> None:
        del self.own[value]
        self.back_to(value, now)

    def back_to(self, value: Value, now: Any) -> None:
        """Without specd the file would hold this."""
        name, key = value
        clean = self.clean[name]
        if clean is not None or now is not ABSENT:
            self.clean[name] = clean or {}
            put(self.clean[name], key, now)  # type: ignore[arg-type]

    @rule(writes=st.none() | st.integers(0, 12))
    def restore_all(self, writes: int | None) -> None:
        before = self.everything()
        with full_after(10_000 if writes is None else writes):
            outcome = restore(self.journal, None)
        after = self.everything()
        self.held |= set(self.all_values())
        if self.is_away:
            assert bool(outcome.problems) >= bool(self.own)
            return
        if writes is not None:
            self.learn(before, after)
            return
        assert outcome.problems == ()
        for value, (first, wrote) in list(self.own.items()):
            name, key = value
            was = get(before[name], key)
            mine = same(was, wrote) and before[name] is not None
            self.is_theirs(value, first if mine else was)
        for name, document in after.items():
            # A file that specd made and others put something into keeps LM Studio's shape.
            like = shapeless if name in {"made", *self.deleted} - {"settings"} else plain
            assert like(document) == like(self.clean[name]), (name, self.journal.entries()[-3:])
        assert restore(self.journal, None).restored == (), "twice is once"
        assert self.everything() == after
        kept = {self.path(name) for name in VALUES if after[name] is not None}
        assert {path for path in self.home.rglob("*") if path.is_file()} == kept

    @rule(data=st.data())
    def restore_one(self, data: st.DataObject) -> None:
        entries = self.journal.entries()
        if not entries:
            return
        entry = data.draw(st.sampled_from(entries))
        before = self.everything()
        if self.is_away:
            with pytest.raises(Exception, match=r"is not there|undone already"):
                restore(self.journal, entry.id)
            self.hold(entry)
            return
        try:
            restore(self.journal, entry.id)
        except CannotRestore:
            assert entry.state == "restored"
            return
        self.hold(entry)
        for value in [(n, c.key) for n in VALUES for c in entry.changes]:
            if value in self.own and self.path(value[0]) == entry.path:
                first, wrote = self.own[value]
                was = get(before[value[0]], value[1])
                mine = same(was, wrote) and before[value[0]] is not None
                self.is_theirs(value, first if mine else was)
                assert same(get(self.read(value[0]), value[1]), first if mine else was)

    def hold(self, entry: Any) -> None:
        if entry.state == "written":
            for value in self.own:
                if self.path(value[0]) == entry.path and value[1] in {c.key for c in entry.changes}:
                    self.held.add(value)

    # -- what holds at any time -----------------------------------------------------------------

    def everything(self) -> dict[str, Document | None]:
        return {name: self.read(name) for name in VALUES}

    def all_values(self) -> list[Value]:
        return [(name, key) for name in VALUES for key in VALUES[name]]

    @invariant()
    def nothing_of_anybodys_is_lost(self) -> None:
        if not self.is_away:
            for name, names in VALUES.items():
                assert foreign(self.read(name), names) == foreign(self.clean.get(name), names)


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def test_whatever_happens_everything_can_be_undone() -> None:
    run_state_machine_as_test(Undo, settings=settings(max_examples=25, stateful_step_count=25))


@pytest.mark.nightly
def test_whatever_happens_in_thousands_of_sequences_everything_can_be_undone() -> None:
    run_state_machine_as_test(Undo, settings=settings(max_examples=4_000, stateful_step_count=40))
