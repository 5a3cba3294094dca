"""Which process keeps changing a file back, as far as that can be known.

File events do not name their cause. Two signs point to a process, and the answer names the sign,
as neither is proof: it has the file open for writing, or it watches the file or its folder, as a
program that reacts to every change must. Linux lists the watches of the user's processes by inode.

A look takes some milliseconds per hundred processes, so specd looks only while a file is contended.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from specd.files import holders
from specd.reconcile.contention import Contender

LOOK_S = 0.5
"""How long to look for a process that has the file open; then for one that watches it."""

PAUSE_S = 0.02
"""The pause between two looks."""

MOST_NAMED = 3
"""Indexers and file managers watch folders too, so a longer list would not help."""


def find(path: Path) -> Contender | None:
    """The processes that a sign points to, None if there are none. Takes ``LOOK_S`` at most."""
    look, last = (_writer, _watchers) if sys.platform == "linux" else (_opener, _opener)
    end = time.monotonic() + LOOK_S
    while time.monotonic() < end:
        if found := look(path):
            return found
        time.sleep(PAUSE_S)
    return last(path)


def _writer(path: Path) -> Contender | None:
    """The process that writes the file, or a file beside it that may replace it."""
    folders = {path.parent, path.resolve().parent}
    for process in holders.others():
        for number, target in holders.descriptors(process):
            file = Path(target)
            if (
                file.parent in folders
                and path.name in file.name
                and holders.for_writing(process, number)
            ):
                return Contender(
                    (_named(int(process.name)),), "which had the file open for writing"
                )
    return None


def _watchers(path: Path) -> Contender | None:
    """The processes that watch the file, its folder or its link's target (inotify)."""
    wanted: set[str] = set()
    for each in (path, path.parent, path.resolve().parent):
        with contextlib.suppress(OSError):
            facts = each.stat()
            device = os.major(facts.st_dev) << 20 | os.minor(facts.st_dev)
            wanted.add(f"ino:{facts.st_ino:x} sdev:{device:x}")
    found = [int(each.name) for each in holders.others() if _watches(each, wanted)][:MOST_NAMED]
    return Contender(tuple(map(_named, found)), "which watches the folder") if found else None


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


def _opener(path: Path) -> Contender | None:
    """The process that has the file open: other platforms do not show whether for writing."""
    found = next(holders.writers(path.resolve()), None)
    return None if found is None else Contender((_named(found),), "which had the file open")


def _named(process: int) -> tuple[str, int]:
    import psutil  # noqa: PLC0415 - costs memory, and only a fight needs it

    name = ""
    with contextlib.suppress(psutil.Error, OSError):
        name = psutil.Process(process).name()
    return "".join(c if c.isprintable() else "?" for c in name) or "a program", process
