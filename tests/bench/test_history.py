from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from specd.bench import database, history
from specd.bench.database import MIGRATIONS, VERSION, NewerHistory
from specd.bench.history import History, alone
from specd.bench.result import BenchResult, Best, LengthResult
from tests.daemon import until

RESULT = BenchResult(
    main="main",
    draft="draft",
    engine="mlx",
    suite="seed",
    started_at="2026-11-01T04:30:00+00:00",
    baseline_tps=18.0,
    lengths=(LengthResult(0, 0.0, 0, 50, 18.0, 1.0), LengthResult(3, 0.6, 30, 20, 24.0, 1.33)),
    best=Best(3, 1.33, 1.3, (1.2, 1.4)),
    text_equal=True,
    model_seconds=30.0,
    by_class={"code": {"acceptance": 0.7}},
    notes=("a note",),
)
CONTEXT = {"mlx-lm": "0.28", "main": {"identity": "abc"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def kept(path: Path) -> Iterator[History]:
    made = History(path)
    yield made
    made.close()


def test_a_row_comes_back_as_it_was_kept(kept: History) -> None:
    number = kept.add(RESULT, CONTEXT)
    run = kept.run(number)
    assert run is not None
    assert (run.id, run.result, run.context) == (number, RESULT, CONTEXT)
    assert kept.run(number + 1) is None


def test_it_is_its_owners_alone(path: Path, kept: History) -> None:
    kept.latest("main", "draft")
    with alone(path):
        pass
    beside = [each for each in path.parent.iterdir() if each.name.startswith(path.name)]
    assert path in beside
    assert {each.stat().st_mode & 0o777 for each in beside} == {0o600}


def test_the_latest_of_a_pair_is_known_and_the_newest_come_first(kept: History) -> None:
    kept.add(RESULT, CONTEXT)
    kept.add(replace(RESULT, draft="other"), CONTEXT)
    newest = replace(RESULT, baseline_tps=20.0)
    kept.add(newest, CONTEXT)
    assert kept.latest("main", "draft") == newest
    assert kept.latest("main", "nobody") is None
    assert [each.draft for each in kept.recent(2)] == ["draft", "other"]


def test_what_another_process_adds_is_seen(path: Path, kept: History) -> None:
    assert kept.latest("main", "draft") is None
    with closing(History(path)) as other:
        other.add(RESULT, CONTEXT)
    assert kept.latest("main", "draft") == RESULT


def test_members_of_a_later_specd_s_results_are_passed_over(path: Path, kept: History) -> None:
    kept.add(RESULT, CONTEXT)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE runs SET result = json_set(result, '$.later', json('[1]'))")
    assert kept.latest("main", "draft") == RESULT


def test_the_oldest_runs_make_room(kept: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 5)
    for number in range(12):
        kept.add(replace(RESULT, baseline_tps=float(number)), CONTEXT)
    assert [each.baseline_tps for each in kept.recent(100)] == [11, 10, 9, 8, 7]


def old(path: Path, version: int) -> None:
    """A file as specd of that version left it, with one run in it."""
    with closing(sqlite3.connect(path)) as raw, raw:
        for migration in MIGRATIONS[:version]:
            raw.executescript(migration)
        raw.execute(f"PRAGMA user_version = {version}")
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(
            "INSERT INTO runs (started_at, main, draft, result, context) VALUES (?, ?, ?, ?, ?)",
            ("2026", "main", "draft", history.json.dumps(history.asdict(RESULT)), "{}"),
        )


@pytest.mark.parametrize("version", range(1, VERSION))
def test_an_older_file_is_copied_and_then_migrated(path: Path, version: int) -> None:
    old(path, version)
    before = path.read_bytes()
    with closing(History(path)) as migrated:
        assert migrated.latest("main", "draft") == RESULT
        migrated.add(RESULT, CONTEXT)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("PRAGMA user_version").fetchone() == (VERSION,)
    with closing(sqlite3.connect(database.backup_path(path, version))) as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (version,)
        assert copy.execute("SELECT count(*) FROM runs").fetchone() == (1,)
    assert len(before) > 0


def _open_and_add(path: Path) -> None:
    with closing(History(path)) as mine:
        mine.add(RESULT, CONTEXT)


@pytest.mark.parametrize("exists", [False, True])
def test_several_processes_that_open_it_first_at_once_lose_nothing(
    path: Path, exists: bool
) -> None:
    if exists:
        old(path, 1)
    spawn = multiprocessing.get_context("spawn")
    started = [spawn.Process(target=_open_and_add, args=(path,)) for _ in range(4)]
    for each in started:
        each.start()
    for each in started:
        each.join(60)
    assert [each.exitcode for each in started] == [0] * 4
    with closing(History(path)) as kept:
        assert len(kept.recent(100)) == 4 + exists


def test_a_newer_specd_s_file_is_refused_and_left_as_it_is(path: Path) -> None:
    with closing(History(path)) as kept:
        kept.add(RESULT, CONTEXT)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute(f"PRAGMA user_version = {VERSION + 1}")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = path.read_bytes()
    with pytest.raises(NewerHistory, match="upgrade"):
        History(path).recent(1)
    assert path.read_bytes() == before


def test_what_is_no_database_is_moved_aside_whole(path: Path) -> None:
    path.write_bytes(b"this was a database once" * 100)
    with closing(History(path)) as kept:
        kept.add(RESULT, CONTEXT)
        assert kept.latest("main", "draft") == RESULT
    (aside,) = path.parent.glob("history.db.broken-*")
    assert aside.read_bytes().startswith(b"this was")


def damage(path: Path) -> None:
    """A history with noise in its middle."""
    with closing(History(path)) as kept:
        for _ in range(200):
            kept.add(RESULT, CONTEXT)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[8192:40960] = os.urandom(40960 - 8192)
    path.write_bytes(content)


def test_a_large_file_is_checked_at_start_only_after_a_crash(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "ALWAYS_CHECKED_BYTES", 0)
    damage(path)
    assert database.problem(path) is None
    path.with_name("history.db-wal").touch()  # what a process that was killed leaves behind
    assert database.problem(path) is not None


def test_damage_inside_is_found_at_start_and_said(path: Path) -> None:
    damage(path)
    again = History(path)
    said = again.recover()
    assert said is not None
    assert "begins anew" in said
    assert again.recent(1) == ()
    assert again.recover() is None
    again.close()
    assert len(list(path.parent.glob("history.db.broken-*"))) >= 1


def test_a_sound_file_and_one_that_is_not_there_are_left_alone(path: Path) -> None:
    assert History(path).recover() is None
    assert not path.exists()
    _open_and_add(path)
    assert History(path).recover() is None


_ADD_FOR_EVER = """
import sys
from pathlib import Path
from specd.bench.history import History
from tests.bench.test_history import RESULT, CONTEXT
kept = History(Path(sys.argv[1]))
while True:
    print(kept.add(RESULT, CONTEXT), flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_writer_killed_at_any_moment_leaves_whole_rows(
    path: Path, number: signal.Signals
) -> None:
    for _ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", _ADD_FOR_EVER, str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert writer.stdout is not None
        told = [int(writer.stdout.readline()) for _ in range(3)]
        writer.send_signal(number)
        told += [int(line) for line in writer.stdout if line.endswith(b"\n")]
        writer.wait(60)
        writer.stdout.close()
        with closing(History(path)) as kept:
            assert kept.recover() is None
            ids = {run.id for run in kept.runs(100_000)}
            assert set(told) <= ids
            assert all(run.result == RESULT for run in kept.runs(100_000))
    until(lambda: not list(path.parent.glob("*.broken-*")), "nothing was thought broken", 1)
