"""A file's metadata: mode, owner, extended attributes, access control list."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
from pathlib import Path
from typing import Any

_POSIX_ACL = "system.posix_acl_access"
_MACOS_XATTR = 1 << 2  # COPYFILE_XATTR of copyfile.h
_MACOS_ACL = 0x100  # ACL_TYPE_EXTENDED of sys/acl.h

_NOT_OURS_TO_SET = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_NO_SUCH = (errno.ENODATA, errno.ENOTSUP, errno.EOPNOTSUPP)


class NotKept(Exception):
    """The new file's access rights would differ from the old file's."""


def inode(path: Path) -> tuple[int, int] | None:
    """The file's (device, inode); None if it cannot be read."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def stands(path: Path, descriptor: int) -> bool:
    """Whether ``descriptor`` is still the file at ``path``, which may have been removed."""
    facts = os.fstat(descriptor)
    return inode(path) == (facts.st_dev, facts.st_ino)


def copy(source: int, facts: os.stat_result, target: int) -> None:
    """Copy the metadata of the open file ``source`` (with ``facts``) to the open file ``target``.

    Until the last step only the user may access ``target``. Contents and times are not copied, nor
    labels that only a privileged process may set.

    Raises:
        NotKept: the owner, the group, the mode or the access control list would differ.
    """
    made = os.fstat(target)
    if made.st_uid != facts.st_uid:
        with contextlib.suppress(PermissionError):
            os.fchown(target, facts.st_uid, -1)
    if made.st_gid != facts.st_gid:
        with contextlib.suppress(PermissionError):
            os.fchown(target, -1, facts.st_gid)
    if sys.platform == "linux":
        _copy_extended(source, target)
    elif sys.platform == "darwin":
        _copy_on_macos(source, target)
    mode = stat.S_IMODE(facts.st_mode) & 0o1777
    os.fchmod(target, mode)
    made = os.fstat(target)
    if made.st_uid != facts.st_uid:
        raise NotKept(f"it belongs to user {facts.st_uid}; give it to this user (chown)")
    if made.st_gid != facts.st_gid:
        raise NotKept(f"it belongs to group {facts.st_gid}; give it a group of this user's (chgrp)")
    if stat.S_IMODE(made.st_mode) != mode or _access_list(target) != _access_list(source):
        raise NotKept("its permissions cannot be given to a new file here")


def _copy_extended(source: int, target: int) -> None:
    try:
        names = os.listxattr(source)
    except OSError:
        names = []
    if _POSIX_ACL not in names:
        # The new file inherited a list from its directory's default list.
        with contextlib.suppress(OSError):
            os.removexattr(target, _POSIX_ACL)
    for name in names:
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (*_NOT_OURS_TO_SET, errno.ENODATA):
                raise


def _copy_on_macos(source: int, target: int) -> None:
    library = _macos()
    library.fcopyfile(source, target, None, _MACOS_XATTR)
    # copyfile() would keep the entries that the new file inherited from its directory.
    acl = library.acl_get_fd_np(source, _MACOS_ACL) or library.acl_init(0)
    library.acl_set_fd_np(target, ctypes.c_void_p(acl), _MACOS_ACL)
    library.acl_free(ctypes.c_void_p(acl))


def _access_list(descriptor: int) -> bytes:
    """The access control list as comparable bytes; empty if there is none."""
    if sys.platform == "darwin":
        library = _macos()
        acl = library.acl_get_fd_np(descriptor, _MACOS_ACL)
        if not acl:
            return b""
        text = library.acl_to_text(ctypes.c_void_p(acl), None)
        shown = ctypes.string_at(text) if text else b""
        library.acl_free(ctypes.c_void_p(acl))
        library.acl_free(ctypes.c_void_p(text))
        return b"" if shown.strip() == b"!#acl 1" else shown
    if sys.platform != "linux":
        return b""
    try:
        return os.getxattr(descriptor, _POSIX_ACL)
    except OSError as error:
        if error.errno in _NO_SUCH:
            return b""
        raise


def _macos() -> Any:
    library = ctypes.CDLL(None)
    for name in ("acl_get_fd_np", "acl_init", "acl_to_text"):
        getattr(library, name).restype = ctypes.c_void_p
    return library
