"""May a benchmark run now, or would it get in somebody's way (the reading apart from the rule)."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil

from specd.config import Benchmark
from specd.lmstudio.model import Model

BUSY_LOAD = 0.75
"""Load average per core above which the machine is at work."""

OVERHEAD = 1.5
"""Memory a benchmark takes, as a multiple of the weights: cache, activations, the interpreter."""


@dataclass(frozen=True, slots=True)
class Readings:
    """How the machine stands. ``on_battery`` is None where there is no battery to ask."""

    load_per_core: float
    on_battery: bool | None
    free_bytes: int
    needed_bytes: int


def read(main: Model | None, draft: Model | None) -> Readings:
    """Ask the machine."""
    battery = psutil.sensors_battery()
    weights = sum(model.size_bytes for model in (main, draft) if model is not None)
    return Readings(
        load_per_core=os.getloadavg()[0] / (os.cpu_count() or 1),
        on_battery=None if battery is None else not battery.power_plugged,
        free_bytes=psutil.virtual_memory().available,
        needed_bytes=int(weights * OVERHEAD),
    )


def machine_memory() -> int:
    """Bytes of memory this machine has."""
    return int(psutil.virtual_memory().total)


def postponed(readings: Readings, wanted: Benchmark) -> str | None:
    """Why a benchmark should wait, in words; None when it may run."""
    if wanted.only_on_ac and readings.on_battery:
        return "the machine runs on battery (only_on_ac)"
    if wanted.only_when_idle and readings.load_per_core > BUSY_LOAD:
        return f"the machine is busy, load {readings.load_per_core:.1f} per core (only_when_idle)"
    if readings.needed_bytes > readings.free_bytes:
        return (
            f"it needs {readings.needed_bytes / 2**30:.1f} GiB of memory and "
            f"{readings.free_bytes / 2**30:.1f} GiB are free"
        )
    return None
