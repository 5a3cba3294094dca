"""Find the processes that have a file open, as far as the platform allows.

Linux: the kernel grants a read lease only while no process has the file open for writing. That
takes microseconds, for the user's own files; otherwise, and to find the processes, ``/proc`` is
read. macOS: libproc lists the processes that have a path open, without those that only wait for its
events.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR
_PROC = Path("/proc")

_ALL_PROCESSES = 1  # PROC_ALL_PIDS of libproc.h
_NOT_FOR_EVENTS = 2  # PROC_LISTPIDSPATH_EXCLUDE_EVTONLY
_MOST = 4_096


def lease(descriptor: int) -> bool | None:
    """Whether a read lease was granted; None if unsupported. It ends with the descriptor."""
    if sys.platform != "linux":
        return None
    try:
        # SIGURG is ignored by default; a lease's own SIGIO would end the process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return False if error.errno == errno.EAGAIN else None
    return True


def waited_for(descriptor: int) -> bool:
    """Whether a process waits for the end of the lease to open the file for writing."""
    if sys.platform != "linux":
        return False
    return fcntl.fcntl(descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK


def has_writer(path: Path, descriptor: int) -> bool:
    """Whether another process has the open file ``path`` open for writing (macOS: open at all)."""
    if sys.platform == "darwin":
        return bool(_processes(path))
    granted = lease(descriptor)
    if granted is None:
        return next(writers(path), None) is not None
    if granted and sys.platform == "linux":
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return not granted


def writers(path: Path) -> Iterator[int]:
    """The ids of other processes that have the file open for writing (macOS: open at all)."""
    if sys.platform == "darwin":
        yield from _processes(path)
        return
    for process in others():
        for number, target in descriptors(process):
            if target == str(path) and for_writing(process, number):
                yield int(process.name)


def others() -> Iterator[Path]:
    """The directory in /proc of each other process."""
    own = str(os.getpid())
    for process in _PROC.iterdir():
        if process.name.isdecimal() and process.name != own:
            yield process


def descriptors(process: Path) -> Iterator[tuple[str, str]]:
    """(number, path) of a process's open files; nothing if access is denied."""
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield descriptor.name, str(descriptor.readlink())


def for_writing(process: Path, number: str) -> bool:
    """Whether a process has opened the file with this descriptor for writing."""
    with contextlib.suppress(OSError, ValueError):
        for line in (process / "fdinfo" / number).read_text().splitlines():
            if line.startswith("flags:"):
                return bool(int(line[6:], 8) & _WRITES)
    return False


def _processes(path: Path) -> list[int]:
    library = _libproc()
    numbers = (ctypes.c_int * _MOST)()
    size = library.proc_listpidspath(
        _ALL_PROCESSES, 0, os.fsencode(path), _NOT_FOR_EVENTS, numbers, ctypes.sizeof(numbers)
    )
    found = numbers[: max(0, size) // ctypes.sizeof(ctypes.c_int)]
    return [number for number in found if number not in (0, os.getpid())]


def _libproc() -> Any:
    return ctypes.CDLL("/usr/lib/libproc.dylib")
