"""Only the user may read the state directory: modes are set at every start."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from specd import places
from specd.files import private


def enforce(state: Path) -> Iterator[str]:
    """Make specd's files private; yields a line for each that other users could open.

    The directory is made private too, unless it holds other programs' files.

    Raises:
        PermissionError: the directory belongs to another user.
        OSError: it cannot be created or closed.
    """
    private.reach(state)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = state.stat()
    if facts.st_uid != os.geteuid():
        raise PermissionError(
            1, f"it belongs to user {facts.st_uid}; give specd a directory of its own", str(state)
        )
    mine = places.kept(state)
    others = set(state.iterdir()) - {*mine, places.config_file()}
    for path in mine if others else (state, *mine):
        if path in mine and _holds_others(path):
            continue
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) or not mode & 0o077:
            continue
        try:
            path.chmod(stat.S_IMODE(mode) & ~0o077)
        except PermissionError:
            if path == state:
                raise
            yield f"{path} is open to other users; it is another user's: specd cannot change it"
        else:
            yield f"{path} was open to other users; specd made it private"


def _holds_others(folder: Path) -> bool:
    """Whether the directory holds other programs' files too, as far as it can be read."""
    if not folder.is_dir():
        return False
    try:
        return bool({*folder.iterdir()} - {*places.kept_in(folder)})
    except PermissionError:  # another user's: its store sets it aside
        return False
