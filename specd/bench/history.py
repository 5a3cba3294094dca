"""Every benchmark that was run, in SQLite. Light enough for the daemon."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

from specd.bench.result import BenchResult, Best, LengthResult

VERSION = 1
KEPT = 100_000


class NewerHistory(Exception):
    """The history was written by a newer specd; it is left as it is."""


class History:
    """The history in one file; opened on first use, so that a broken one hurts nobody else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._open: sqlite3.Connection | None = None
        self._latest: dict[tuple[str, str], BenchResult | None] = {}
        self._seen_version = 0

    def add(self, result: BenchResult, context: dict[str, Any]) -> int:
        """Keep a result; ``context`` is what it was measured on. Returns its number."""
        database = self._database()
        self._latest.clear()
        with database:
            number = database.execute(
                "INSERT INTO runs (started_at, main, draft, result, context) "
                "VALUES (?, ?, ?, ?, ?)",
                (
                    result.started_at,
                    result.main,
                    result.draft,
                    json.dumps(asdict(result)),
                    json.dumps(context),
                ),
            ).lastrowid
            database.execute("DELETE FROM runs WHERE id <= ?", ((number or 0) - KEPT,))
        return int(number or 0)

    def latest(self, main: str, draft: str) -> BenchResult | None:
        """The newest result of a pair, by the names it was kept under."""
        database = self._database()
        # SQLite counts the commits of other processes here, so that remembering is safe.
        (version,) = database.execute("PRAGMA data_version").fetchone()
        if version != self._seen_version:
            self._seen_version = version
            self._latest.clear()
        if (main, draft) not in self._latest:
            row = database.execute(
                "SELECT result FROM runs WHERE main = ? AND draft = ? ORDER BY id DESC LIMIT 1",
                (main, draft),
            ).fetchone()
            self._latest[main, draft] = None if row is None else from_json(json.loads(row[0]))
        return self._latest[main, draft]

    def recent(self, limit: int) -> tuple[BenchResult, ...]:
        """The newest results, newest first."""
        rows = self._database().execute(
            "SELECT result FROM runs ORDER BY id DESC LIMIT ?", (limit,)
        )
        return tuple(from_json(json.loads(row[0])) for row in rows)

    def close(self) -> None:
        """Close the file."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def _database(self) -> sqlite3.Connection:
        if self._open is None:
            self._open = _connect(self._path)
        return self._open


def from_json(record: dict[str, Any]) -> BenchResult:
    """A result from its own fields, as ``dataclasses.asdict`` gives them."""
    best = record["best"]
    return BenchResult(
        **{
            **record,
            "lengths": tuple(LengthResult(**each) for each in record["lengths"]),
            "best": Best(**{**best, "interval": best["interval"] and tuple(best["interval"])}),
            "notes": tuple(record["notes"]),
        }
    )


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = sqlite3.connect(path, timeout=10, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        database.close()
        raise NewerHistory(f"{path} was written by a newer specd; upgrade this one")
    if version == 0:
        with database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, started_at TEXT NOT NULL,"
                " main TEXT NOT NULL, draft TEXT NOT NULL, result TEXT NOT NULL,"
                " context TEXT NOT NULL)"
            )
            database.execute("CREATE INDEX IF NOT EXISTS by_pair ON runs (main, draft, id)")
            database.execute(f"PRAGMA user_version = {VERSION}")
    return database
