"""Keep the daemon small: what the C library would hold back for speed nobody here needs.

glibc gives every thread a heap of its own, and watchdog starts two threads per directory: 3 MB of
half-empty heaps. And what start-up allocated and freed stays with the process until it is asked
back. Elsewhere than on glibc both functions do nothing.
"""

from __future__ import annotations

import ctypes
import gc

_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Let all threads allocate from one heap; to be called before there are any."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the system what is no longer used."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
