"""Restores: which writes put back what another program changed, and how many there were lately."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from specd.files.pointer import ABSENT
from specd.reconcile.entry import Change, Entry
from specd.reconcile.restores import count, put_back

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
FILE = Path("/home/anna/.lmstudio/settings.json")


def write(number: int, value: Any, *, ago: timedelta = timedelta(), **more: Any) -> Entry:
    change = Change("speculativeDecoding", ("speculativeDecoding",), False, value, "wanted")
    told: dict[str, Any] = {"path": FILE, "changes": (change,), "state": "written", **more}
    time = (NOW - ago).isoformat()
    return Entry(number, time, surface="settings", before_sha="", after_sha="", by="x", **told)


def test_the_first_write_restores_nothing_and_the_same_again_does():
    found = put_back([write(1, True), write(2, True), write(3, True)])
    assert [(each.key, each.value, each.found) for each in found] == [
        ("speculativeDecoding", True, False)
    ] * 2


def test_another_value_another_file_and_a_write_that_never_was_are_no_restores():
    assert put_back([write(1, True), write(2, False), write(3, True)]) == ()
    assert put_back([write(1, True), write(2, True, path=FILE.with_name("x.json"))]) == ()
    assert put_back([write(1, True, state="abandoned"), write(2, True)]) == ()


def test_what_was_put_back_stays_counted_although_it_was_undone_later():
    undone = [write(number, True, state="restored") for number in (1, 2)]
    assert [each.id for each in put_back([*undone, write(3, False, state="restored")])] == [2]


def test_what_the_user_asks_for_again_after_undoing_it_is_no_restore():
    undone = [write(number, True, state="restored") for number in (1, 2)]
    again = [write(number, True) for number in (3, 4)]
    assert [each.id for each in put_back([*undone, *again])] == [2, 4]


def test_an_undone_write_is_no_restore_itself_nor_is_a_shell_that_goes_with_it():
    shell = Change("load", ("load",), {}, ABSENT, "restored")
    gone = {"changes": (*write(0, ABSENT).changes, shell), "state": "restored"}
    entries = [write(1, True), write(2, ABSENT, **gone), write(3, True), write(4, ABSENT, **gone)]
    assert put_back(entries) == ()


def test_an_absent_value_can_be_put_back_too():
    assert len(put_back([write(1, ABSENT), write(2, ABSENT)])) == 1


def test_they_are_counted_since_midnight_and_in_seven_days():
    days = [timedelta(days=8), timedelta(days=6), timedelta(hours=13), timedelta(hours=1)]
    entries = [write(0, True, ago=timedelta(days=9))]
    entries += [write(n, True, ago=ago) for n, ago in enumerate(days, 1)]
    found = count(put_back(entries), NOW)
    assert (found.today, found.week) == (1, 3)
    assert found.last is not None
    assert found.last.time == NOW - timedelta(hours=1)
    assert count((), NOW).last is None
