"""The SQLite file of benchmarks and of real use's figures: open, migrate and check it.

It uses write-ahead logging: the daemon reads while a worker writes, and a killed process leaves the
last whole transaction. A file of an older version is copied before it is migrated. A file of a
newer version is refused and left alone. A file that is not a database is moved aside, because a
benchmark can be repeated and the daemon must go on.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from specd.files.attributes import inode

Kept = TypeVar("Kept")

WAL_BYTES: Final = 16 << 20
"""Bytes: the largest size of the write-ahead log after a checkpoint."""

ALWAYS_CHECKED_BYTES: Final = 32 << 20
"""Bytes: about ten thousand benchmarks, which take about 20 ms to check."""

WAIT_S: Final = 10.0
"""Longest wait for another process's transaction."""

_RUNS: Final = """
CREATE TABLE IF NOT EXISTS runs (id INTEGER PRIMARY KEY, started_at TEXT NOT NULL,
    main TEXT NOT NULL, draft TEXT NOT NULL, result TEXT NOT NULL, context TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS by_pair ON runs (main, draft, id);
"""

_OBSERVED: Final = """
-- id: 12 bytes, given by specd.lmstudio.conversations. at: seconds since 1970. rounds: how many
-- rounds accepted 0, 1, 2 and more draft tokens, as a JSON list.
CREATE TABLE answers (id BLOB PRIMARY KEY, at REAL, main TEXT NOT NULL, asked TEXT, draft TEXT,
    draft_tokens INTEGER, tokens INTEGER, prompt_tokens INTEGER, seconds REAL, drafted INTEGER,
    accepted INTEGER, rounds TEXT) WITHOUT ROWID;
CREATE INDEX answers_by_time ON answers (at);
CREATE INDEX answers_by_asked ON answers (main, asked, at);
CREATE TABLE chats (name TEXT PRIMARY KEY, stamp TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE probes (main TEXT NOT NULL, draft TEXT NOT NULL, at REAL NOT NULL,
    answers INTEGER NOT NULL, drafted INTEGER NOT NULL, accepted INTEGER NOT NULL, finding TEXT,
    PRIMARY KEY (main, draft)) WITHOUT ROWID;
"""

_KINDS: Final = """
-- kind: as in specd.lmstudio.conversations. sampling: settings as a JSON object. The chats are read
-- again, which fills both in.
ALTER TABLE answers ADD COLUMN kind TEXT;
ALTER TABLE answers ADD COLUMN sampling TEXT;
DELETE FROM chats
"""

MIGRATIONS: Final = (_RUNS, _OBSERVED, _KINDS)
"""Each entry migrates from one version to the next; ``PRAGMA user_version`` is the version."""

VERSION: Final = len(MIGRATIONS)


class NewerHistory(Exception):
    """A newer specd wrote the history; the file is left alone."""


class Opened:
    """The database at ``path``: opened on first use, and again after the file was replaced.

    Only the thread that opened it may use it; SQLite raises in others.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._inode: tuple[int, int] | None = None
        self._times = 0
        self._kept: dict[object, Any] = {}
        self._kept_at: tuple[int, int, int] | None = None

    def get(self) -> sqlite3.Connection:
        """The connection.

        Raises:
            NewerHistory, sqlite3.Error, OSError: as ``connect``.
        """
        if self._connection is None or inode(self._path) != self._inode:
            self.close()
            self._connection = connect(self._path)
            self._inode = inode(self._path)
            self._times += 1
        return self._connection

    def kept(self, name: object, read: Callable[[], Kept]) -> Kept:
        """What ``read`` returns, kept until somebody commits or the file is replaced."""
        connection = self.get()
        (commits,) = connection.execute("PRAGMA data_version").fetchone()
        now = self._times, commits, connection.total_changes
        if now != self._kept_at:
            self._kept_at = now
            self._kept.clear()
        if name not in self._kept:
            self._kept[name] = read()
        found: Kept = self._kept[name]
        return found

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def connect(path: Path) -> sqlite3.Connection:
    """Open the database at ``path``; create or migrate it if needed.

    A file that is not a database is moved aside first.

    Raises:
        NewerHistory: a newer specd wrote it.
        sqlite3.Error, OSError: it cannot be used.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        return _opened(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError:
        set_aside(path)
        return _opened(path)


def problem(path: Path) -> str | None:
    """The error that SQLite's own check finds in the file; None if it is sound or missing.

    The check reads the whole file, and the daemon starts with it. So a large file is checked only
    after a crash, which leaves the write-ahead log behind.
    """
    if not path.exists():
        return None
    ended_cleanly = not path.with_name(f"{path.name}-wal").exists()
    if ended_cleanly and path.stat().st_size > ALWAYS_CHECKED_BYTES:
        return None
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=WAIT_S)) as database:
            (result,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError:
        return None  # it is locked, or the disk is full or broken, which the first query meets too
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if result == "ok" else str(result)


def set_aside(path: Path) -> Path:
    """Rename the file and SQLite's files beside it to a free name; returns the new path."""
    aside = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + end).rename(aside.with_name(aside.name + end))
    return aside


def backup_path(path: Path, version: int) -> Path:
    """The path of the copy of a migrated file of ``version``."""
    return path.with_name(f"{path.name}.v{version}")


def _opened(path: Path) -> sqlite3.Connection:
    if not path.exists():
        # SQLite would replay the log of a deleted file into the new one.
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
        path.touch(mode=0o600)  # SQLite creates its log with the same mode
    database = sqlite3.connect(path, timeout=WAIT_S)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
        version = _version(database)
        if version > VERSION:
            raise NewerHistory(f"{path} was written by a newer specd; upgrade this one")
        if version < VERSION:
            _migrate(database, path)
    except BaseException:
        database.close()
        raise
    return database


def _version(database: sqlite3.Connection) -> int:
    (version,) = database.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    """Migrate from any older version, in one transaction; another process may do so first."""
    database.execute("BEGIN IMMEDIATE")
    with database:
        version = _version(database)
        if 0 < version < VERSION:
            _back_up(path, backup_path(path, version))
        for migration in MIGRATIONS[version:]:
            # Not executescript(), which would end the transaction first.
            for statement in migration.split(";"):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")


def _back_up(path: Path, to: Path) -> None:
    """Copy the last whole state; the caller holds the lock against other writers."""
    beside = to.with_name(to.name + ".new")
    beside.unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(path)) as reader,
        contextlib.closing(sqlite3.connect(beside)) as copy,
    ):
        reader.backup(copy)
    beside.replace(to)
