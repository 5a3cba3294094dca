"""Worker task: read the figures in the user's conversations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from specd.bench.observed import ObservedStore
from specd.lmstudio import conversations, presets
from specd.worker import Progress

KEEP_EVERY_S = 2.0  # a killed worker reads the files since then again


def observe(request: dict[str, Any], progress: Progress) -> dict[str, Any]:  # noqa: ARG001 - as all tasks
    """``{"conversations": dir, "history": file, "seconds": limit}``.

    Reads the files that changed since the last run and updates the sums. Returns ``{"files",
    "answers", "unreadable", "done"}``: files read, new answers, files that cannot be read, and
    whether all files were read in time. The next run reads the rest.
    """
    store = ObservedStore(Path(request["history"]))
    deadline = time.monotonic() + float(request["seconds"])
    read = store.files_read()
    files = answers = unreadable = 0
    done = True
    keep_at = time.monotonic() + KEEP_EVERY_S
    directory = Path(request["conversations"])
    # Both are folders of LM Studio's home.
    known = presets.read(directory.parent)
    for found in conversations.read(directory, read, known):
        answers += store.add(found or ())
        files += 1
        unreadable += found is None
        if time.monotonic() > keep_at:
            store.keep_files_read(read)
            keep_at = time.monotonic() + KEEP_EVERY_S
        if time.monotonic() > deadline:
            done = False
            break
    store.keep_files_read(read)
    store.finish(time.time())
    store.close()
    return {"files": files, "answers": answers, "unreadable": unreadable, "done": done}
