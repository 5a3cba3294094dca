"""May a benchmark run now, or would it get in somebody's way (the reading apart from the rule).

What is asked before a scheduled benchmark begins, and again, but for the load that it makes itself,
while it runs.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from specd.bench import idle, thermal
from specd.config import Benchmark
from specd.lmstudio import activity

BUSY_LOAD: Final = 0.75
"""Load average per core above which the machine is at work."""

TYPING_S: Final = 300.0
"""Whoever typed within this many seconds is at the machine."""

USED_S: Final = 120.0
"""LM Studio was used within this many seconds: somebody reads the answer and will ask on."""

WATCHED_S: Final = 1.0
"""How long LM Studio's processes are watched for work."""


@dataclass(frozen=True, slots=True)
class Readings:
    """How the machine stands. None: the platform does not tell, or there is nothing to ask.

    ``idle_s`` is since the last input, ``unused_s`` since LM Studio's last sign of use, ``thermal``
    "nominal" or what is too hot.
    """

    load_per_core: float
    on_battery: bool | None
    free_bytes: int
    needed_bytes: int
    idle_s: float | None = None
    unused_s: float | None = None
    generating: bool | None = None
    thermal: str | None = None


def read(home: Path | None, needed_bytes: int, *, asked_at: float | None = None) -> Readings:
    """Ask the machine, for about a second.

    ``asked_at`` is when specd itself last asked the server, in seconds since 1970.
    """
    battery = psutil.sensors_battery()
    used = activity.last_used(home, asked_at) if home is not None else None
    return Readings(
        load_per_core=os.getloadavg()[0] / (os.cpu_count() or 1),
        on_battery=None if battery is None else not battery.power_plugged,
        free_bytes=psutil.virtual_memory().available,
        needed_bytes=needed_bytes,
        idle_s=idle.seconds(),
        unused_s=None if used is None else max(0.0, time.time() - used),
        generating=activity.generating(home, WATCHED_S) if home is not None else None,
        thermal=thermal.read(),
    )


def machine_memory() -> int:
    """Bytes of memory this machine has."""
    return int(psutil.virtual_memory().total)


def postponed(readings: Readings, wanted: Benchmark) -> str | None:
    """Why a benchmark should wait, in words; None when it may begin."""
    why = in_the_way(readings, wanted)
    if why is not None:
        return why
    if wanted.only_when_idle and readings.load_per_core > BUSY_LOAD:
        return f"the machine is busy, load {readings.load_per_core:.1f} per core (only_when_idle)"
    if readings.thermal not in (None, "nominal"):
        return f"the machine is hot: {readings.thermal}"
    if readings.needed_bytes > readings.free_bytes:
        return (
            f"it needs {readings.needed_bytes / 2**30:.1f} GiB of memory and "
            f"{readings.free_bytes / 2**30:.1f} GiB are free"
        )
    return None


def in_the_way(readings: Readings, wanted: Benchmark) -> str | None:
    """Why a benchmark that runs should end, in words: what it cannot have caused itself."""
    if wanted.only_on_ac and readings.on_battery:
        return "the machine runs on battery (only_on_ac)"
    if not wanted.only_when_idle:
        return None
    if readings.idle_s is not None and readings.idle_s < TYPING_S:
        return f"somebody typed {readings.idle_s:.0f} s ago (only_when_idle)"
    if readings.unused_s is not None and readings.unused_s < USED_S:
        return f"LM Studio was used {readings.unused_s:.0f} s ago (only_when_idle)"
    if readings.generating:
        return "LM Studio is generating (only_when_idle)"
    return None
