"""The history of benchmarks, in SQLite. Light enough for the daemon.

A row holds the result as printed, and its context: a digest of the model files, versions, machine,
load, power, heat, and the command that repeats the measurement.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from specd.bench import database
from specd.bench.result import BenchResult

KEPT: Final = 5_000
"""Most rows; the oldest are deleted. At about 9 kB a row the file stays below 50 MB."""

NIGHTS: Final = 365
"""The choice of a draft reads this many of each draft's newest results."""


class Busy(Exception):
    """Another benchmark is running; the message names its process and since when it runs."""


@contextmanager
def alone(history: Path) -> Iterator[None]:
    """Hold the lock beside a history file: two benchmarks at once would slow each other down.

    The kernel releases it when the measuring process ends.

    Raises:
        Busy: another process holds it.
    """
    history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = history.with_name(f"{history.name}.measuring")
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            raise Busy(f"another benchmark is running ({file.read(100)})") from error
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {datetime.now().astimezone():%H:%M}")
        file.flush()
        yield


@dataclass(frozen=True, slots=True)
class Run:
    """One row: its number, the result, and the context of the measurement."""

    id: int
    result: BenchResult
    context: dict[str, Any]


class History:
    """The history in one file. It is opened on first use, so a broken file fails only here."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = database.Opened(path)

    def add(self, result: BenchResult, context: dict[str, Any]) -> int:
        """Store a result with the ``context`` of its measurement; returns its number."""
        runs = self._file.get()
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
        """The newest result of a pair, by the models' names; None without any."""
        run = self.latest_run(main, draft)
        return None if run is None else run.result

    def latest_run(self, main: str, draft: str) -> Run | None:
        """As ``latest``, with number and context."""
        return self._file.kept((main, draft), lambda: self._newest(main, draft))

    def _newest(self, main: str, draft: str) -> Run | None:
        query = "WHERE main = ? AND draft = ? ORDER BY id DESC LIMIT 1"
        return next(iter(self._rows(query, main, draft)), None)

    def nights(self, main: str, drafts: Sequence[str]) -> tuple[BenchResult, ...]:
        """The last results of a main with any of ``drafts``, oldest first.

        Results of other model files with the same names are left out.
        """
        marks = ",".join("?" * len(drafts))
        query = f"WHERE main = ? AND draft IN ({marks}) ORDER BY id DESC LIMIT ?"
        most = NIGHTS * len(drafts)
        return self._file.kept(
            (main, tuple(drafts)),
            lambda: _of_same_files(self._rows(query, main, *drafts, most)),
        )

    def recent(self, limit: int) -> tuple[BenchResult, ...]:
        """The newest results, newest first."""
        return tuple(run.result for run in self.runs(limit))

    def runs(self, limit: int) -> tuple[Run, ...]:
        """The newest rows, newest first."""
        return self._rows("ORDER BY id DESC LIMIT ?", limit)

    def run(self, number: int) -> Run | None:
        """The row of this number; None when there is none."""
        return next(iter(self._rows("WHERE id = ?", number)), None)

    def recover(self) -> str | None:
        """Check the file and move a broken one aside; returns a message if it was broken.

        The daemon calls this before its first query.
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

    def _rows(self, query: str, *values: object) -> tuple[Run, ...]:
        rows = self._file.get().execute(f"SELECT id, result, context FROM runs {query}", values)  # noqa: S608 - own words
        return tuple(map(_run, rows))


def _of_same_files(newest_first: Sequence[Run]) -> tuple[BenchResult, ...]:
    files: dict[str, tuple[Any, Any]] = {}
    kept: list[BenchResult] = []
    for run in newest_first:
        now = run.context.get("main_files"), run.context.get("draft_files")
        if files.setdefault(run.result.draft, now) == now:
            kept.append(run.result)
    return tuple(reversed(kept))


def _run(row: tuple[int, str, str]) -> Run:
    # Fields of a newer specd are ignored; fields that an older one lacked have a default.
    return Run(row[0], msgspec.json.decode(row[1], type=BenchResult), json.loads(row[2]))
