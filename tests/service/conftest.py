"""A user of their own for every test, and stand-ins for launchctl and systemctl on PATH."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from specd.service.program import Program

STANDINS = Path(__file__).parent / "standins"

ODD = "Ünï & <spaced> 100% $HOME"
"""A directory name that breaks whoever pastes paths into XML or unit files."""


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home directory with an odd name, without anything of this machine's."""
    home = tmp_path / ODD
    home.mkdir()
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "SPECD_CONFIG", "LMSTUDIO_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SPECD_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("STANDIN_STATE", str(tmp_path / "standin.json"))
    monkeypatch.setenv("PATH", f"{STANDINS}{os.pathsep}{os.environ['PATH']}")
    return home


@pytest.fixture
def standin(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    """What the stand-in knows: its state, and in "calls" every call made."""

    def read() -> dict[str, Any]:
        path = tmp_path / "standin.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"calls": []}
        return found

    return read


@pytest.fixture
def program(user: Path) -> Program:
    return Program(
        python=user / "bin" / "python3",
        environment={"LMSTUDIO_HOME": str(user / "lm studio")},
        logs=user / "state" / "logs",
        writes=(user / "state", user / "lm studio"),
        leaves=(user / "lm studio" / "models",),
    )
