"""The floor's restore behind watchfiles; a second argument sets its step in ms (50 by default)."""

from __future__ import annotations

import os
import sys

from restoring import restore
from watchfiles import watch

home = os.path.realpath(sys.argv[1])
settings = f"{home}/settings.json"
step = int(sys.argv[2]) if len(sys.argv) > 2 else 50

restore(settings)
for changes in watch(home, step=step, recursive=False):
    if any(path == settings for _, path in changes):
        restore(settings)
