"""Whether the machine is too hot to measure, from the system's own sensors.

macOS: ``pmset -g therm`` prints ``CPU_Speed_Limit`` in per cent, and a thermal warning level once
one was reached. Linux: each sensor has a temperature and the limits that the hardware set.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any, Final

PATIENCE_S: Final = 3.0

_LIMIT: Final = re.compile(r"CPU_Speed_Limit\s*=\s*(\d+)")
_WARNING: Final = re.compile(r"thermal warning level.*?(\d+)\s*$", re.IGNORECASE | re.MULTILINE)


def read() -> str | None:
    """What is too hot, as a sentence, or "nominal"; None if the system has no such reading."""
    return _macos() if sys.platform == "darwin" else _sensors()


def _macos() -> str | None:
    try:
        said = subprocess.run(
            ["pmset", "-g", "therm"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return from_pmset(said)


def from_pmset(said: str) -> str | None:
    """As ``read``, from the output of ``pmset -g therm``."""
    limit, warning = _LIMIT.search(said), _WARNING.search(said)
    if limit is not None and int(limit[1]) < 100:
        return f"the processor is held at {limit[1]} % of its speed"
    if warning is not None and int(warning[1]) > 0:
        return f"thermal warning level {warning[1]}"
    known = limit is not None or warning is not None or "No thermal warning" in said
    return "nominal" if known else None


def _sensors() -> str | None:
    import psutil  # noqa: PLC0415 - see preconditions

    sensors: dict[str, list[Any]] = getattr(psutil, "sensors_temperatures", dict)()
    told = [each for group in sensors.values() for each in group if each.high]
    hot = [each for each in told if each.current >= each.high]
    if hot:
        return f"{hot[0].label or 'a sensor'} is at {hot[0].current:.0f} °C of {hot[0].high:.0f}"
    return "nominal" if told else None
