"""The floor: the shortest honest restorer in Python, on watchdog."""

from __future__ import annotations

import os
import sys
import threading

from restoring import restore
from watchdog.events import FileClosedEvent, FileMovedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

home = os.path.realpath(sys.argv[1])
settings = f"{home}/settings.json"


class Handler(FileSystemEventHandler):
    """Restore on every event that may have changed the settings."""

    def dispatch(self, event: FileSystemEvent) -> None:
        """Called by watchdog on its own thread."""
        if settings in (event.src_path, event.dest_path):
            restore(settings)


observer = Observer()
observer.schedule(Handler(), home, event_filter=[FileClosedEvent, FileMovedEvent])
observer.start()
restore(settings)
threading.Event().wait()
