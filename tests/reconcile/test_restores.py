"""Restores: which writes put back what another program changed, and how many there were lately."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from specd.files.pointer import ABSENT
from specd.reconcile import journal as journal_
from specd.reconcile.entry import Change, Entry, read
from specd.reconcile.journal import Journal
from specd.reconcile.ownership import Ownership
from specd.reconcile.restores import PutBack, count, put_back

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
FILE = Path("/home/anna/.lmstudio/settings.json")
KEY = "speculativeDecoding"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def write(
    journal: Journal, value: Any, old: Any = False, path: Path = FILE, *, written: bool = True
) -> int:
    change = Change(KEY, (KEY,), old, value, "wanted")
    number = journal.intend(path, b"{}", b"{ }", (change,), surface="settings", by="x")
    journal.settle(number, written=written)
    return number


def undo(journal: Journal, path: Path = FILE) -> None:
    journal.hand_over(freed={(path, key) for key in journal.owned(path)})


def counted(journal: Journal) -> list[int]:
    """The writes that put a value back, as this process and one that reads the journal anew see."""
    known = [each.id for each in put_back(journal.entries())]
    anew = Journal(journal._file.parent)
    assert [each.id for each in put_back(anew.entries())] == known
    return known


def test_the_first_write_restores_nothing_and_the_same_again_does(journal: Journal):
    for old in (False, None, None):
        write(journal, True, old)
    found = put_back(journal.entries())
    assert [(e.id, e.key, e.value) for e in found] == [(2, KEY, True), (3, KEY, True)]
    assert counted(journal) == [2, 3]


def test_another_value_another_file_and_a_write_that_never_was_are_no_restores(journal: Journal):
    for value in (True, "on", True):
        write(journal, value)
    write(journal, True, path=FILE.with_name("x.json"))
    other = FILE.with_name("y.json")
    write(journal, True, path=other, written=False)
    write(journal, True, path=other)
    assert counted(journal) == []


def test_what_was_put_back_stays_counted_although_it_was_undone_later(journal: Journal):
    write(journal, True)
    write(journal, True, None)
    undo(journal)
    assert [each.state for each in journal.entries()] == ["restored"] * 2
    assert counted(journal) == [2]


def test_what_the_user_asks_for_again_after_undoing_it_is_no_restore(journal: Journal):
    for _ in range(3):
        write(journal, True)
        undo(journal)
    assert counted(journal) == []
    write(journal, True)
    write(journal, True, None)
    assert counted(journal) == [5]


def test_what_is_given_back_is_no_restore(journal: Journal):
    write(journal, True)
    write(journal, False, True)
    write(journal, True)
    assert counted(journal) == []


def test_an_absent_value_can_be_put_back_too(journal: Journal):
    write(journal, ABSENT)
    write(journal, ABSENT, None)
    assert counted(journal) == [2]


def test_they_stay_counted_in_a_journal_that_was_pruned(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journal_, "PRUNE_ENTRIES", 5)
    monkeypatch.setattr(journal_, "KEPT_ENTRIES", 4)
    for value in ("a", "b", "b", "b", "b", "b", "b"):
        write(journal, value)
    assert len(journal.entries()) <= 6
    assert counted(journal) == [each.id for each in journal.entries() if each.id > 2]
    assert len(counted(journal)) >= 3


def test_one_that_an_earlier_specd_undid_is_no_restore_when_set_again():
    line = {
        "v": 1,
        "time": NOW.isoformat(),
        "path": str(FILE),
        "surface": "settings",
        "before": "0",
        "after": "1",
        "by": "x",
        "state": "written",
        "changes": [{"key": KEY, "at": [KEY], "old": False, "new": True, "why": "wanted"}],
    }
    known = Ownership()
    first = read(json.dumps({"id": 1, **line}).encode())
    assert isinstance(first, Entry)
    known.wrote(first)
    second = replace(first, id=2)
    assert known.put_back_by(second) == KEY
    known.took_back(first)
    assert known.put_back_by(second) is None


def test_they_are_counted_since_midnight_and_in_seven_days():
    days = [timedelta(days=8), timedelta(days=6), timedelta(hours=13), timedelta(hours=1)]
    found = [PutBack(n, NOW - ago, FILE, "settings", KEY, True) for n, ago in enumerate(days)]
    assert count(found, NOW) == (1, 3)
    assert count((), NOW) == (0, 0)
