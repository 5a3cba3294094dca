"""What the service manager is to start, and what it may write."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from specd import places
from specd.lmstudio import footprint
from specd.lmstudio.home import Home, NoHome

KEPT = ("SPECD_CONFIG", "SPECD_STATE_DIR", "SPECD_MANAGED_CONFIG", "LMSTUDIO_HOME")
"""Variables that decide where specd looks: the service is to look where its installer did."""


@dataclass(frozen=True, slots=True)
class Program:
    """``python -m specd run``: the interpreter, its surroundings, and its footprint on the disk.

    ``writes`` are directories that may be written to, ``leaves`` directories inside them that may
    not. All paths are absolute.
    """

    python: Path
    environment: dict[str, str]
    logs: Path
    writes: tuple[Path, ...]
    leaves: tuple[Path, ...]


def this_one(home: Home | NoHome) -> Program:
    """The program as it is installed here: the interpreter that runs this very command.

    The interpreter's path is not resolved: a virtual environment is found by the link to it.
    """
    state = places.state_dir()
    touched = footprint.of(home)
    environment = {name: os.environ[name] for name in KEPT if os.environ.get(name)}
    return Program(
        python=Path(sys.executable),
        environment={name: _absolute(value) for name, value in environment.items()},
        logs=places.log_path(state).parent,
        writes=(state, *touched.writes),
        leaves=touched.leaves,
    )


def _absolute(value: str) -> str:
    return str(Path(value).expanduser().absolute())
