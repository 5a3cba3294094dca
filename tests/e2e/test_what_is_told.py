"""What leaves the daemon: every write with its undo, the same to all who listen, nothing secret."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

from specd.agent.address import short
from specd.cli import ask
from tests.daemon import SETTINGS, Sandbox, until


def logged(sandbox: Sandbox, *words: str) -> list[dict[str, Any]]:
    done = sandbox.specd("logs", "-n", "1000", "--json", *words)
    return [json.loads(line) for line in done.stdout.splitlines()]


def drift(sandbox: Sandbox, count: int) -> None:
    sandbox.save(counter=count)
    until(lambda: sandbox.applied() and sandbox.read()["counter"] == count, "it is restored")


def test_every_write_is_a_line_with_file_key_old_new_and_what_undoes_it(sandbox: Sandbox) -> None:
    sandbox.running()
    drift(sandbox, 1)
    until(lambda: len(ask.ask("GET", "/v1/journal", state=sandbox.state)) == 2, "both are noted")
    entries = json.loads(sandbox.specd("restore", "--list", "--json").stdout)
    # What is noted before the write is said after it.
    until(lambda: f"put back {entries[-1]['changes'][-1]['key']}" in sandbox.said(), "it is said")
    lines = logged(sandbox)
    for entry, did in zip(entries, ("set", "put back"), strict=True):
        for change in entry["changes"]:
            (line,) = (
                each
                for each in lines
                if each.get("journal") == entry["id"] and each.get("key") == change["key"]
            )
            assert line["file"] == entry["path"] == str(sandbox.settings)
            assert line["message"].startswith(f"{did} {change['key']}: ")
            assert " → true" in line["message"]


def test_listeners_hear_what_the_log_says(sandbox: Sandbox) -> None:
    sandbox.running()
    heard: list[dict[str, Any]] = []

    def listen() -> None:
        with (
            short(sandbox.state / "run" / "specd.sock") as address,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        ):
            connection.connect(address)
            connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: specd\r\n\r\n")
            with connection.makefile("rb") as lines:
                data = (line[6:] for line in lines if line.startswith(b"data: "))
                heard.extend(map(json.loads, data))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    drift(sandbox, 1)
    sandbox.specd("pause")
    until(lambda: any("paused" in each["message"] for each in heard), "the last event is heard")
    so_far = heard.copy()
    said = logged(sandbox)[: len(so_far)]
    assert [each["message"] for each in so_far] == [each["message"] for each in said]
    assert [each["time"] for each in so_far] == [each["time"] for each in said]
    sandbox.stop()
    thread.join(60)
    assert not thread.is_alive()


def test_nothing_secret_is_told_to_anybody(sandbox: Sandbox) -> None:
    secret = str(SETTINGS["hfDownloadToken"])
    sandbox.env["LM_API_TOKEN"] = "the-token-of-the-server"
    sandbox.running()
    drift(sandbox, 1)
    told = [
        sandbox.specd(*words).stdout
        for words in (
            ["status", "--json"], ["logs", "-n", "1000"], ["restore", "--list"], ["diff"],
            ["metrics"], ["report", "-o", "-"], ["doctor"], ["explain", "SettingsApplied"],
        )
    ]  # fmt: skip
    told += [json.dumps(ask.ask("GET", f"/v1/{what}", state=sandbox.state))
             for what in ("status", "plan", "journal", "history")]  # fmt: skip
    told.append((sandbox.state / "logs" / "specd.log").read_text())
    for text in told:
        assert secret not in text
        assert "the-token-of-the-server" not in text
    # What stood in settings.json is kept for its owner alone.
    for path in sandbox.state.rglob("*"):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o077 == 0, path


def test_the_report_holds_every_restored_drift_with_its_time(sandbox: Sandbox) -> None:
    sandbox.running()
    for count in range(1, 4):
        drift(sandbox, count)
    page = sandbox.specd("report", "-o", "-").stdout
    rows = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)
    written = 'data-label="state">written<'
    restored = [each for each in rows if "settings.json" in each and written in each]
    assert len(restored) >= 3, page[-3000:]
    assert all("<time datetime=" in each for each in restored)


def test_a_condition_that_turns_false_reaches_the_desktop_when_asked_for(
    sandbox: Sandbox,
) -> None:
    shown = sandbox.root / "shown"
    program = sandbox.root / "bin" / "notify-send"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> "{shown}"\n')
    program.chmod(0o755)
    sandbox.env["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    sandbox.running()
    sandbox.settings.write_text("{")
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "false", "the fault is seen")
    assert not shown.exists()  # nobody asked for it
    sandbox.save()
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "true", "it is mended")
    sandbox.config.write_text("[agent]\nnotify = true\n")
    sandbox.specd("explain", "ConfigValid")
    until(lambda: "configuration read" in sandbox.said(), "the wish is read")
    sandbox.settings.write_text("{")
    until(lambda: shown.exists() and "settings.json" in Path(shown).read_text(), "it is shown")
    lines = shown.read_text().splitlines()
    assert lines[:3] == ["--app-name=specd", "--", "Something needs your attention"]


def test_a_restart_makes_no_news_of_what_was_known(sandbox: Sandbox) -> None:
    sandbox.running()
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "true", "all is well")
    before = {each["type"]: each["since"] for each in sandbox.status()["conditions"]}
    # Since when is told in seconds; a restart within one could not be told from none.
    until(lambda: _now() > max(before.values()), "a second has passed")
    sandbox.stop()
    sandbox.start()
    for kind in ("ConfigValid", "HomeFound", "SettingsApplied", "Uncontended"):
        assert sandbox.condition(kind)["since"] == before[kind], kind
    after = logged(sandbox)
    started = max(n for n, line in enumerate(after) if line["message"].endswith(" started"))
    news = [line["message"] for line in after[started:]]
    assert not [each for each in news if each.startswith(("HomeFound", "SettingsApplied"))]


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")


def test_the_report_in_the_state_directory_is_its_owners_alone(sandbox: Sandbox) -> None:
    sandbox.running()
    done = sandbox.specd("report")
    assert done.stdout == f"{sandbox.state / 'specd-report.html'}\n"
    assert (sandbox.state / "specd-report.html").stat().st_mode & 0o777 == 0o600
