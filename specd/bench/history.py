"""Every benchmark that was run, in SQLite. Light enough for the daemon.

A row holds the result as it was printed and the circumstances it was measured in: which model files
(by content), versions, machine, load, power, heat, and the command that measures the same again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from specd.bench import database
from specd.bench.result import BenchResult

KEPT: Final = 5_000
"""Runs; the oldest make room. At some 9 kB each the file stays below 50 MB."""

NIGHTS: Final = 365
"""How many results of each draft a choice looks back on."""

_COLUMNS: Final = "id, result, context"


@dataclass(frozen=True, slots=True)
class Run:
    """One row: its number, the result, and what it was measured on."""

    id: int
    result: BenchResult
    context: dict[str, Any]


class History:
    """The history in one file; opened on first use, so that a broken one hurts nobody else."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = database.Opened(path)
        self._latest: dict[tuple[str, str], Run | None] = {}
        self._nights: dict[tuple[str, tuple[str, ...]], tuple[BenchResult, ...]] = {}
        self._seen_version = (0, 0)

    def add(self, result: BenchResult, context: dict[str, Any]) -> int:
        """Keep a result; ``context`` is what it was measured on. Returns its number."""
        runs = self._database()
        self._latest.clear()
        self._nights.clear()
        with runs:
            number = runs.execute(
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
            runs.execute("DELETE FROM runs WHERE id <= ?", ((number or 0) - KEPT,))
        return int(number or 0)

    def latest(self, main: str, draft: str) -> BenchResult | None:
        """The newest result of a pair, by the names it was kept under."""
        run = self.latest_run(main, draft)
        return None if run is None else run.result

    def latest_run(self, main: str, draft: str) -> Run | None:
        """As ``latest``, with the circumstances."""
        runs = self._up_to_date()
        if (main, draft) not in self._latest:
            row = runs.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE main = ? AND draft = ? "  # noqa: S608 - own words
                "ORDER BY id DESC LIMIT 1",
                (main, draft),
            ).fetchone()
            self._latest[main, draft] = None if row is None else _run(row)
        return self._latest[main, draft]

    def nights(self, main: str, drafts: Sequence[str]) -> tuple[BenchResult, ...]:
        """The last results of a main with some drafts, oldest first.

        Those of other model files under the same names are passed over.
        """
        asked = (main, tuple(drafts))
        runs = self._up_to_date()
        if asked not in self._nights:
            marks = ",".join("?" * len(drafts))
            rows = runs.execute(
                f"SELECT {_COLUMNS} FROM runs WHERE main = ? AND draft IN ({marks}) "  # noqa: S608 - own words
                "ORDER BY id DESC LIMIT ?",
                (main, *drafts, NIGHTS * len(drafts)),
            )
            self._nights[asked] = _of_same_files(tuple(map(_run, rows)))
        return self._nights[asked]

    def recent(self, limit: int) -> tuple[BenchResult, ...]:
        """The newest results, newest first."""
        return tuple(run.result for run in self.runs(limit))

    def runs(self, limit: int) -> tuple[Run, ...]:
        """The newest rows, newest first."""
        rows = self._database().execute(
            f"SELECT {_COLUMNS} FROM runs ORDER BY id DESC LIMIT ?",  # noqa: S608 - own words
            (limit,),
        )
        return tuple(map(_run, rows))

    def run(self, number: int) -> Run | None:
        """The row of this number; None when there is none."""
        row = (
            self._database()
            .execute(f"SELECT {_COLUMNS} FROM runs WHERE id = ?", (number,))  # noqa: S608 - own words
            .fetchone()
        )
        return None if row is None else _run(row)

    def recover(self) -> str | None:
        """Check the file, and move a broken one aside; a line for a person when it was.

        To be called before anything is asked, by the one process that lives long.
        """
        wrong = database.problem(self._path)
        if wrong is None:
            return None
        self.close()
        aside = database.set_aside(self._path)
        return (
            f"the benchmark history was damaged ({wrong}); it begins anew, "
            f"and the old file lies at {aside}"
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _up_to_date(self) -> sqlite3.Connection:
        runs = self._database()
        # SQLite counts the commits of other processes here, so that remembering is safe.
        version = (self._file.times, *runs.execute("PRAGMA data_version").fetchone())
        if version != self._seen_version:
            self._seen_version = version
            self._latest.clear()
            self._nights.clear()
        return runs

    def _database(self) -> sqlite3.Connection:
        return self._file.get()


def _of_same_files(newest_first: Sequence[Run]) -> tuple[BenchResult, ...]:
    files: dict[str, tuple[Any, Any]] = {}
    kept: list[BenchResult] = []
    for run in newest_first:
        now = run.context.get("main_files"), run.context.get("draft_files")
        if files.setdefault(run.result.draft, now) == now:
            kept.append(run.result)
    return tuple(reversed(kept))


def _run(row: tuple[int, str, str]) -> Run:
    # What a later specd adds to a result is passed over, what an earlier one lacked has a default.
    return Run(row[0], msgspec.json.decode(row[1], type=BenchResult), json.loads(row[2]))
