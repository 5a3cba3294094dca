"""Exchange two files atomically, where the platform can."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2  # linux/fs.h
_RENAME_SWAP = 2  # sys/stdio.h of macOS

_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)


class ExchangeUnsupported(OSError):
    """Not on this platform or file system."""


def exchange(one: Path, other: Path) -> None:
    """Let the names ``one`` and ``other`` change places in one step; nobody sees either missing.

    Raises:
        ExchangeUnsupported: not on this platform or file system.
        OSError: as rename(2).
    """
    first, second = os.fsencode(one), os.fsencode(other)
    library = _library()
    if sys.platform == "linux" and hasattr(library, "renameat2"):
        failed = library.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _RENAME_EXCHANGE)
    elif sys.platform == "darwin" and hasattr(library, "renamex_np"):
        failed = library.renamex_np(first, second, _RENAME_SWAP)
    else:
        raise ExchangeUnsupported(errno.ENOTSUP, "this platform cannot exchange files")
    if failed:
        number = ctypes.get_errno()
        kind = ExchangeUnsupported if number in _UNSUPPORTED else OSError
        raise kind(number, os.strerror(number), str(one), None, str(other))


def _library() -> ctypes.CDLL:
    return _LIBRARY


_LIBRARY = ctypes.CDLL(None, use_errno=True)
