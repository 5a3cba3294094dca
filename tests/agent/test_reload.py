"""A main that runs otherwise than its file says is loaded again with lms, and only when idle."""

from __future__ import annotations

import time
from pathlib import Path

from specd.agent import reload
from specd.config import Pair
from specd.lmstudio import keys
from specd.reconcile.desired import DesiredPair
from specd.reconcile.in_force import NotInForce

STEPS = (("unload", "m:2"), ("load", "m", "--parallel", "1"))
WANTED = NotInForce(DesiredPair(Pair(main="m"), "wanted", ""), "m:2", ("parallel",), STEPS)


def lms(home: Path, ends: int = 0) -> Path:
    program = home.joinpath(*keys.LMS)
    program.parent.mkdir(parents=True)
    program.write_text(
        f'#!/bin/sh\necho "$@" >> "{home}/calls"\necho "no such model" >&2\nexit {ends}\n'
    )
    program.chmod(0o755)
    return home / "calls"


def test_its_steps_are_run_in_order(tmp_path: Path) -> None:
    calls = lms(tmp_path)
    assert reload.load_again(tmp_path, WANTED, None) is None
    assert calls.read_text().splitlines() == ["unload m:2", "load m --parallel 1"]


def test_a_failure_ends_them_and_says_what_lms_said(tmp_path: Path) -> None:
    calls = lms(tmp_path, ends=1)
    outcome = reload.load_again(tmp_path, WANTED, None)
    assert outcome == "`lms unload m:2` failed: no such model"
    assert len(calls.read_text().splitlines()) == 1


def test_without_lms_that_is_the_answer(tmp_path: Path) -> None:
    assert "bin/lms cannot be run" in (reload.load_again(tmp_path, WANTED, None) or "")


def test_nobody_who_is_using_it_is_disturbed(tmp_path: Path) -> None:
    calls = lms(tmp_path)
    log = tmp_path / "server-logs" / "2026-11" / "2026-11-24.1.log"
    log.parent.mkdir(parents=True)
    log.write_text("a request\n")
    assert reload.load_again(tmp_path, WANTED, None) == reload.BUSY
    assert not calls.exists()
    # What specd's own question left there does not count.
    assert reload.load_again(tmp_path, WANTED, time.time()) is None
