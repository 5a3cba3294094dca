"""Undoing writes: the old bytes where nobody wrote since, specd's values alone where somebody did."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest

from specd.config import Speculation
from specd.files import jsonedit, swap
from specd.files.pointer import ABSENT, Edit, Match
from specd.lmstudio.surface import DesiredValue, Target
from specd.reconcile.apply import Write, apply
from specd.reconcile.journal import Change, Journal
from specd.reconcile.observe import read_file
from specd.reconcile.plan import FileEdit, plan
from specd.reconcile.reconciler import DesiredState, Reconciler
from specd.reconcile.restore import CannotRestore, Restored, restore

SETTINGS = b'{\n    "switch" : false,\n    "theirs": 1.0, "token": "hf_x"\n}'
SWITCH = ("switch",)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal")


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "settings.json"
    path.write_bytes(SETTINGS)
    return path


def switch(path: Path, journal: Journal, *, on: bool = True, wanted: bool = True) -> int:
    """Have specd write ``switch``, or no longer want it; returns the write's number."""
    desired_values = (DesiredValue("switch", Edit(SWITCH, on), "wanted"),) if wanted else ()
    target = Target("test", path, lambda *_: desired_values, "no longer wanted")
    made = plan([target], {path: read_file(path)}, journal.owned)
    (done,) = apply(made.edits, journal, by="test")
    assert done.journal_id is not None
    return done.journal_id


def undo(journal: Journal, number: int | None = None) -> Restored:
    outcome = restore(journal, number)
    assert outcome.problems == ()
    (restored,) = outcome.restored
    return restored


def test_where_the_system_hands_out_files_in_parts_the_old_bytes_come_back(
    settings, journal, monkeypatch
):
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read(file, min(size, 9), at))
    restored = undo(journal, switch(settings, journal))
    assert settings.read_bytes() == SETTINGS
    assert restored.how == "the file is as it was"


def test_untouched_since_the_old_bytes_come_back(settings, journal):
    restored = undo(journal, switch(settings, journal))
    assert settings.read_bytes() == SETTINGS
    assert restored.keys == ("switch",)
    assert journal.entries()[0].state == "restored"
    assert journal.held() == {(settings, "switch")}


def test_written_by_others_since_only_specds_values_go_back(settings, journal):
    number = switch(settings, journal)
    theirs = settings.read_bytes().replace(b"1.0", b"2.50")
    settings.write_bytes(theirs)
    undo(journal, number)
    assert settings.read_bytes() == SETTINGS.replace(b"1.0", b"2.50")


def test_a_value_that_others_changed_since_stays_theirs(settings, journal):
    number = switch(settings, journal)
    settings.write_bytes(b'{"switch": "theirs now"}')
    assert undo(journal, number).keys == ()
    assert settings.read_bytes() == b'{"switch": "theirs now"}'


def test_a_value_that_was_not_there_goes_away_again(tmp_path, journal):
    path = tmp_path / "settings.json"
    path.write_bytes(b'{"a": 1}')
    number = switch(path, journal)
    assert json.loads(path.read_bytes()) == {"a": 1, "switch": True}
    undo(journal, number)
    assert path.read_bytes() == b'{"a": 1}'


@pytest.mark.parametrize(
    "before", [b'{"fields": [{"key": "draft"}]}', b'{"fields": [ { "key":"draft" }, {"key": "x"}]}']
)
def test_an_element_that_was_there_without_a_value_stays_without_it(settings, journal, before):
    settings.write_bytes(before)
    at = ("fields", Match("key", "draft"), "value")
    desired = DesiredValue("draft", Edit(at, "mine"), "wanted")
    target = Target("test", settings, lambda *_: (desired,), "no longer wanted")
    apply(plan([target], {settings: read_file(settings)}).edits, journal, by="test")
    assert b"mine" in settings.read_bytes()
    settings.write_bytes(settings.read_bytes() + b"\n")  # so that the old bytes do not count
    with contextlib.closing(Journal(settings.parent / "state" / "journal")) as again:
        undo(again)
    assert settings.read_bytes() == before + b"\n"


def test_without_the_copy_the_values_go_back_one_by_one(settings, journal, tmp_path):
    number = switch(settings, journal)
    file = tmp_path / "state" / "journal" / "entries.jsonl"
    kept = [line for line in file.read_bytes().splitlines(keepends=True) if b'"data"' not in line]
    file.write_bytes(b"".join(kept))
    undo(Journal(file.parent), number)
    assert settings.read_bytes() == SETTINGS


def test_a_file_that_is_gone_is_not_made_again(settings, journal):
    number = switch(settings, journal)
    settings.unlink()
    assert undo(journal, number).how == "the file is gone"
    assert not settings.exists()


def test_a_file_that_disappears_while_it_is_restored_is_no_longer_owned(
    settings, journal, monkeypatch
):
    number = switch(settings, journal)
    write = Write.do

    def do(each: Write) -> bool:
        settings.unlink()
        return write(each)

    monkeypatch.setattr(Write, "do", do)
    assert undo(journal, number).how == "the file is gone"
    assert journal.owned_files() == ()


def test_a_file_that_specd_made_is_taken_away_again(tmp_path, journal):
    path = tmp_path / "made.json"
    assert undo(journal, switch(path, journal)).keys == ("switch",)
    assert not path.exists()


def test_a_file_that_specd_made_stays_with_what_others_put_into_it(tmp_path, journal):
    path = tmp_path / "made.json"
    number = switch(path, journal)
    path.write_bytes(jsonedit.edit(path.read_bytes(), [Edit(("theirs",), 1)]))
    undo(journal, number)
    assert json.loads(path.read_bytes()) == {"theirs": 1}


def test_what_is_restored_behind_a_link_is_left_alone_too(tmp_path, journal):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "dotfile.json").write_text(json.dumps({"chat": {}}))
    (home / "settings.json").symlink_to(tmp_path / "dotfile.json")
    reconciler = Reconciler(journal, by="test")
    reconciler.set_desired(DesiredState(home, Speculation(), ()))
    reconciler.run(None)
    assert restore(journal, None).restored
    assert not reconciler.run(None).applied
    assert json.loads((tmp_path / "dotfile.json").read_text()) == {"chat": {}}


def test_what_is_not_understood_is_not_written_over(settings, journal):
    number = switch(settings, journal)
    settings.write_bytes(b'{"half')
    with pytest.raises(swap.Unsettled):
        restore(journal, number)
    assert settings.read_bytes() == b'{"half'
    assert journal.entries()[0].state == "written"
    assert journal.held() == {(settings, "switch")}


def test_a_number_that_is_none_and_one_that_was_undone_are_told_apart(settings, journal):
    number = switch(settings, journal)
    with pytest.raises(CannotRestore, match="no write number 99"):
        restore(journal, 99)
    undo(journal, number)
    with pytest.raises(CannotRestore, match="undone already"):
        restore(journal, number)


def test_all_undone_the_files_are_what_they_were_before_specd(settings, journal, tmp_path):
    other = tmp_path / "other.json"
    other.write_bytes(b'{"switch": null}')
    for on in (True, False, True):
        switch(settings, journal, on=on)
    switch(other, journal)
    assert len(restore(journal, None).restored) == 2
    assert settings.read_bytes() == SETTINGS
    assert other.read_bytes() == b'{"switch": null}'
    assert restore(journal, None).restored == ()


def test_all_undone_between_writes_of_others_keeps_theirs(settings, journal):
    for count in range(5):
        switch(settings, journal)
        theirs = json.loads(settings.read_bytes()) | {"switch": "theirs", "counter": count}
        settings.write_text(json.dumps(theirs))
    switch(settings, journal)
    undo(journal)
    left = json.loads(settings.read_bytes())
    assert (left["switch"], left["counter"]) == (False, 4)


def test_what_is_no_longer_wanted_is_given_back_and_is_nobodys_business_then(settings, journal):
    switch(settings, journal)
    switch(settings, journal, on=False, wanted=False)
    assert settings.read_bytes() == SETTINGS
    assert journal.owned_files() == ()
    assert {entry.state for entry in journal.entries()} == {"restored"}


def test_a_file_that_specd_made_goes_away_when_nothing_in_it_is_wanted(tmp_path, journal):
    path = tmp_path / "publisher" / "made.json"
    switch(path, journal)
    switch(path, journal, wanted=False)
    assert not path.parent.exists()
    assert journal.owned_files() == ()


def test_what_others_changed_is_theirs_once_it_is_no_longer_wanted(settings, journal):
    switch(settings, journal)
    settings.write_bytes(b'{"switch": "theirs"}')
    target = Target("test", settings, lambda *_: (), "no longer wanted")
    made = plan([target], {settings: read_file(settings)}, journal.owned)
    assert (made.edits, made.freed) == ((), {(settings, "switch")})


def test_a_write_of_somebody_else_between_plan_and_write_is_what_stood_there(settings, journal):
    desired_values = (DesiredValue("switch", Edit(SWITCH, True), "wanted"),)
    target = Target("test", settings, lambda *_: desired_values, "")

    def planned() -> tuple[FileEdit, ...]:
        return plan([target], {settings: read_file(settings)}, journal.owned).edits

    edits = planned()
    settings.write_bytes(b'{"switch": "theirs"}')
    apply(edits, journal, by="test")
    assert journal.owned(settings) == {}
    apply(planned(), journal, by="test")
    assert journal.owned(settings)["switch"].before == "theirs"


def test_absent_is_told_apart_from_null():
    assert Change("a", ("a",), ABSENT, None, "") != Change("a", ("a",), None, None, "")
