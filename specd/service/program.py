"""The command that the service manager starts, and its writable directories."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from specd import places
from specd.lmstudio.home import Home, NoHome, footprint

KEPT = ("SPECD_CONFIG", "SPECD_STATE_DIR", "SPECD_MANAGED_CONFIG", "LMSTUDIO_HOME")
"""Variables that decide where specd looks; the service gets the installer's values."""


@dataclass(frozen=True, slots=True)
class Program:
    """``python -m specd run``: the interpreter, its environment, and its directories.

    ``writes`` are writable directories, ``leaves`` read-only directories inside them. All paths are
    absolute.
    """

    python: Path
    environment: dict[str, str]
    logs: Path
    writes: tuple[Path, ...]
    leaves: tuple[Path, ...]


def this_one(home: Home | NoHome) -> Program:
    """The program with the interpreter that runs this process.

    The interpreter's path is not resolved: Python finds a virtual environment by the link in it.
    """
    state = places.state_dir()
    writes, leaves = footprint(home)
    given = {name: os.environ[name] for name in KEPT if os.environ.get(name)}
    return Program(
        python=Path(sys.executable),
        environment={k: str(Path(v).expanduser().absolute()) for k, v in given.items()},
        logs=places.log_path(state).parent,
        writes=(state, *writes),
        leaves=leaves,
    )
