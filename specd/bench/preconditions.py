"""Whether a benchmark may run now, or would disturb the user.

``needed`` computes from a model's files the memory that it takes: weights, the key-value cache of
the longest context, and a constant. ``read`` looks at the machine; ``postponed`` decides before a
scheduled benchmark begins, and ``in_the_way`` while it runs (without the load, which the benchmark
causes itself).
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from specd.bench import sensors
from specd.config import Benchmark
from specd.lmstudio import activity
from specd.lmstudio.model import Model

BUSY_LOAD: Final = 0.75
"""Load average per core above which the machine is busy."""

TYPING_S: Final = 300.0
"""The user is at the machine if the last input is at most this many seconds ago."""

USED_S: Final = 120.0
"""LM Studio is in use if its last sign of use is at most this many seconds ago."""

WATCHED_S: Final = 1.0
"""How long LM Studio's processes are watched for work."""


CONTEXT: Final = 4096
"""Tokens: the longest context that a benchmark measures at."""

BESIDES: Final = 512 << 20
"""Bytes for an empty worker, activations and stored answers."""

CACHE_SHARE: Final = 0.15
"""Size of the cache as a share of the weights, if config.json does not determine it."""

_CONFIG_MAX_BYTES: Final = 1 << 20
_VALUE_BYTES: Final = 2  # of a key or value, 16-bit


@dataclass(frozen=True, slots=True)
class Readings:
    """The state of the machine; None means unknown.

    ``idle_s``: seconds since the last input. ``unused_s``: seconds since LM Studio's last sign of
    use. ``thermal``: "nominal", or what is too hot. ``clients``: the programs connected to LM
    Studio's server, and ``busiest`` the one that uses most of the processor now, where they matter.
    """

    load_per_core: float
    on_battery: bool | None
    free_bytes: int
    needed_bytes: int
    idle_s: float | None = None
    unused_s: float | None = None
    generating: bool | None = None
    thermal: str | None = None
    clients: tuple[str, ...] = ()
    busiest: str | None = None


def read(
    home: Path | None,
    needed_bytes: int,
    *,
    asked_at: float | None = None,
    port: int | None = None,
    busiest: bool = False,
) -> Readings:
    """Read the machine's state; takes a second.

    ``asked_at``: when specd itself last sent a request to the server, in seconds since 1970.
    ``port``: where LM Studio's server listens on this machine. ``busiest``: whether to watch all
    processes for a second more, where the machine is busy.
    """
    import psutil  # noqa: PLC0415 - 20 ms that a daemon's start need not wait for

    battery = psutil.sensors_battery()
    used = activity.last_used(home, asked_at) if home is not None else None
    unused_s = None if used is None else max(0.0, time.time() - used)
    generating = activity.generating(home, WATCHED_S) if home is not None else None
    in_use = generating or (unused_s is not None and unused_s < USED_S)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    return Readings(
        load_per_core=load,
        on_battery=None if battery is None else not battery.power_plugged,
        free_bytes=psutil.virtual_memory().available,
        needed_bytes=needed_bytes,
        idle_s=sensors.idle_s(),
        unused_s=unused_s,
        generating=generating,
        thermal=sensors.heat(),
        clients=activity.clients(home, port) if home and port and in_use else (),
        busiest=sensors.busiest(WATCHED_S) if busiest and load > BUSY_LOAD else None,
    )


def machine_memory() -> int:
    """Bytes of memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def postponed(readings: Readings, wanted: Benchmark) -> str | None:
    """Why a benchmark should wait, as a sentence; None when it may begin."""
    why = in_the_way(readings, wanted)
    if why is not None:
        return why
    if wanted.only_when_idle and readings.load_per_core > BUSY_LOAD:
        most = f"; busiest now: {readings.busiest}" if readings.busiest else ""
        load = f"load {readings.load_per_core:.1f} per core"
        return f"the machine is busy, {load}{most} (only_when_idle)"
    if readings.thermal not in (None, "nominal"):
        return f"the machine is hot: {readings.thermal}"
    if readings.needed_bytes > readings.free_bytes:
        return (
            f"it needs {readings.needed_bytes / 2**30:.1f} GiB of memory and "
            f"{readings.free_bytes / 2**30:.1f} GiB are free"
        )
    return None


def in_the_way(readings: Readings, wanted: Benchmark) -> str | None:
    """Why a running benchmark should end, as a sentence; None if it may go on.

    Only reasons that the benchmark cannot have caused itself.
    """
    if wanted.only_on_ac and readings.on_battery:
        return "the machine runs on battery (only_on_ac)"
    if not wanted.only_when_idle:
        return None
    if readings.idle_s is not None and readings.idle_s < TYPING_S:
        return f"somebody typed {readings.idle_s:.0f} s ago (only_when_idle)"
    names = ", ".join(readings.clients)
    whom = f"; connected to its server: {names}" if names else ""
    if readings.unused_s is not None and readings.unused_s < USED_S:
        return f"LM Studio was used {readings.unused_s:.0f} s ago{whom} (only_when_idle)"
    if readings.generating:
        return f"LM Studio is generating{whom} (only_when_idle)"
    return None


def needed(*models: Model) -> int:
    """Bytes for all ``models`` in memory together, in one process."""
    return BESIDES + sum(model.size_bytes + cache_bytes(model) for model in models)


def cache_bytes(model: Model) -> int:
    """Bytes of a model's keys and values at ``CONTEXT`` tokens.

    2 (key and value) × layers × key-value heads × head size × bytes × tokens.
    """
    config = _config(model)
    text = config.get("text_config")
    config = text if isinstance(text, dict) else config
    layers = _whole(config.get("num_hidden_layers"))
    heads = _whole(config.get("num_attention_heads"))
    kv_heads = _whole(config.get("num_key_value_heads")) or heads
    size = _whole(config.get("head_dim"))
    if not size and heads:
        size = _whole(config.get("hidden_size")) // heads
    found = 2 * layers * kv_heads * size * _VALUE_BYTES * CONTEXT
    return found or int(model.size_bytes * CACHE_SHARE)


def _config(model: Model) -> dict[str, Any]:
    if model.format != "mlx":
        return {}
    try:
        with (model.path / "config.json").open("rb") as file:
            found = json.loads(file.read(_CONFIG_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _whole(value: object) -> int:
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 24
    return int(value) if usable and isinstance(value, int) else 0
