"""Who is at the other end of a Unix socket: the kernel's word, not the client's."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys


def uid(connection: socket.socket) -> int:
    """The user id of the peer process at the time it connected.

    Raises:
        OSError: the platform does not say.
    """
    if sys.platform == "linux":
        packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _pid, user, _group = struct.unpack("3i", packed)
        return int(user)
    return _getpeereid(connection)


def _getpeereid(connection: socket.socket) -> int:
    # macOS and the BSDs: getpeereid(3).
    library = ctypes.CDLL(None, use_errno=True)
    user, group = ctypes.c_uint32(), ctypes.c_uint32()
    if library.getpeereid(connection.fileno(), ctypes.byref(user), ctypes.byref(group)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(user.value)
