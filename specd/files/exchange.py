"""Atomic renames: exchange two names, or rename only to a free name."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100
_LINUX = {"exchange": 2, "free": 1}  # RENAME_EXCHANGE, RENAME_NOREPLACE of linux/fs.h
_MACOS = {"exchange": 2, "free": 4}  # RENAME_SWAP, RENAME_EXCL of sys/stdio.h

_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP)
_LIBRARY = ctypes.CDLL(None, use_errno=True)


class ExchangeUnsupported(OSError):
    """The platform or file system has no such rename."""


def exchange(one: Path, other: Path) -> None:
    """Exchange the names ``one`` and ``other`` atomically; neither is ever missing.

    Raises:
        ExchangeUnsupported: not on this platform or file system.
        OSError: as rename(2).
    """
    _rename(one, other, "exchange")


def move_to_free_name(one: Path, other: Path) -> None:
    """Rename ``one`` to ``other`` unless ``other`` exists.

    Raises:
        FileExistsError: ``other`` exists.
        OSError: as rename(2).
    """
    with contextlib.suppress(ExchangeUnsupported):
        _rename(one, other, "free")
        return
    os.link(one, other)
    one.unlink()


def _rename(one: Path, other: Path, how: str) -> None:
    first, second = os.fsencode(one), os.fsencode(other)
    if sys.platform == "linux" and hasattr(_LIBRARY, "renameat2"):
        failed = _LIBRARY.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _LINUX[how])
    elif sys.platform == "darwin" and hasattr(_LIBRARY, "renamex_np"):
        failed = _LIBRARY.renamex_np(first, second, _MACOS[how])
    else:
        raise ExchangeUnsupported(errno.ENOTSUP, "this platform cannot exchange files")
    if failed:
        number = ctypes.get_errno()
        kind = ExchangeUnsupported if number in _UNSUPPORTED else OSError
        raise kind(number, os.strerror(number), str(one), None, str(other))
