"""How many files the daemon may have open."""

from __future__ import annotations

import resource

WANTED = 4_096
"""Open files that specd wants to be allowed; launchd gives 256. Clients get half at most."""


def allowed() -> int:
    """The number of open files the process may have, after asking for ``WANTED``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    wanted = WANTED if hard == infinite else min(WANTED, hard)
    if soft != infinite and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return WANTED if soft == infinite else soft
