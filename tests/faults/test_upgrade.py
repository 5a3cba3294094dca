"""State of another version: an older one is carried over with a copy, a newer one left as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from specd.bench import database
from specd.bench.history import History
from tests.daemon import Sandbox, until


def state_of_a_newer_specd(sandbox: Sandbox) -> Path:
    journal = sandbox.state / "journal" / "entries.jsonl"
    journal.parent.mkdir(parents=True, mode=0o700)
    journal.write_text('{"v": 99, "something": "new"}\n')
    return journal


@pytest.mark.parametrize(
    "words", [("run",), ("apply",), ("restore", "--list"), ("restore", "--all")]
)
def test_a_journal_of_a_newer_specd_is_refused_in_words_and_kept(
    sandbox: Sandbox, words: tuple[str, ...]
):
    sandbox.save()
    journal = state_of_a_newer_specd(sandbox)
    before, settings = journal.read_bytes(), sandbox.settings.read_bytes()
    done = sandbox.specd(*words)
    assert done.returncode == 2
    assert "newer specd" in done.stderr
    assert "Traceback" not in done.stderr
    assert journal.read_bytes() == before
    assert sandbox.settings.read_bytes() == settings


@pytest.mark.parametrize("words", [("run",), ("history",)])
def test_a_history_of_a_newer_specd_is_refused_in_words_and_kept(
    sandbox: Sandbox, words: tuple[str, ...]
):
    sandbox.save()
    sandbox.state.mkdir(mode=0o700)
    path = sandbox.state / "history.db"
    newer = sqlite3.connect(path)
    newer.execute("CREATE TABLE novel (x)")
    newer.execute(f"PRAGMA user_version = {database.VERSION + 1}")
    newer.close()
    done = sandbox.specd(*words)
    assert done.returncode == 2
    assert "newer specd" in done.stderr
    assert "Traceback" not in done.stderr
    kept = sqlite3.connect(path)
    assert kept.execute("PRAGMA user_version").fetchone() == (database.VERSION + 1,)
    assert kept.execute("SELECT count(*) FROM novel").fetchone() == (0,)
    kept.close()


def test_a_history_of_an_older_specd_is_copied_and_carried_over(sandbox: Sandbox):
    sandbox.save()
    sandbox.state.mkdir(mode=0o700)
    path = sandbox.state / "history.db"
    with sqlite3.connect(path) as older:
        older.executescript(database.MIGRATIONS[0])
        older.execute("PRAGMA user_version = 1")
    older.close()
    sandbox.start()
    until(sandbox.applied, "the first reconcile")
    assert sandbox.specd("history").returncode == 0
    sandbox.stop()
    assert database.backup_path(path, 1).exists()
    carried = History(path)
    assert carried.recent(1) == ()
    carried.close()
