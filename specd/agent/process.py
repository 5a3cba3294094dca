"""The daemon's own process: how many files it may have open, and its memory.

glibc gives every thread a heap of its own (1.3 MB for the daemon's threads), and keeps freed memory
until ``malloc_trim`` (2.5 MB after a start). Without glibc the two functions for it do nothing.
"""

from __future__ import annotations

import ctypes
import gc
import resource

OPEN_FILES = 4_096
"""The number of open files that specd asks for; launchd allows 256. Clients get half at most."""

_M_ARENA_MAX = -8  # malloc.h


def open_files() -> int:
    """The number of open files the process may have, after asking for ``OPEN_FILES``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    wanted = OPEN_FILES if hard == infinite else min(OPEN_FILES, hard)
    if soft != infinite and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return OPEN_FILES if soft == infinite else soft


def share_one_heap() -> None:
    """Let all threads allocate from one heap; call it before the first thread starts."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Return unused memory to the system."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
