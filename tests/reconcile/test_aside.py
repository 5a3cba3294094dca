from __future__ import annotations

import os
from pathlib import Path

import pytest

from specd.reconcile import aside
from specd.reconcile.aside import CannotMove, move_aside
from specd.reconcile.journal import Journal
from specd.reconcile.restore import restore

CONTENT = b'{"a": ["b"]}'


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def move(path: Path, journal: Journal) -> aside.Moved:
    return move_aside(path, journal, surface="draft-cache", why="asked for", by="test")


def test_the_file_is_beside_itself_and_in_the_journal(tmp_path: Path, journal: Journal) -> None:
    path = tmp_path / "cache.json"
    path.write_bytes(CONTENT)
    moved = move(path, journal)
    assert not path.exists()
    assert moved.to.read_bytes() == CONTENT
    assert journal.before(moved.journal_id) == CONTENT
    (entry,) = journal.entries()
    assert (entry.state, entry.removed) == ("written", True)


def test_it_is_put_back_byte_for_byte(tmp_path: Path, journal: Journal) -> None:
    path = tmp_path / "cache.json"
    path.write_bytes(CONTENT)
    moved = move(path, journal)
    (undone,) = restore(journal, moved.journal_id).restored
    assert path.read_bytes() == CONTENT
    assert undone.how == "it is back"
    assert not moved.to.exists()


def test_it_is_put_back_from_the_journal_whatever_became_of_what_was_moved(
    tmp_path: Path, journal: Journal
) -> None:
    path = tmp_path / "cache.json"
    path.write_bytes(CONTENT)
    moved = move(path, journal)
    moved.to.write_bytes(b"somebody else's")
    restore(journal, moved.journal_id)
    assert path.read_bytes() == CONTENT
    assert moved.to.read_bytes() == b"somebody else's"


def test_nothing_of_it_stays_where_others_have_made_it_anew(
    tmp_path: Path, journal: Journal
) -> None:
    path = tmp_path / "cache.json"
    for content in (CONTENT, b'{"a": 2}'):
        path.write_bytes(content)
        move(path, journal)
    path.write_bytes(b'{"a": 3}')
    restore(journal, None)
    assert path.read_bytes() == b'{"a": 3}'
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["cache.json"]


def test_what_was_written_between_look_and_rename_is_what_the_journal_keeps(
    tmp_path: Path, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cache.json"
    path.write_bytes(CONTENT)
    intend = journal.intend

    def slow(*args: object, **how: object) -> int:
        number = intend(*args, **how)  # type: ignore[arg-type]
        if path.exists():
            path.write_bytes(b'{"newer": []}')
        return number

    monkeypatch.setattr(journal, "intend", slow)
    moved = move(path, journal)
    assert journal.before(moved.journal_id) == b'{"newer": []}'
    assert [entry.id for entry in journal.entries()] == [moved.journal_id]


def test_a_crash_between_rename_and_its_note_is_settled_by_looking(
    tmp_path: Path, journal: Journal
) -> None:
    path = tmp_path / "cache.json"
    path.write_bytes(CONTENT)
    number = journal.intend(path, CONTENT, b"", (), surface="draft-cache", by="test")
    path.rename(tmp_path / "cache.json.moved-aside")
    (settled,) = Journal(tmp_path / "journal").recover()
    assert (settled.id, settled.state) == (number, "written")


def test_what_is_not_there_cannot_be_moved(tmp_path: Path, journal: Journal) -> None:
    with pytest.raises(CannotMove, match="is not there"):
        move(tmp_path / "cache.json", journal)
    assert journal.entries() == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may rename anything")
def test_a_directory_that_may_not_be_written_is_said(tmp_path: Path, journal: Journal) -> None:
    (tmp_path / "locked").mkdir()
    path = tmp_path / "locked" / "cache.json"
    path.write_bytes(CONTENT)
    path.parent.chmod(0o500)
    with pytest.raises(CannotMove, match="cannot be moved"):
        move(path, journal)
    assert path.read_bytes() == CONTENT
    assert journal.entries() == ()
