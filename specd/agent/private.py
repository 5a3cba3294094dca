"""The state directory is the user's alone: modes are enforced at every start, not hoped for."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path


def enforce(state: Path) -> Iterator[str]:
    """Close the state directory, and what lies directly in it, to others; say what was open.

    Raises:
        PermissionError: it belongs to somebody else, who could change what specd relies on.
        OSError: it cannot be made or closed.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    facts = state.stat()
    if facts.st_uid != os.geteuid():
        raise PermissionError(
            1, f"it belongs to user {facts.st_uid}; give specd a directory of its own", str(state)
        )
    for path in (state, *sorted(state.iterdir())):
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode) or not mode & 0o077:
            continue
        path.chmod(stat.S_IMODE(mode) & ~0o077)
        yield f"{path} was open to other users; it is not any more"
