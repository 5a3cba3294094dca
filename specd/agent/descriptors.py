"""How many files the daemon may have open, so that no number of clients keeps it from its work.

A service manager may start a process with as few as 256 (launchd's default). The daemon asks for
more where it may, and never gives its clients more than half of what it has.
"""

from __future__ import annotations

import resource

WANTED = 4_096


def for_clients(most: int) -> int:
    """Raise the limit towards ``WANTED``; how many of it clients may have, at ``most``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return most if soft == resource.RLIM_INFINITY else min(most, soft // 2)
