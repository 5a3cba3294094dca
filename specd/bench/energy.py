"""The energy that the processor has used, where the machine counts it (RAPL on Linux).

Counters are those of whole processor packages: other programs' work is in them too. They are
readable by everybody only where the administrator allows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

POWERCAP: Final = Path("/sys/class/powercap")


def joules(root: Path = POWERCAP) -> float | None:
    """Joules used since an arbitrary start; None where nothing is counted or readable."""
    try:
        packages = [
            each
            for each in root.glob("intel-rapl:*")
            if each.name.removeprefix("intel-rapl:").isdigit()
        ]
        told = [int((each / "energy_uj").read_text()) for each in packages]
    except (OSError, ValueError):
        return None
    return sum(told) / 1e6 if told else None
