"""Who keeps setting a file back: what can honestly be known of it.

File events do not say who caused them. Two things give a process away. It has the file open for
writing when somebody looks, which is likely while it writes a hundred times a second. And a program
that answers every change at once must be watching for changes: on Linux the kernel lists what every
process of the same user watches, by inode. Neither is proof, and the answer says which it rests on.

Looking costs some milliseconds per hundred processes, so it is done only once a fight is on.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from specd.files import holders

LOOK_S = 0.5
"""How long to look for a process that has the file open, before settling for a watcher."""

PAUSE_S = 0.02
"""Between two looks: the daemon has better things to do."""

MOST_NAMED = 3
"""Indexers and file managers watch folders too, so a longer list would not help."""


def find(path: Path, seconds: float = LOOK_S) -> str | None:
    """``name (process N), which …``, None if no program was found. Takes up to ``seconds``."""
    look = _writer if sys.platform == "linux" else _opener
    end = time.monotonic() + seconds
    found = look(path)
    while found is None and time.monotonic() < end:
        time.sleep(PAUSE_S)
        found = look(path)
    if found is None and sys.platform == "linux":
        found = _watchers(path)
    return found


def _writer(path: Path) -> str | None:
    """Who writes the file, or something beside it that is about to take its place."""
    folders = {path.parent, path.resolve().parent}
    for process in holders.others():
        for number, target in holders.descriptors(process):
            file = Path(target)
            if (
                file.parent in folders
                and path.name in file.name
                and holders.for_writing(process, number)
            ):
                return f"{_name(process)}, which had the file open for writing"
    return None


def _watchers(path: Path) -> str | None:
    """The processes that watch the file, its folder or its link's target (inotify)."""
    wanted: set[str] = set()
    for each in (path, path.parent, path.resolve().parent):
        with contextlib.suppress(OSError):
            facts = each.stat()
            device = os.major(facts.st_dev) << 20 | os.minor(facts.st_dev)
            wanted.add(f"ino:{facts.st_ino:x} sdev:{device:x}")
    named = [_name(process) for process in holders.others() if _watches(process, wanted)]
    if not named:
        return None
    return f"{' or '.join(named[:MOST_NAMED])}, which watches the folder"


def _watches(process: Path, wanted: set[str]) -> bool:
    # Format: proc(5), "inotify wd:1 ino:2a sdev:fd00001 mask:…" for every watch.
    for number, target in holders.descriptors(process):
        if target != "anon_inode:inotify":
            continue
        with contextlib.suppress(OSError):
            for line in (process / "fdinfo" / number).read_text().splitlines():
                if any(f" {each} " in line for each in wanted):
                    return True
    return False


def _name(process: Path) -> str:
    try:
        name = (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        name = ""
    return f"{_printable(name) or 'a program'} (process {process.name})"


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


def _opener(path: Path) -> str | None:
    """Who has the file open at all: what other platforms tell."""
    import psutil  # noqa: PLC0415 - costs memory, and only a fight needs it

    for number in holders.writers(path.resolve()):
        with contextlib.suppress(psutil.Error, OSError):
            name = _printable(psutil.Process(number).name())
            return f"{name} (process {number}), which had the file open"
    return None
