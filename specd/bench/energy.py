"""The energy that the processor has used, where the machine counts it (RAPL on Linux).

The counters cover whole processor packages, so they include other programs' work. Most systems let
only the administrator read them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

POWERCAP: Final = Path("/sys/class/powercap")


def joules(root: Path = POWERCAP) -> float | None:
    """Joules used since an arbitrary start; None if there are no readable counters."""
    try:
        packages = [
            each
            for each in root.glob("intel-rapl:*")
            if each.name.removeprefix("intel-rapl:").isdigit()
        ]
        microjoules = [int((each / "energy_uj").read_text()) for each in packages]
    except (OSError, ValueError):
        return None
    return sum(microjoules) / 1e6 if microjoules else None
