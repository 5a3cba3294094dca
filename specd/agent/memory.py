"""Keep the daemon's memory small: return memory that the C library keeps for speed.

glibc gives every thread a heap of its own (1.3 MB for the daemon's threads), and keeps freed memory
until ``malloc_trim`` (2.5 MB after a start). Without glibc both functions do nothing.
"""

from __future__ import annotations

import ctypes
import gc

_M_ARENA_MAX = -8  # malloc.h


def share_one_heap() -> None:
    """Let all threads allocate from one heap; call it before the first thread starts."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return unused memory to the system."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
