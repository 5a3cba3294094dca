"""What is started, and what it may write."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from specd.lmstudio.home import Home, NoHome
from specd.service import program


def test_the_interpreter_is_the_one_specd_is_installed_in(user: Path) -> None:
    made = program.this_one(Home(user / "lm", "test"))
    assert made.python == Path(sys.executable)
    assert made.python.is_absolute()


def test_the_service_looks_where_its_installer_looked(
    user: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMSTUDIO_HOME", "~/lm")
    monkeypatch.setenv("UNRELATED_TOKEN", "secret")
    made = program.this_one(Home(user / "lm", "test"))
    assert made.environment == {
        "SPECD_STATE_DIR": str(user / "state"),
        "LMSTUDIO_HOME": str(user / "lm"),
    }


def test_a_settings_file_that_lives_elsewhere_may_be_written_there(user: Path) -> None:
    (user / "lm").mkdir()
    (user / "dotfiles").mkdir()
    (user / "dotfiles" / "settings.json").write_text("{}")
    (user / "lm" / "settings.json").symlink_to(user / "dotfiles" / "settings.json")
    made = program.this_one(Home(user / "lm", "test"))
    assert made.writes == (user / "state", user / "lm", (user / "dotfiles").resolve())
    assert user / "lm" / "models" in made.leaves


def test_before_lm_studio_was_ever_started_both_its_places_count(user: Path) -> None:
    looked = (user / ".lmstudio-home-pointer", user / ".cache/lm-studio", user / ".lmstudio")
    made = program.this_one(NoHome("not yet", looked))
    assert made.writes == (user / "state", *looked[1:])
