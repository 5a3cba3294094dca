"""What the daemon's loop does with its own configuration; the rest is tested on the whole daemon."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from specd.agent import daemon as daemons
from specd.agent.daemon import Daemon
from specd.config import Speculation


def test_a_file_that_is_being_written_when_its_timer_is_due_is_read_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMSTUDIO_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("SPECD_MANAGED_CONFIG", str(tmp_path / "managed.toml"))
    monkeypatch.setattr(daemons, "CONFIG_UNFINISHED_S", 3600.0)
    path = tmp_path / "specd.toml"
    path.write_text("[speculation]\nui_level = 2\n")
    daemon = Daemon(path, tmp_path / "state")
    timers = daemon.bench._given.timers
    try:
        path.write_text("# TBD\n")  # as the first part of a save
        timers.after(path, 0.0)
        daemon._look(frozenset())
        assert daemon.bench._given.look().config.speculation == Speculation(ui_level=2)
        assert timers.pending(path)
        daemon._look(frozenset({path}))  # the writer has closed it
        assert daemon.bench._given.look().config.speculation == Speculation()
    finally:
        daemon._close()


@pytest.mark.parametrize("which", ["specd.toml", "managed.toml"])
@pytest.mark.parametrize("leaves", [str, Path.touch], ids=["nothing", "an empty file"])
def test_a_configuration_that_an_editor_saves_anew_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves: Callable[[Path], object], which: str
) -> None:
    monkeypatch.setenv("LMSTUDIO_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("SPECD_MANAGED_CONFIG", str(tmp_path / "managed.toml"))
    path = tmp_path / which
    path.write_text("[speculation]\nui_level = 2\n")
    daemon = Daemon(tmp_path / "specd.toml", tmp_path / "state")
    timers = daemon.bench._given.timers

    def asked() -> Speculation:
        return daemon.bench._given.look().config.speculation

    try:
        daemon._look(frozenset({path}))
        path.unlink()
        leaves(path)
        monkeypatch.setattr(daemons, "CONFIG_UNFINISHED_S", 3600.0)
        for changed in ({path}, set()):
            daemon._look(frozenset(changed))
            daemon._look_at_everything()
            assert asked() == Speculation(ui_level=2)
            assert timers.pending(path)
        path.write_text("[speculation]\nui_level = 3\n")
        daemon._look(frozenset({path}))
        assert asked() == Speculation(ui_level=3)
        path.unlink()
        daemon._look(frozenset({path}))
        monkeypatch.setattr(daemons, "CONFIG_UNFINISHED_S", 0.0)
        timers.after(path, 0.0)  # it stays away
        daemon._look(frozenset())
        assert asked() == Speculation()
    finally:
        daemon._close()
