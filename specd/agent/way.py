"""The names that the system looks up on the way to a path, each in its real directory.

If one of them is moved, deleted, created or replaced by a symlink, the path leads elsewhere. So
these names have to be watched.

    /home/u/.config/specd  with  /home/u -> /data/u
    is  /home, /home/u, /data, /data/u, /data/u/.config, /data/u/.config/specd
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

LINKS = 40
"""The number of symlinks that the kernel follows in one path before it fails with ELOOP."""


def steps(path: Path) -> Iterator[Path]:
    """Every name on the way to ``path``; the last is its real path, or the first that is missing.

    Names below an unreadable directory count as missing.
    """
    at, ahead = _split(path.absolute())
    links = 0
    while ahead:
        name = ahead.pop()
        if name == os.pardir:
            at = at.parent
            continue
        step = at / name
        yield step
        try:
            mode = step.lstat().st_mode
            target = step.readlink() if stat.S_ISLNK(mode) else None
        except OSError:
            return
        if target is not None:
            links += 1
            if links > LINKS:
                return
            root, more = _split(target)
            at = root if target.is_absolute() else at
            ahead += more
        elif stat.S_ISDIR(mode):
            at = step
        else:
            return


def _split(path: Path) -> tuple[Path, list[str]]:
    """A path's root, and its names in reverse order."""
    return Path(path.anchor), [name for name in reversed(path.parts) if name != path.anchor]
