"""The machine and versions of a benchmark: its row in the history is enough to repeat it.

When one of the dependencies changes, the result is stale.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from specd import __version__
from specd.bench import identity, thermal


def dependencies(main: Path, draft: Path, *, engine_version: str | None) -> dict[str, Any]:
    """The dependencies of a result, by the names of ``staleness.REASONS``.

    ``engine_version`` is LM Studio's version, None if unknown.
    """
    return {
        "main_files": identity.of(main),
        "draft_files": identity.of(draft),
        "mlx-lm": _version("mlx-lm"),
        "mlx": _version("mlx"),
        "os": f"{platform.system()} {platform.mac_ver()[0] or platform.release()}",
        "engine": engine_version,
    }


def here() -> dict[str, Any]:
    """The machine and its present state: load, power, memory, heat."""
    battery = psutil.sensors_battery()
    memory = psutil.virtual_memory()
    return {
        "specd": __version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": memory.total,
        "free_bytes": memory.available,
        "load_average": list(os.getloadavg()),
        "on_battery": None if battery is None else not battery.power_plugged,
        "thermal": thermal.read(),
    }


def disturbed(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """What makes times between two states of the machine (``here``) invalid, as sentences."""
    found: list[str] = []
    if before["on_battery"] != after["on_battery"]:
        found.append("the machine changed between battery and mains power meanwhile")
    if after["thermal"] not in (None, "nominal") and after["thermal"] != before["thermal"]:
        found.append(f"the machine became hot: {after['thermal']}")
    return tuple(found)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
