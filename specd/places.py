"""The paths of specd's own files.

``$SPECD_CONFIG`` and ``$SPECD_STATE_DIR`` come first, then the platform's directories
(platformdirs). ``$SPECD_STATE_DIR`` contains all of specd's state, so several daemons can run with
different ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

_FOLDERS = {
    "run": r"specd\.(sock|lock)|[0-9a-f]+-[0-9a-f]+\.lock",
    "logs": r"specd\.log(\.\d+)?|service\.(out|err)\.log",
    "journal": r"entries\.(jsonl|new)",
    "tokenizers": r"tokenizers\.db",
}
"""specd's folders in the state directory, and the names of its files in them."""

REPLACEABLE = frozenset({"run", "logs", "tokenizers"})
"""Those that may start empty: specd may set aside whatever stands in their place."""

_OWN = (
    *_FOLDERS,
    "history.db",
    "holds.json",
    "trial.json",
    "server-log.json",
    "bionic-log.json",
    "models.json",
    "conditions.json",
    "last-good.toml",
    "validated.json",
    "specd-report.html",
)

_BESIDE = re.compile(
    r"(\.v\d+)?(\.broken-[\d-]+)?(-wal|-shm|-journal|\.lock|\.measuring|\.(\d+\.)?new)?"
)
"""What specd and SQLite append to a name: for copies, files set aside and unfinished ones."""


class NoPlace(Exception):
    """The user has no home directory, so specd has no place for its files."""


def config_file() -> Path:
    """The path of specd.toml, whether or not it exists."""
    named = os.environ.get("SPECD_CONFIG")
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_config_path  # noqa: PLC0415 - `specd status` need not pay for it

    return _somewhere(user_config_path) / "specd.toml"


def state_dir() -> Path:
    """The directory of specd's state, whether or not it exists."""
    named = os.environ.get("SPECD_STATE_DIR")
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_state_path  # noqa: PLC0415 - `specd status` need not pay for it

    return _somewhere(user_state_path)


def socket_path(state: Path) -> Path:
    """The daemon's Unix socket: ``<state>/run/specd.sock``."""
    return state / "run" / "specd.sock"


def lock_path(state: Path) -> Path:
    """The lock file of the daemon; it contains the daemon's process id."""
    return state / "run" / "specd.lock"


def log_path(state: Path) -> Path:
    """The current log file; rotated ones are beside it with a number appended."""
    return state / "logs" / "specd.log"


def history_path(state: Path) -> Path:
    """The benchmark history (SQLite)."""
    return state / "history.db"


def journal_dir(state: Path) -> Path:
    """The journal: specd's writes to LM Studio's files, with the values before."""
    return state / "journal"


def holds_path(state: Path) -> Path:
    """An older specd's file of the values that the user restored."""
    return state / "holds.json"


def tokenizer_cache_dir(state: Path) -> Path:
    """Cached fingerprints and verdicts; safe to delete."""
    return state / "tokenizers"


def kept(state: Path) -> tuple[Path, ...]:
    """All files in the state directory that specd created; on macOS specd.toml is there too.

    Names may have a suffix: SQLite's files beside a database, files that were set aside.

    Raises:
        OSError: the directory cannot be read.
    """
    if not state.is_dir():
        return ()
    return tuple(
        path
        for path in sorted(state.iterdir())
        if any(
            path.name.startswith(own) and _BESIDE.fullmatch(path.name[len(own) :]) for own in _OWN
        )
    )


def kept_in(folder: Path) -> tuple[Path, ...]:
    """The files in one of the folders of ``kept`` that specd created.

    Raises:
        OSError: the folder cannot be read.
    """
    names = _FOLDERS.get(folder.name)
    if names is None:
        return ()
    own = re.compile(f"(?:{names})(?:{_BESIDE.pattern})")
    found = (path for path in sorted(folder.iterdir()) if own.fullmatch(path.name))
    return tuple(path for path in found if path.is_symlink() or not path.is_dir())


def _somewhere(find: Callable[..., Path]) -> Path:
    # Without a home directory older platformdirs answer with a path that begins with "~".
    try:
        path = find("specd", appauthor=False)
    except RuntimeError:
        path = Path("~")
    if path.is_absolute():
        return path
    raise NoPlace("your home directory is unknown: set HOME, or SPECD_CONFIG and SPECD_STATE_DIR")
