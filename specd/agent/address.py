"""The daemon's Unix socket: its address, and whose process is at the other end.

An address holds 104 bytes on macOS and 108 on Linux. On Linux a longer path goes through an open
descriptor of its directory; elsewhere the socket lies in a private directory under /tmp, named by a
hash of the path.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST = 100


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """An address for ``path`` that fits; valid while the context lasts.

    Raises:
        OSError: the directory is missing, or the one under /tmp belongs to another user.
    """
    if len(os.fsencode(path)) <= LONGEST:
        yield str(path)
    elif sys.platform == "linux":
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{directory}/{path.name}"
        finally:
            os.close(directory)
    else:
        yield str(_stand_in(path))


def _stand_in(path: Path) -> Path:
    import hashlib  # noqa: PLC0415 - only for very long paths

    directory = Path(f"/tmp/specd-{os.getuid()}")  # noqa: S108 - private, and checked below
    directory.mkdir(mode=0o700, exist_ok=True)
    facts = directory.lstat()
    if facts.st_uid != os.getuid() or not stat.S_ISDIR(facts.st_mode) or facts.st_mode & 0o077:
        raise PermissionError(f"{directory} is not a private directory of yours; remove it")
    return directory / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:24]}.sock"


def peer(connection: socket.socket) -> int:
    """The user id of the peer process at the time it connected.

    Raises:
        OSError: the platform cannot answer.
    """
    if sys.platform == "linux":
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _pid, user, _group = struct.unpack("3i", packed)
        return int(user)
    return _getpeereid(connection)


def _getpeereid(connection: socket.socket) -> int:
    import ctypes  # noqa: PLC0415 - not on Linux

    # macOS and the BSDs: getpeereid(3).
    library = ctypes.CDLL(None, use_errno=True)
    user, group = ctypes.c_uint32(), ctypes.c_uint32()
    if library.getpeereid(connection.fileno(), ctypes.byref(user), ctypes.byref(group)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(user.value)
