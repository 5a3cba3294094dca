"""What a file carries besides its bytes: mode, owner, extended attributes, access control lists."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
from pathlib import Path

_MACOS_ACL_AND_XATTR = 1 << 0 | 1 << 2  # COPYFILE_ACL, COPYFILE_XATTR of copyfile.h

_NOT_OURS_TO_SET = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


def inode(path: Path) -> tuple[int, int] | None:
    """Which file it is, whatever its name: device and inode; None where none can be looked at."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def copy(source: int, facts: os.stat_result, target: int) -> None:
    """Give the open file ``target`` what the open file ``source`` (with ``facts``) carries.

    What only a privileged process may set is left out: the owner of somebody else's file, security
    labels. Contents and times are not touched.
    """
    if (facts.st_uid, facts.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):
            os.fchown(target, facts.st_uid, facts.st_gid)
    os.fchmod(target, stat.S_IMODE(facts.st_mode) & 0o1777)
    if sys.platform == "linux":
        _copy_extended(source, target)
    elif sys.platform == "darwin":
        ctypes.CDLL(None).fcopyfile(source, target, None, _MACOS_ACL_AND_XATTR)


def _copy_extended(source: int, target: int) -> None:
    try:
        names = os.listxattr(source)
    except OSError:
        return
    for name in names:
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError as error:
            if error.errno not in (*_NOT_OURS_TO_SET, errno.ENODATA):
                raise
