"""The machine and versions of a benchmark: its row in the history is enough to repeat it.

When one of the dependencies changes, the result is stale.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import psutil

from specd import __version__
from specd.bench import identity, sensors

REASONS: Final = {
    "main_files": "the main's files changed",
    "draft_files": "the draft's files changed",
    "mlx-lm": "mlx-lm was {before}, now {now}",
    "mlx": "mlx was {before}, now {now}",
    "os": "the system was {before}, now {now}",
    "engine": "{engine} was {before}, now {now}",
}
"""For each dependency of a result, by its name in the run's context: the sentence for a change."""

ONLY_MLX: Final = frozenset({"mlx", "mlx-lm"})
ONLY_SERVER: Final = frozenset({"engine"})


def dependencies(main: Path, draft: Path, *, engine_version: str | None) -> dict[str, Any]:
    """The dependencies of a result, by the names of ``REASONS``.

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


def stale(engine: str, context: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """The changes since the benchmark, as sentences; () while the result still applies.

    ``engine`` is the engine that measured. ``context`` holds the dependencies at that time, ``now``
    those of today. A dependency that is unknown in either is ignored.
    """
    irrelevant = ONLY_SERVER if engine == "mlx" else ONLY_MLX
    return tuple(
        words.format(
            engine="llama.cpp" if engine == "llama.cpp" else "LM Studio",
            before=context[name],
            now=now[name],
        )
        for name, words in REASONS.items()
        if name not in irrelevant
        and context.get(name) is not None
        and now.get(name) is not None
        and context[name] != now[name]
    )


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
        "thermal": sensors.heat(),
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
