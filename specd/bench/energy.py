"""The energy that the machine uses while it answers.

On Linux from RAPL, the counters of whole processor packages; most systems let only the
administrator read them. On macOS from ``macmon``, if it is installed: one JSON object per line with
the power of processor, graphics and neural engine in watts (``all_power``, its readme). Both
include other programs' work.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Final

POWERCAP: Final = Path("/sys/class/powercap")
SAMPLE_MS: Final = 200
PATIENCE_S: Final = 3.0

_HOMEBREW: Final = "/opt/homebrew/bin:/usr/local/bin:/opt/local/bin"
"""A login agent's PATH on macOS lacks the directories of package managers."""

_PIPE_BYTES: Final = 1 << 20


@contextlib.contextmanager
def meter() -> Iterator[Callable[[], float | None]]:
    """A function that returns the joules used since an arbitrary start; None if unknown."""
    path = f"{os.environ.get('PATH', os.defpath)}:{_HOMEBREW}"
    program = shutil.which("macmon", path=path) if sys.platform == "darwin" else None
    if program is None:
        yield rapl
        return
    command = (program, "pipe", "-i", str(SAMPLE_MS))
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, stdin=nothing, stdout=pipe, stderr=nothing) as process:
        try:
            yield _Macmon(process.stdout.fileno()).joules if process.stdout else rapl
        finally:
            process.kill()


def rapl(root: Path = POWERCAP) -> float | None:
    """Joules counted by RAPL since an arbitrary start; None if there are no readable counters."""
    packages = [each for each in root.glob("intel-rapl:*") if each.name.count(":") == 1]
    try:
        microjoules = [int((each / "energy_uj").read_text()) for each in packages]
    except (OSError, ValueError):
        return None
    return sum(microjoules) / 1e6 if microjoules else None


class _Macmon:
    """Power times time, with the mean power of the samples since the last reading."""

    def __init__(self, output: int) -> None:
        self._output = output
        os.set_blocking(output, False)
        select.select([output], [], [], PATIENCE_S)  # for the first sample
        self._rest = b""
        self._watts: float | None = None
        self._read_at = time.monotonic()
        self._joules = 0.0

    def joules(self) -> float | None:
        """Joules used since the program began; None before its first sample."""
        samples = tuple(self._samples())
        if samples:
            self._watts = fmean(samples)
        now = time.monotonic()
        passed, self._read_at = now - self._read_at, now
        if self._watts is None:
            return None
        self._joules += self._watts * passed
        return self._joules

    def _samples(self) -> Iterator[float]:
        try:
            output = os.read(self._output, _PIPE_BYTES)
        except OSError:  # nothing new
            output = b""
        *lines, self._rest = (self._rest + output).split(b"\n")
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                watts = float(json.loads(line)["all_power"])
                if 0 <= watts < 1e4:
                    yield watts
