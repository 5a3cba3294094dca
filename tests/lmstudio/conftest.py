from __future__ import annotations

from pathlib import Path

import pytest

from tests.lmstudio import homes


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home as a user has it, with the models of the first machine specd was made for."""
    return homes.lay_out(tmp_path / "lmstudio")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """An empty models directory."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder
