"""Killed at every system call of a write, specd leaves every file whole and can take it all back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from os import close as uncounted_close
from os import open as uncounted_open
from os import rename as uncounted_rename
from os import write as uncounted_write
from pathlib import Path
from typing import Any

import pytest

from specd.config import Pair, Speculation, edit
from specd.files import private, swap
from specd.lmstudio.model import Model
from specd.reconcile import journal as journals
from specd.reconcile.aside import SUFFIX, move_aside
from specd.reconcile.desired import DesiredPair
from specd.reconcile.entry import EVERYTHING
from specd.reconcile.journal import Change, Journal
from specd.reconcile.reconciler import DesiredState, Reconciler
from specd.reconcile.restore import restore
from specd.reconcile.stores import Stores
from tests.conftest import Figures
from tests.daemon import SETTINGS, Sandbox
from tests.faults import killing

DEFAULTS = b"""{
  "preset": "",
  "operation": { "fields": [ {"key": "llm.prediction.temperature", "value": 0.70} ] },
  "load": { "fields": [] }
}
"""


def model(name: str) -> Model:
    path = Path("/models/publisher") / name
    return Model(
        name, f"publisher/{name}", "publisher", name, path, "mlx", "llm", "qwen3", 8, "4bit", 9
    )


def pair(main: str) -> DesiredPair:
    asked = Pair(main=main, draft="draft")
    return DesiredPair(asked, "wanted", "asked for", model(main), model("draft"), 4)


class Home:
    """A home with every kind of file specd edits, and what its files hold before and after."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.state = root / "state"
        internal = self.home / ".internal" / "user-concrete-model-default-config" / "publisher"
        self.settings = self.home / "settings.json"
        self.there = internal / "there.json"
        self.created = internal / "created.json"
        self.files = (self.settings, self.there, self.created)
        self.old: dict[Path, bytes | None] = {}
        self.new: dict[Path, bytes | None] = {}

    def lay_out(self) -> Home:
        """Everything as it was before specd."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.there.parent.mkdir(parents=True)
        self.settings.write_text(json.dumps(SETTINGS, indent=2, ensure_ascii=False))
        self.there.write_bytes(DEFAULTS)
        self.old = self.holds()
        return self

    def lay_out_applied(self) -> Home:
        """Everything as specd wants it, with the writes in the journal."""
        self.lay_out()
        self.apply()
        self.new = self.holds()
        return self

    def holds(self) -> dict[Path, bytes | None]:
        return {path: path.read_bytes() if path.exists() else None for path in self.files}

    def apply(self) -> None:
        """One pass over everything, as the daemon and ``specd apply`` make it."""
        journal = Journal(self.state / "journal")
        reconciler = Reconciler(journal, by="test")
        reconciler.set_desired(
            DesiredState(self.home, Speculation(), (pair("there"), pair("created")))
        )
        done = reconciler.run(None, force=True)
        assert not [each.problem for each in done.applied if each.problem]
        journal.close()

    def restore(self) -> None:
        """Take everything back, as ``specd uninstall`` offers to."""
        stores = Stores.open(self.state)
        assert restore(stores.journal, None).problems == ()
        stores.close()

    def restart(self) -> Stores:
        """What the daemon does first after a crash."""
        stores = Stores.open(self.state)
        stores.recover()
        stores.clear(self.files)
        return stores

    def whole(self) -> None:
        """Every file is wholly old or wholly new, and nothing else lies about."""
        for path, content in self.holds().items():
            assert content in (self.old[path], self.new[path]), path
        lying = {path for path in self.home.rglob("*") if not path.is_dir()}
        assert lying <= set(self.files), lying
        state = {path.name for path in self.state.rglob("*") if path.is_file()}
        assert state <= {"entries.jsonl", "holds.json"}, state

    def undone(self) -> None:
        """Taken back, the files are what they were; the one that specd made is gone."""
        assert self.holds() == self.old


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def every_point(
    lay_out: Callable[[], object],
    work: Callable[[], object],
    check: Callable[[], object],
    every: int = 1,
) -> int:
    """Kill ``work`` at every point in turn, with ``check`` after each; how many there were."""
    lay_out()
    ended, points = killing.run(work)
    assert ended == killing.FINISHED
    assert points > 10
    killed = 0
    for at in range(1, points + 1, every):
        lay_out()
        killed += killing.run(work, at)[0] == killing.KILLED
        check()
    # How often a call is repeated while waiting differs a little from run to run.
    assert killed > 0.9 * points / every
    return killed


def test_killed_at_any_point_of_a_pass_over_every_surface(root: Path, figures: Figures):
    home = Home(root / "all").lay_out_applied()

    def check() -> None:
        stores = home.restart()
        home.whole()
        holds = home.holds()
        written = {entry.path for entry in stores.journal.entries()}
        assert written == {path for path in home.files if holds[path] == home.new[path]}
        for entry in stores.journal.entries():
            assert stores.journal.before(entry.id) == home.old[entry.path]
        stores.close()
        home.apply()
        assert home.holds() == home.new
        home.restore()
        home.undone()

    figures(points=every_point(home.lay_out, home.apply, check))


def test_killed_at_any_point_of_taking_everything_back(root: Path, figures: Figures):
    home = Home(root / "all").lay_out_applied()
    applied = root / "applied"
    shutil.copytree(home.root, applied, symlinks=True)

    def lay_out() -> None:
        shutil.rmtree(home.root)
        shutil.copytree(applied, home.root)

    def check() -> None:
        stores = home.restart()
        home.whole()
        held = stores.journal.held()
        undone = {path for path, content in home.holds().items() if content != home.new[path]}
        assert not undone or EVERYTHING in held
        stores.close()
        home.restore()
        home.undone()

    figures(points=every_point(lay_out, home.restore, check, every=2))


@pytest.mark.parametrize("way", ["rename", "in place"])
def test_killed_at_any_point_of_putting_an_update_back_it_is_not_lost(
    root: Path, way: str, figures: Figures
):
    path = root / "home" / "settings.json"

    def lay_out() -> None:
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        path.write_bytes(b"first")

    beside = str(path) + ".tmp"

    def theirs(*_: object) -> None:
        # The system calls of another program are none of those counted.
        if path.read_bytes() == b"first":
            name = beside if way == "rename" else str(path)
            descriptor = uncounted_open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            uncounted_write(descriptor, b"theirs")
            uncounted_close(descriptor)
            if way == "rename":
                uncounted_rename(beside, path)  # noqa: PTH104 - the uncounted one

    def work() -> None:
        swap.update(path, lambda content: content and content.upper(), before_write=theirs)

    def check() -> None:
        swap.recover(path.parent)
        stands = path.read_bytes()
        assert stands in (b"first", b"theirs", b"THEIRS")
        assert set(names(path.parent)) <= {"settings.json", "settings.json.tmp"}
        work()
        assert path.read_bytes() == b"THEIRS"

    figures(points=every_point(lay_out, work, check))


def test_killed_at_any_point_of_pruning_the_journal_keeps_its_newest_writes(
    root: Path, figures: Figures, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journals, "KEPT_ENTRIES", 8)
    journal = Journal(root / "kept")
    changes = (Change("switch", ("switch",), False, True, "wanted"),)
    for count in range(20):
        path = root / "settings.json"
        number = journal.intend(path, b"%d" % count, b"x", changes, surface="settings", by="test")
        journal.settle(number, written=True)
    journal.close()
    monkeypatch.setattr(journals, "PRUNE_ENTRIES", 20)

    def lay_out() -> None:
        shutil.rmtree(root / "journal", ignore_errors=True)
        shutil.copytree(root / "kept", root / "journal")

    def work() -> None:
        grown = Journal(root / "journal")
        for count in (20, 21):
            path = root / "settings.json"
            number = grown.intend(path, b"%d" % count, b"x", changes, surface="settings", by="test")
            grown.settle(number, written=True)

    def check() -> None:
        (root / "settings.json").write_bytes(b"x")
        left = Journal(root / "journal")
        left.recover()
        entries = left.entries()
        newest = [left.before(entry.id) for entry in entries[-6:]]
        last = int(newest[-1] or b"0")
        assert last >= 19
        assert newest == [b"%d" % count for count in range(last - 5, last + 1)]
        assert left.before(entries[0].id) == b"0"
        assert left.owned(root / "settings.json")["switch"].since == entries[0].id
        assert names(root / "journal") == ["entries.jsonl"]
        left.close()

    figures(points=every_point(lay_out, work, check, every=3))


def test_killed_at_any_point_of_setting_a_value_in_specd_toml(root: Path, figures: Figures):
    path = root / "config" / "specd.toml"
    old = b"# mine\n[speculation]\nenabled = true  # as it should be\n"
    new = edit.set_value(old.decode(), "agent.log_level", "debug").encode()

    def lay_out() -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(old)

    def work() -> None:
        swap.update(
            path,
            lambda _: new,
            before_write=lambda *_: None,
        )

    def check() -> None:
        swap.recover(path.parent)
        assert path.read_bytes() in (old, new)
        assert names(path.parent) == ["specd.toml"]

    figures(points=every_point(lay_out, work, check))


def test_killed_at_any_point_of_taking_over_an_older_specds_held_values_none_is_forgotten(
    root: Path, figures: Figures
):
    home = Home(root / "all").lay_out_applied()
    stores = Stores.open(home.state)
    files = stores.journal.owned_files()
    known = {(path, key) for path in files for key in stores.journal.owned(path)}
    assert len(known) > 3
    stores.close()
    home.restore()
    stores = Stores.open(home.state)
    stores.journal.hand_over(released=True)
    stores.close()
    # As an older specd kept them: in a file of their own, and each undone write marked as such.
    journal = home.state / "journal" / "entries.jsonl"
    lines = [
        line for line in journal.read_bytes().splitlines(keepends=True) if b'"held"' not in line
    ]
    numbers = [each["id"] for each in map(json.loads, lines) if "changes" in each]
    marks = [{"v": 1, "id": number, "state": "restored"} for number in numbers]
    journal.write_bytes(b"".join(lines) + "".join(f"{json.dumps(m)}\n" for m in marks).encode())
    listed = json.dumps([[str(path), key] for path, key in known]).encode()
    (home.state / "holds.json").write_bytes(listed)
    restored = root / "restored"
    shutil.copytree(home.root, restored, symlinks=True)

    def lay_out() -> None:
        shutil.rmtree(home.root)
        shutil.copytree(restored, home.root)

    def check() -> None:
        stores = home.restart()
        assert stores.journal.held() >= known
        stores.close()

    figures(points=every_point(lay_out, lambda: Stores.open(home.state).close(), check))


@pytest.mark.parametrize("meanwhile", ["nobody", "in place", "rename"])
def test_killed_at_any_point_of_moving_the_draft_cache_aside_it_is_there_or_aside_with_its_copy(
    root: Path, meanwhile: str, figures: Figures
):
    home, state = root / "home", root / "state"
    path, old, newer = home / "cache.json", b'{"main": ["draft"]}', b'{"main": []}'
    aside, told = path.with_name(path.name + SUFFIX), root / "they have written"

    def lay_out() -> None:
        for directory in (home, state):
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
        told.unlink(missing_ok=True)
        path.write_bytes(old)

    def theirs() -> None:
        beside = home / "theirs"
        name = path if meanwhile == "in place" else beside
        descriptor = uncounted_open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        uncounted_write(descriptor, newer)
        uncounted_close(descriptor)
        if meanwhile == "rename":
            uncounted_rename(beside, path)  # noqa: PTH104 - the uncounted one
        uncounted_close(uncounted_open(told, os.O_WRONLY | os.O_CREAT, 0o600))

    def work() -> None:
        journal = Journal(state / "journal")
        intend, written = journal.intend, meanwhile == "nobody"

        def slow(*args: Any, **how: Any) -> int:
            nonlocal written
            number = intend(*args, **how)
            if not written:
                theirs()
                written = True
            return number

        journal.intend = slow  # type: ignore[method-assign]
        move_aside(path, journal, surface="draft-cache", why="asked for", by="test")

    def check() -> None:
        stores = Stores.open(state)
        stores.recover()
        entries = stores.journal.entries()
        if path.exists():
            content = path.read_bytes()
            assert names(home) == ["cache.json"]
            assert entries == ()
            move_aside(path, stores.journal, surface="draft-cache", why="again", by="test")
            entries = stores.journal.entries()
        else:
            content = aside.read_bytes()
        assert content == (newer if told.exists() else old)
        assert names(home) == [aside.name]
        assert aside.read_bytes() == content
        (entry,) = entries
        assert stores.journal.before(entry.id) == content
        restore(stores.journal, None)
        assert path.read_bytes() == content
        stores.close()

    figures(points=every_point(lay_out, work, check))


def test_killed_at_any_point_of_keeping_a_small_file_of_its_own(root: Path, figures: Figures):
    path = root / "state" / "holds.json"

    def lay_out() -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'["old"]')

    def check() -> None:
        private.sweep(path.parent)
        assert private.read_json(path) in (["old"], ["new"])
        assert names(path.parent) == ["holds.json"]

    figures(points=every_point(lay_out, lambda: private.write(path, b'["new"]'), check))


# -- the real program under strace -------------------------------------------------------------------

EDGES = ("renameat2", "rename", "fsync", "fdatasync", "fchmod", "unlink", "flock", "setxattr")
"""What a write does and an interpreter that starts does not."""

ALSO = ("openat", "close", "write", "read", "pread64", "lseek", "fstat", "fcntl", "getdents64")


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
class TestTheRealProgram:
    """``specd apply`` itself, killed by strace; then a daemon starts and finds everything well."""

    def test_killed_at_system_calls_that_only_writes_make(self, sandbox: Sandbox, figures: Figures):
        figures(points=kill_at_each(sandbox, EDGES[:3], every=4))

    @pytest.mark.nightly
    @pytest.mark.timeout(3600)
    def test_killed_at_every_system_call(self, sandbox: Sandbox, figures: Figures):
        figures(points=kill_at_each(sandbox, (*EDGES, *ALSO), every=1))


def kill_at_each(sandbox: Sandbox, calls: tuple[str, ...], every: int) -> int:
    """Kill ``specd apply`` at every n-th of its own calls of each kind; how many points it were."""
    first = calls_made(sandbox)
    sandbox.save()
    old = sandbox.settings.read_bytes()
    many = calls_made(sandbox)
    new = sandbox.settings.read_bytes()
    assert old != new
    points = 0
    for call in calls:
        made, before = many.get(call, 0), first.get(call, 0)
        # A home in which nothing is to do tells how many are not of the write: they come first.
        start = 1 if call in EDGES else max(1, before - 40)
        for when in range(start, made + 1, every):
            shutil.rmtree(sandbox.state, ignore_errors=True)
            sandbox.settings.write_bytes(old)
            killed = traced(
                sandbox, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"
            )
            points += killed.returncode != 0
            stands = sandbox.settings.read_bytes()
            assert stands in (old, new), (call, when)
            recovered(sandbox, wrote=stands == new)
            assert sandbox.settings.read_bytes() == stands
            sandbox.specd("apply")
            assert sandbox.settings.read_bytes() == new
            assert sandbox.specd("restore", "--all").returncode == 0
            assert sandbox.settings.read_bytes() == old
    return points


def recovered(sandbox: Sandbox, *, wrote: bool) -> None:
    """What a daemon does first; the journal then says just what the file says."""
    stores = Stores.open(sandbox.state)
    stores.recover()
    stores.clear([sandbox.settings])
    assert [entry.path for entry in stores.journal.entries()] == [sandbox.settings] * wrote
    stores.close()
    assert names(sandbox.home) == ["settings.json"]


def calls_made(sandbox: Sandbox) -> dict[str, int]:
    """How often ``specd apply`` makes each system call."""
    counted = traced(sandbox, "-c")
    table = [line.split() for line in counted.stderr.splitlines()]
    return {row[-1]: int(row[3]) for row in table if len(row) >= 5 and row[3].isdecimal()}


def traced(sandbox: Sandbox, *options: str) -> subprocess.CompletedProcess[str]:
    """``specd apply`` under strace."""
    return subprocess.run(
        ["strace", "-f", *options, sys.executable, "-m", "specd", "apply"],
        env=sandbox.environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
