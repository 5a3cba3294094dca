"""Desktop notifications: once for what turns false again and again, as plain text."""

from __future__ import annotations

import os

from tests.daemon import Sandbox, until


def test_a_condition_that_flaps_is_notified_of_once_and_plainly(sandbox: Sandbox) -> None:
    shown = sandbox.root / "shown"
    program = sandbox.root / "bin" / "notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" END >> {shown}\n')
    program.chmod(0o755)
    sandbox.env["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    sandbox.config.write_text("[agent]\nnotify = true\n")
    sandbox.running()
    for _ in range(3):
        sandbox.config.write_text('[agent]\nnotify = true\n"<b>x" = 1\n')
        until(lambda: sandbox.condition("ConfigValid")["status"] == "false", "it is invalid")
        sandbox.config.write_text("[agent]\nnotify = true\n")
        until(lambda: sandbox.condition("ConfigValid")["status"] == "true", "it is valid again")
    until(shown.exists, "it is shown")
    told = shown.read_text()
    assert told.count("END") == 1
    assert "specd.toml" in told
    assert "<b>" not in told
    assert "&lt;b&gt;" in told
