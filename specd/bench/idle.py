"""The time since the user's last input, if the platform provides it.

macOS counts nanoseconds since the last input of any kind (``HIDIdleTime``, read with ``ioreg``). On
Linux the session manager knows how long all of the user's sessions have been idle, if the desktop
reports it; and a terminal's access time changes when somebody types into it.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PATIENCE_S: Final = 3.0

_HID: Final = re.compile(r'"HIDIdleTime"\s*=\s*(\d+)')
_SINCE: Final = re.compile(r"^IdleSinceHint=(\d+)$", re.MULTILINE)


def seconds() -> float | None:
    """Seconds since the last input; None if unknown."""
    if sys.platform == "darwin":
        return from_ioreg(_said(["ioreg", "-c", "IOHIDSystem", "-d", "4"]))
    session = from_logind(
        _said(["loginctl", "show-user", str(os.getuid()), "-p", "IdleHint", "-p", "IdleSinceHint"]),
        time.time(),
    )
    known = [each for each in (session, *_terminals()) if each is not None]
    return min(known, default=None)


def from_ioreg(said: str) -> float | None:
    """Idle seconds from the output of ``ioreg``; the least of several devices."""
    return min((int(each) / 1e9 for each in _HID.findall(said)), default=None)


def from_logind(said: str, now: float) -> float | None:
    """Idle seconds from the output of ``loginctl show-user``; ``now`` is seconds since 1970.

    None for "not idle": desktops that do not report idleness show the same.
    """
    since = _SINCE.search(said)
    if "IdleHint=yes" not in said or since is None or since[1] == "0":
        return None
    return max(0.0, now - int(since[1]) / 1e6)


def _terminals() -> Iterator[float]:
    import psutil  # noqa: PLC0415 - see preconditions

    for user in psutil.users():
        if user.terminal:
            with contextlib.suppress(OSError):
                touched = Path("/dev", user.terminal).stat().st_atime
                yield max(0.0, time.time() - touched)


def _said(command: list[str]) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
