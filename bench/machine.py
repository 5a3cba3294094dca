"""What the figures were measured on, and the physical limits that no program can beat."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

FSYNCS = 200


@dataclass(frozen=True, slots=True)
class Machine:
    """``fsync_ms`` is the median time of writing and syncing 4 KB to a new file."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    file_system: str
    python: str
    fsync_ms: float
    empty_python_ms: float

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, {self.memory_gib:.0f} GiB; {self.system}; "
            f"{self.file_system}, write + fsync of 4 KB {self.fsync_ms:.2f} ms; "
            f"Python {self.python}, `python -c pass` {self.empty_python_ms:.1f} ms"
        )


def describe(where: Path) -> Machine:
    """The machine this runs on, with the file system that holds ``where``."""
    return Machine(
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_gib=psutil.virtual_memory().total / 2**30,
        system=f"{platform.system()} {platform.release().split('-')[0]}",
        file_system=_file_system(where),
        python=platform.python_version(),
        fsync_ms=median(_fsync_ms(where) for _ in range(FSYNCS)),
        empty_python_ms=median(_empty_python_ms() for _ in range(20)),
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(where: Path) -> str:
    mounts = [
        part for part in psutil.disk_partitions(all=True) if where.is_relative_to(part.mountpoint)
    ]
    return max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"


def _fsync_ms(where: Path) -> float:
    descriptor, name = tempfile.mkstemp(dir=where)
    try:
        started = time.perf_counter()
        os.write(descriptor, bytes(4096))
        os.fsync(descriptor)
        return (time.perf_counter() - started) * 1000
    finally:
        os.close(descriptor)
        Path(name).unlink()


def _empty_python_ms() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return (time.perf_counter() - started) * 1000
