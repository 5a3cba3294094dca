"""The machine's sensors: the time since the user's last input, and heat.

Input: macOS counts nanoseconds since the last input of any kind (``HIDIdleTime``). On Linux the
session manager knows how long all of the user's sessions have been idle, if the desktop reports it;
and a terminal's access time changes when somebody types into it.

Heat: macOS's ``pmset -g therm`` prints ``CPU_Speed_Limit`` in per cent, and a thermal warning level
once one was reached. On Linux each sensor has a temperature and the limits that the hardware set.
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
from typing import Any, Final

PATIENCE_S: Final = 3.0

_HID: Final = re.compile(r'"HIDIdleTime"\s*=\s*(\d+)')
_SINCE: Final = re.compile(r"^IdleSinceHint=(\d+)$", re.MULTILINE)
_LIMIT: Final = re.compile(r"CPU_Speed_Limit\s*=\s*(\d+)")
_WARNING: Final = re.compile(r"thermal warning level.*?(\d+)\s*$", re.IGNORECASE | re.MULTILINE)


def idle_s() -> float | None:
    """Seconds since the last input; None if unknown."""
    if sys.platform == "darwin":
        return from_ioreg(_output("ioreg", "-c", "IOHIDSystem", "-d", "4"))
    user = str(os.getuid())
    output = _output("loginctl", "show-user", user, "-p", "IdleHint", "-p", "IdleSinceHint")
    found = (from_logind(output, time.time()), *_terminals())
    return min((each for each in found if each is not None), default=None)


def from_ioreg(output: str) -> float | None:
    """Idle seconds from the output of ``ioreg``; the least of several devices."""
    return min((int(each) / 1e9 for each in _HID.findall(output)), default=None)


def from_logind(output: str, now: float) -> float | None:
    """Idle seconds from the output of ``loginctl show-user``; ``now`` is seconds since 1970.

    None for "not idle": desktops that do not report idleness show the same.
    """
    since = _SINCE.search(output)
    if "IdleHint=yes" not in output or since is None or since[1] == "0":
        return None
    return max(0.0, now - int(since[1]) / 1e6)


def _terminals() -> Iterator[float]:
    import psutil  # noqa: PLC0415 - as in preconditions

    for user in psutil.users():
        if user.terminal:
            with contextlib.suppress(OSError):
                touched = Path("/dev", user.terminal).stat().st_atime
                yield max(0.0, time.time() - touched)


def busiest(over_s: float) -> str | None:
    """The program, other than this, that uses most of the processor for ``over_s`` seconds.

    As ``name (pid 7) with 90 % of a core``.
    """
    import psutil  # noqa: PLC0415 - as in preconditions

    def share(process: psutil.Process) -> float:
        used = process.info["cpu_percent"]  # since the call before
        return 0.0 if process.pid == os.getpid() else float(used or 0.0)

    for _ in psutil.process_iter(["cpu_percent"]):
        pass
    time.sleep(over_s)
    most = max(psutil.process_iter(["cpu_percent", "name"]), key=share, default=None)
    if most is None or not share(most):
        return None
    return f"{most.info['name']} (pid {most.pid}) with {share(most):.0f} % of a core"


def heat() -> str | None:
    """What is too hot, as a sentence, or "nominal"; None if the system has no such reading."""
    if sys.platform == "darwin":
        return from_pmset(_output("pmset", "-g", "therm"))
    import psutil  # noqa: PLC0415 - as in preconditions

    sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
    limited = [each for group in sensors.values() for each in group if each.high]
    hot = [each for each in limited if each.current >= each.high]
    if hot:
        return f"{hot[0].label or 'a sensor'} is at {hot[0].current:.0f} °C of {hot[0].high:.0f}"
    return "nominal" if limited else None


def from_pmset(output: str) -> str | None:
    """As ``heat``, from the output of ``pmset -g therm``."""
    limit, warning = _LIMIT.search(output), _WARNING.search(output)
    if limit is not None and int(limit[1]) < 100:
        return f"the processor is held at {limit[1]} % of its speed"
    if warning is not None and int(warning[1]) > 0:
        return f"thermal warning level {warning[1]}"
    known = limit is not None or warning is not None or "No thermal warning" in output
    return "nominal" if known else None


def _output(*command: str) -> str:
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
