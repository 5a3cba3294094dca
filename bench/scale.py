"""Scale of state: years of journal, benchmarks and log must not be felt.

Two daemons, one with an empty state directory and one with a full one, are asked the same by turns.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from bench.commands import run_ms
from bench.figures import Section, at_most, ratio
from bench.homes import Home, Settings, lay_out
from bench.running import SPECD, Running, answers
from bench.seed_home import DRAFT, MAIN
from specd import places
from specd.bench.history import History
from specd.bench.result import BenchResult, Best, LengthResult
from specd.cli import ask
from specd.reconcile.journal import Change, Journal

TIMES = 10
ANSWERS = 10
BOUND = 2.0

RUNS = 100_000
ENTRIES = 10_000
LOG_BYTES = 1 << 30

COMMANDS = {
    "`specd status`": ["status"],
    "`specd restore --list`": ["restore", "--list"],
    "`specd logs`": ["logs"],
    "`specd logs --since 1h`": ["logs", "--since", "1h"],
}

QUESTIONS = {
    "`GET /v1/status`": "/v1/status",
    "`GET /v1/history`": "/v1/history",
    "`GET /v1/journal`": "/v1/journal",
}
START = "start → socket answers"
MEMORY = "the daemon's memory, MiB"


def measure(root: Path, *, large: bool) -> Section:
    """Each command ``TIMES`` times on both states, each question ``ANSWERS`` times as often."""
    scale = 1 if large else 50
    small, big = lay_out(root / "empty"), lay_out(root / "full")
    _fill(big, RUNS // scale, ENTRIES // scale, LOG_BYTES // scale)
    # Enough for an answer to a question with a limit (50) to be as long as the other's.
    _fill(small, 60, 60, 10_000)
    homes = {"little": small, "much": big}
    took: dict[str, dict[str, list[float]]] = {
        name: {size: [] for size in homes}
        for name in (*COMMANDS, *QUESTIONS, "`specd restore N`", START, MEMORY)
    }
    for _ in range(TIMES):
        for size, home in homes.items():
            took[START][size].append(_start_ms(home))
    with Running(SPECD, small) as one, Running(SPECD, big) as other:
        for running in (one, other):
            running.get_ready(Settings(running.home))
        for _ in range(TIMES):
            for size, home in homes.items():
                for name, words in COMMANDS.items():
                    took[name][size].append(_specd_ms(home, words))
                for name, path in QUESTIONS.items():
                    took[name][size].extend(_answer_ms(home, path) for _ in range(ANSWERS))
                took["`specd restore N`"][size].append(_restore_ms(home))
        # By now the pair is proven, and whatever specd needs to answer has been needed.
        for size, running in zip(homes, (one, other), strict=True):
            took[MEMORY][size].append(running.usage().rss / 2**20)
    against = {name: ratio(each["much"], each["little"]) for name, each in took.items()}
    return Section(
        title="Scale of state",
        about=(
            f"milliseconds; history of {RUNS // scale:,} runs, {ENTRIES // scale:,} writes into "
            f"the journal (which prunes itself), log of {LOG_BYTES // scale / 2**20:,.0f} MiB, "
            "beside nearly empty ones"
        ),
        columns=("little state", "much state", "much ÷ little"),
        rows={
            name: (median(each["little"]), median(each["much"]), str(against[name]))
            for name, each in took.items()
        },
        claims=tuple(
            at_most(f"{name}: much state ÷ little", against[name], BOUND) for name in took
        ),
    )


def _specd_ms(home: Home, words: list[str]) -> float:
    return run_ms([sys.executable, "-m", "specd", *words], home.environment)


def _start_ms(home: Home) -> float:
    started = time.perf_counter()
    with Running(SPECD, home):
        while answers(home) is None:
            time.sleep(0.001)
        return (time.perf_counter() - started) * 1000


def _answer_ms(home: Home, path: str) -> float:
    started = time.perf_counter()
    ask.ask("GET", path, state=home.state)
    return (time.perf_counter() - started) * 1000


def _restore_ms(home: Home) -> float:
    """Undo the newest write, then have specd write it again for the next turn."""
    (newest,) = ask.ask("GET", "/v1/journal?limit=1", state=home.state)
    took = _specd_ms(home, ["restore", str(newest["id"])])
    _specd_ms(home, ["apply"])
    return took


def _fill(home: Home, runs: int, entries: int, log_bytes: int) -> None:
    home.state.mkdir(mode=0o700)
    _write_journal(home, entries)
    _write_history(home, runs)
    _write_log(home, log_bytes)


def _write_journal(home: Home, entries: int) -> None:
    journal = Journal(places.journal_dir(home.state))
    change = Change(
        "chat.visualizeSpeculativeDecoding",
        ("chat", "visualizeSpeculativeDecoding"),
        old=False,
        new=True,
        why="specd.toml: visualize",
    )
    settings = Settings(home)
    after = settings.drifted().replace(b": false", b": true")
    for _ in range(entries):
        number = journal.intend(
            home.settings, settings.drifted(), after, (change,), surface="settings", by="daemon"
        )
        journal.settle(number, written=True)


def _write_history(home: Home, runs: int) -> None:
    """``runs`` results of the first pair.

    The first is added as the benchmark does; the others are its copies, made by SQLite, because a
    hundred thousand commits would take longer than everything that is measured here.
    """
    path = places.history_path(home.state)
    history = History(path)
    length = LengthResult(3, 0.7, 210, 100, 24.0, 1.3)
    history.add(
        BenchResult(
            main=MAIN,
            draft=DRAFT,
            engine="mlx",
            suite="standard",
            started_at="2026-01-01T04:30:00+00:00",
            baseline_tps=18.0,
            lengths=(length,) * 17,
            best=Best(3, 1.3, 1.28, (1.21, 1.34)),
            text_equal=True,
            model_seconds=300.0,
        ),
        {},
    )
    history.close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        (table,) = database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%started_at%'"
        ).fetchone()
        columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
        copied = ", ".join(name for name in columns if name != "id")
        database.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {runs:d}) "
            f"INSERT INTO {table} ({copied}) SELECT {copied} FROM {table}, n"
        )


def _write_log(home: Home, size: int) -> None:
    """Lines a second apart up to now, all in the current file."""
    log = places.log_path(home.state)
    log.parent.mkdir(mode=0o700)
    line = "{} INFO    put back chat.visualizeSpeculativeDecoding: false → true  journal={}\n"
    count = size // len(line.format("2026-01-01T00:00:00.000+00:00", 100_000).encode())
    moment = datetime.now().astimezone() - timedelta(seconds=count)
    with log.open("w", encoding="utf-8") as file:
        for number in range(count):
            at = moment + timedelta(seconds=number)
            file.write(line.format(at.isoformat(timespec="milliseconds"), number))
