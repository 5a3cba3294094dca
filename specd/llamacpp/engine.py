"""Which llama.cpp there is on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Engine:
    """``name`` is for people, with a version; ``command`` starts a server, its options follow."""

    name: str
    command: tuple[str, ...]


def find(installed: Sequence[Path] = ()) -> Engine | None:
    """The first of the ``llama-server`` programs that starts, else xllamacpp, else None."""
    for path in installed:
        if _starts(path):
            return Engine(path.parent.name, (str(path),))
    try:
        name = f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        return None
    return Engine(name, (sys.executable, "-m", "specd.llamacpp.packaged"))


def _starts(program: Path) -> bool:
    """Whether it runs here: one for another graphics card does not."""
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ran.returncode == 0
