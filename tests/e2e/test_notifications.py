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

    def told() -> list[str]:
        # A stand-in of LM Studio that another test runs is seen too, and told of.
        every = shown.read_text().split("END\n") if shown.exists() else []
        return [each for each in every if "specd.toml" in each]

    until(told, "it is shown")
    (once,) = told()
    assert "<b>" not in once
    assert "&lt;b&gt;" in once
