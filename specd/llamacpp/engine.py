"""Find the llama.cpp of this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """``name`` is for people, with a version; ``command`` plus options starts a server."""

    name: str
    command: tuple[str, ...]


def find(installed: Sequence[Path] = ()) -> LlamaCpp | None:
    """The first ``llama-server`` of ``installed`` that starts, else xllamacpp, else None."""
    for path in installed:
        if _starts(path):
            return LlamaCpp(path.parent.name, (str(path),))
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - slow to import

    try:
        name = f"xllamacpp {version('xllamacpp')}"
    except PackageNotFoundError:
        return None
    return LlamaCpp(name, (sys.executable, "-m", "specd.llamacpp.packaged"))


def packaged() -> bool:
    """Whether xllamacpp is installed, without importing it."""
    return find_spec("xllamacpp") is not None


def _starts(program: Path) -> bool:
    """Whether the program runs here; a build for another graphics card does not."""
    try:
        ran = subprocess.run([program, "--version"], capture_output=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ran.returncode == 0
