"""What the daemon's loop does with its own configuration; the rest is tested on the whole daemon."""

from __future__ import annotations

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
        path.write_text("")  # as the first half of a save
        timers.after(path, 0.0)
        daemon._look(frozenset())
        assert daemon.bench._given.look().config.speculation == Speculation(ui_level=2)
        assert timers.pending(path)
        daemon._look(frozenset({path}))  # the writer has closed it
        assert daemon.bench._given.look().config.speculation == Speculation()
    finally:
        daemon._close()
