"""Undoing writes: the old bytes where nobody wrote since, specd's values alone where somebody did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specd.config import Speculation
from specd.files import jsonedit, swap
from specd.files.pointer import ABSENT, Edit
from specd.reconcile.apply import apply
from specd.reconcile.held import HeldKeys
from specd.reconcile.journal import Change, Journal
from specd.reconcile.plan import FileEdit
from specd.reconcile.reconciler import Reconciler, Want
from specd.reconcile.restore import CannotRestore, restore, restore_all

SETTINGS = b'{\n    "switch" : false,\n    "theirs": 1.0, "token": "hf_x"\n}'
SWITCH = ("switch",)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal")


@pytest.fixture
def held(journal: Journal, tmp_path: Path) -> HeldKeys:
    return HeldKeys(tmp_path / "state" / "holds.json", journal)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.json"
    path.write_bytes(SETTINGS)
    return path


def switch(path: Path, journal: Journal, *, on: bool = True) -> int:
    """Have specd write ``switch`` and return the write's number."""
    content = path.read_bytes()
    old = jsonedit.value_at(jsonedit.parse(content), SWITCH)
    edits = (Edit(SWITCH, on),)
    change = Change("switch", SWITCH, old, on, "wanted")
    after = jsonedit.edit(content, edits)
    (done,) = apply(
        [FileEdit(path, "settings", content, after, edits, (change,))], journal, by="test"
    )
    assert done.journal_id is not None
    return done.journal_id


def test_untouched_since_the_old_bytes_come_back(settings, journal, held):
    restored = restore(journal, switch(settings, journal), held)
    assert settings.read_bytes() == SETTINGS
    assert restored.keys == ("switch",)
    assert journal.entries()[0].state == "restored"
    assert held.read() == {(str(settings), "switch")}


def test_written_by_others_since_only_specds_values_go_back(settings, journal, held):
    number = switch(settings, journal)
    theirs = settings.read_bytes().replace(b"1.0", b"2.50")
    settings.write_bytes(theirs)
    restore(journal, number, held)
    assert settings.read_bytes() == SETTINGS.replace(b"1.0", b"2.50")


def test_a_value_that_others_changed_since_stays_theirs(settings, journal, held):
    number = switch(settings, journal)
    settings.write_bytes(b'{"switch": "theirs now"}')
    assert restore(journal, number, held).keys == ()
    assert settings.read_bytes() == b'{"switch": "theirs now"}'


def test_a_value_that_was_not_there_goes_away_again(tmp_path, journal, held):
    path = tmp_path / "settings.json"
    path.write_bytes(b'{"a": 1}')
    number = switch(path, journal)
    assert json.loads(path.read_bytes()) == {"a": 1, "switch": True}
    restore(journal, number, held)
    assert path.read_bytes() == b'{"a": 1}'


def test_without_the_copy_the_values_go_back_one_by_one(settings, journal, held, tmp_path):
    number = switch(settings, journal)
    file = tmp_path / "state" / "journal" / "entries.jsonl"
    kept = [line for line in file.read_bytes().splitlines(keepends=True) if b'"data"' not in line]
    file.write_bytes(b"".join(kept))
    restore(Journal(file.parent), number, held)
    assert settings.read_bytes() == SETTINGS


def test_a_file_that_is_gone_is_not_made_again(settings, journal, held):
    number = switch(settings, journal)
    settings.unlink()
    assert restore(journal, number, held).how == "the file is gone"
    assert not settings.exists()


def make(path: Path, journal: Journal) -> int:
    """Have specd make a file that was not there."""
    edits = (Edit(SWITCH, True),)
    change = Change("switch", SWITCH, ABSENT, True, "wanted")
    made = FileEdit(path, "defaults", None, jsonedit.fresh(edits), edits, (change,))
    (done,) = apply([made], journal, by="test")
    assert done.journal_id is not None
    return done.journal_id


def test_a_file_that_specd_made_is_taken_away_again(tmp_path, journal, held):
    path = tmp_path / "made.json"
    assert restore(journal, make(path, journal), held).keys == ("switch",)
    assert not path.exists()


def test_a_file_that_specd_made_stays_with_what_others_put_into_it(tmp_path, journal, held):
    path = tmp_path / "made.json"
    number = make(path, journal)
    path.write_bytes(jsonedit.edit(path.read_bytes(), [Edit(("theirs",), 1)]))
    restore(journal, number, held)
    assert json.loads(path.read_bytes()) == {"theirs": 1}


def test_what_is_restored_behind_a_link_is_left_alone_too(tmp_path, journal, held):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "dotfile.json").write_text(json.dumps({"chat": {}}))
    (home / "settings.json").symlink_to(tmp_path / "dotfile.json")
    reconciler = Reconciler(journal, by="test")
    reconciler.want(Want(home, Speculation(), ()))
    reconciler.run(None)
    restore_all(journal, held)
    reconciler.want(Want(home, Speculation(), (), held.read()))
    assert not reconciler.run(None).applied
    assert json.loads((tmp_path / "dotfile.json").read_text()) == {"chat": {}}


def test_what_is_not_understood_is_not_written_over(settings, journal, held):
    number = switch(settings, journal)
    settings.write_bytes(b'{"half')
    with pytest.raises(swap.Unsettled):
        restore(journal, number, held)
    assert settings.read_bytes() == b'{"half'
    assert journal.entries()[0].state == "written"
    assert held.read() == frozenset()


def test_a_number_that_is_none_and_one_that_was_undone_are_told_apart(settings, journal, held):
    number = switch(settings, journal)
    with pytest.raises(CannotRestore, match="no write number 99"):
        restore(journal, 99, held)
    restore(journal, number, held)
    with pytest.raises(CannotRestore, match="undone already"):
        restore(journal, number, held)


def test_all_undone_the_files_are_what_they_were_before_specd(settings, journal, held, tmp_path):
    other = tmp_path / "other.json"
    other.write_bytes(b'{"switch": null}')
    for on in (True, False, True):
        switch(settings, journal, on=on)
    switch(other, journal)
    assert len(restore_all(journal, held)) == 4
    assert settings.read_bytes() == SETTINGS
    assert other.read_bytes() == b'{"switch": null}'
    assert restore_all(journal, held) == ()


def test_all_undone_between_writes_of_others_keeps_theirs(settings, journal, held):
    for count in range(5):
        switch(settings, journal)
        theirs = json.loads(settings.read_bytes()) | {"switch": False, "counter": count}
        settings.write_text(json.dumps(theirs))
    switch(settings, journal)
    restore_all(journal, held)
    left = json.loads(settings.read_bytes())
    assert (left["switch"], left["counter"]) == (False, 4)


def test_absent_is_told_apart_from_null():
    assert Change("a", ("a",), ABSENT, None, "") != Change("a", ("a",), None, None, "")
