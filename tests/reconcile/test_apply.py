"""Applying a plan: each file through the journal and the compare-and-swap write."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from specd.files import swap
from specd.files.pointer import Edit
from specd.lmstudio.surface import DesiredValue, Target
from specd.reconcile import apply as applying
from specd.reconcile.apply import apply
from specd.reconcile.journal import Change, Journal
from specd.reconcile.observe import read_file
from specd.reconcile.plan import FileEdit, changes_between, plan

SETTINGS = b'{\n  "chat": {"visualizeSpeculativeDecoding": false},\n  "theirs": 1.0\n}\n'


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.json"
    path.write_bytes(SETTINGS)
    return path


def edit_of(path: Path, *, on: bool = True) -> FileEdit:
    """The edit of a plan that wants ``on`` in settings.json, planned on what it holds now."""
    at = ("chat", "visualizeSpeculativeDecoding")
    wish = DesiredValue(".".join(at), Edit(at, on), "wanted")
    target = Target("settings", path, lambda *_: (wish,), "")
    (edit,) = plan([target], {path: read_file(path)}).edits
    return edit


def test_it_writes_what_was_planned_and_notes_it(settings: Path, journal: Journal):
    edit = edit_of(settings)
    (done,) = apply([edit], journal, by="test")
    assert settings.read_bytes() == SETTINGS.replace(b"false", b"true")
    assert done.problem is None
    (entry,) = journal.entries()
    assert (entry.id, entry.by, entry.changes) == (done.journal_id, "test", edit.changes)
    assert journal.before(entry.id) == SETTINGS


def test_what_was_written_since_the_plan_is_kept(settings: Path, journal: Journal):
    edit = edit_of(settings)
    settings.write_bytes(SETTINGS.replace(b"1.0", b"2e0"))
    (done,) = apply([edit], journal, by="test")
    assert (done.conflict, done.problem, done.journal_id) == (True, None, None)
    assert settings.read_bytes() == SETTINGS.replace(b"1.0", b"2e0")
    apply([edit_of(settings)], journal, by="test")
    assert settings.read_bytes() == SETTINGS.replace(b"1.0", b"2e0").replace(b"false", b"true")


def test_what_came_true_by_itself_is_not_written(settings: Path, journal: Journal):
    edit = edit_of(settings)
    settings.write_bytes(edit.after)
    inode = settings.stat().st_ino
    (done,) = apply([edit], journal, by="test")
    assert (done.journal_id, done.problem, settings.stat().st_ino) == (None, None, inode)
    assert journal.entries() == ()


def test_one_file_that_fails_does_not_stop_the_others(
    settings: Path, journal: Journal, tmp_path: Path
):
    broken = tmp_path / "broken.json"
    broken.write_bytes(SETTINGS)
    planned = edit_of(broken)
    broken.write_bytes(b'{"half')
    first, second = apply([planned, edit_of(settings)], journal, by="test")
    assert first.conflict
    assert second.journal_id is not None
    assert broken.read_bytes() == b'{"half'


def test_a_read_only_file_is_a_problem_that_lasts(settings: Path, journal: Journal):
    edit = edit_of(settings)
    settings.chmod(0o444)
    (done,) = apply([edit], journal, by="test")
    assert done.permanent
    assert "chmod u+w" in (done.problem or "")
    assert settings.read_bytes() == SETTINGS


def test_what_cannot_be_noted_is_not_written(settings: Path, tmp_path: Path):
    journal = Journal(tmp_path / "journal")
    edit = edit_of(settings)
    (tmp_path / "journal" / "entries.jsonl").unlink()
    (tmp_path / "journal" / "entries.jsonl").mkdir()
    (done,) = apply([edit], journal, by="test")
    assert done.journal_id is None
    assert done.problem
    assert settings.read_bytes() == SETTINGS


def test_a_journal_of_a_newer_specd_stops_writing(settings: Path, journal: Journal, tmp_path: Path):
    edit = edit_of(settings)
    with (tmp_path / "journal" / "entries.jsonl").open("ab") as file:
        file.write(b'{"v": 99}\n')
    (done,) = apply([edit], journal, by="test")
    assert "newer specd" in (done.problem or "")
    assert settings.read_bytes() == SETTINGS


def test_what_stands_in_spite_of_an_error_is_in_the_journal(
    settings: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    # The exchange came off and the look at what came out did not: no descriptor was left.
    def exchange(one: Path, other: Path) -> None:
        exchanged(one, other)
        monkeypatch.setattr(os, "open", refuse)

    def refuse(*_: object, **__: object) -> int:
        monkeypatch.setattr(os, "open", opened)
        raise OSError(24, "Too many open files")

    exchanged, opened = swap.exchange, os.open
    monkeypatch.setattr(swap, "exchange", exchange)
    (done,) = apply([edit_of(settings)], journal, by="test")
    monkeypatch.undo()
    holds = json.loads(settings.read_bytes())["chat"]["visualizeSpeculativeDecoding"]
    listed = [entry.id for entry in journal.entries()]
    assert listed == ([done.journal_id] if holds else [])
    swap.recover(settings.parent)
    assert {path.name for path in settings.parent.iterdir()} == {"settings.json", "journal"}


def test_an_outcome_that_could_not_be_told_is_told_with_the_next_write(
    settings: Path, journal: Journal, tmp_path: Path
):
    other = tmp_path / "other.json"
    other.write_bytes(SETTINGS)
    edit = edit_of(other)
    number = journal.intend(
        other, SETTINGS, edit.after, edit.changes, surface="settings", by="test"
    )
    other.write_bytes(edit.after)
    apply([edit_of(settings)], journal, by="test")
    assert [entry.id for entry in journal.entries()] == [number, number + 1]


def test_changes_are_told_as_people_read_them():
    change = Change("a.b", ("a", "b"), "x", None, "wanted")
    assert applying.describe(change) == 'a.b: "x" → null'


def test_only_what_differs_is_a_change(settings: Path):
    assert changes_between(read_file(settings), ()) == ()
