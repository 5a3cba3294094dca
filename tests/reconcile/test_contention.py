"""Patience: at once for an app that saves often, ever more slowly for a program that never stops."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from specd.reconcile import contention
from specd.reconcile.contention import (
    CONTENDED_AFTER,
    Patience,
    drifted,
    lasted,
    stormed,
    touched,
    wait,
    wrote,
)


def undo(known: Patience, now: float) -> Patience:
    """One round: the value is undone, specd waits as long as it must and writes."""
    known = drifted(known, now)
    return wrote(known, now + wait(known, now))


def test_a_lone_drift_is_answered_at_once():
    assert wait(drifted(Patience(), 10.0), 10.0) == 0.0


def test_an_app_that_saves_every_few_minutes_is_answered_at_once_for_ever():
    known, now = Patience(), 10.0
    for _ in range(1_000):
        known = drifted(known, now)
        assert wait(known, now) == 0.0
        known = wrote(known, now)
        now += contention.UNDONE_WITHIN_S + 1


def test_being_undone_a_few_times_in_a_row_is_called_contention():
    known, now = Patience(), 10.0
    for _ in range(contention.CONTENDED_AFTER):
        assert not known.contended
        known = undo(known, now)
        now += 0.1
    known = drifted(known, now)
    assert known.contended


def test_a_fight_without_end_is_backed_off_from_one_second_up_to_five_minutes():
    known, now = Patience(), 10.0
    waits = []
    for _ in range(CONTENDED_AFTER + 14):
        known = drifted(known, now, ("chat.visualize",))
        pause = wait(known, now)
        now += pause
        waits.append(round(pause))
        known = wrote(known, now)
        now += 0.001
    assert waits[: CONTENDED_AFTER + 1] == [0] * (CONTENDED_AFTER + 1), "five undone in a row"
    assert waits[CONTENDED_AFTER + 1 :] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300]
    assert known.keys == ("chat.visualize",)


def test_a_file_that_cannot_be_written_for_a_storm_is_backed_off_from():
    known, now, tries = drifted(Patience(), 5.0), 5.0, 0
    while now < 65.0:
        now += wait(known, now) + 0.05
        known = stormed(known, now)
        tries += 1
    assert known.backing_off
    assert tries < 50, "and not twenty a second for a minute"


def backed_off(now: float) -> Patience:
    known = Patience()
    while known.delay_s < 64:
        known = undo(known, now)
    return drifted(known, now)


def test_the_wait_of_a_storm_ends_once_the_file_has_rested():
    known, now = backed_off(10.0), 10.0
    assert wait(known, now) > 60
    while now < 12:
        known = touched(known, now)
        now += 0.1
    assert 0 < wait(known, now) < contention.RESTED_S
    assert wait(known, now + contention.RESTED_S) == 0.0


def test_a_program_that_saves_now_and_then_makes_no_storm():
    known = backed_off(10.0)
    for saved in (10.0, 12.0, 17.0, 17.1):
        known = touched(known, saved)
    assert wait(known, 20.0) > 50


def test_peace_is_forgiven_after_the_write_has_lasted():
    known, now = Patience(), 10.0
    while not known.backing_off:
        known = undo(known, now)
        now += 0.001
    known = lasted(known, now + 1_000)
    assert known == Patience()


def test_one_drift_seen_by_several_passes_counts_once():
    known = wrote(drifted(Patience(), 1.0), 1.0)
    for moment in (2.0, 2.1, 2.2):
        known = drifted(known, moment)
    assert known.undone == 1


def test_in_a_storm_the_write_waits_for_a_quiet_spell():
    known = stormed(drifted(Patience(), 5.0), 5.0)
    assert 0 < wait(known, 5.0) <= contention.QUIET_S


def test_a_storm_holds_a_write_off_for_a_bounded_time_only():
    known, now = drifted(Patience(), 5.0), 5.0
    while now < 5.0 + 2 * contention.STORM_AT_MOST_S:
        known = stormed(known, now)
        if wait(known, now) == 0.0:
            break
        now += 0.001
    assert now <= 5.0 + contention.STORM_AT_MOST_S + 0.01


@given(st.lists(st.floats(min_value=0.0005, max_value=30.0), min_size=1, max_size=300))
def test_writes_of_a_fight_are_few(gaps):
    known, now, writes = Patience(), 1.0, 0
    for gap in gaps:
        known = drifted(known, now)
        if wait(known, now) == 0.0:
            known = wrote(known, now)
            writes += 1
        now += gap
    spaced = (now - 1.0 + contention.FIRST_DELAY_S).__ceil__().bit_length()
    assert writes <= CONTENDED_AFTER + 2 + spaced + now / contention.LONGEST_DELAY_S
