"""The status screen: every fault with its next step, at any width, with and without colour."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.cli.look import status
from specd.reconcile.conditions import CONDITIONS
from tests.daemon import Sandbox, until

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def answer(**more: Any) -> dict[str, Any]:
    """A daemon's answer as it stands after a good night."""
    return {
        "version": "0.1.0",
        "state": "healthy",
        "home": "/home/ada/.lmstudio",
        "uptime_s": 7200.0,
        "paused": False,
        "conditions": [
            condition("SettingsApplied", "true", "Applied", "every wanted value stands"),
            condition("Faster", "unknown", "NotMeasured", "not benchmarked yet"),
        ],
        "pairs": [],
        "held": [],
        "last_writes": [],
        "next_benchmark": None,
        "benchmark": None,
        **more,
    }


def condition(
    kind: str, status: str, reason: str, message: str, remedy: str = "", severity: str = "state"
) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "since": "2026-11-24T20:00:00+00:00",
        "remedy": remedy,
        "severity": severity,
    }


PAIR = {
    "main": "qwen3-8b",
    "draft": "qwen3-0.6b",
    "draft_tokens": 3,
    "verdict": "compatible",
    "speedup": 1.31,
    "interval": [1.22, 1.4],
    "gain": "1.31× faster [1.22, 1.40] with 3 draft tokens",
    "measured_at": "2026-11-20T04:30:00+00:00",
    "state": "wanted",
    "why": "measured 1.31× with 3 draft tokens",
    "observed": None,
    "in_use": None,
}

WRITE = {
    "id": 12,
    "time": "2026-11-24T20:00:00+00:00",
    "path": "/home/ada/.lmstudio/settings.json",
    "surface": "settings",
    "state": "written",
    "changes": [{"key": "speculativeDecoding", "old": None, "new": True, "why": "wanted"}],
}


def test_a_fault_is_shown_with_what_to_do_and_what_is_true_without() -> None:
    shown = status.render(
        answer(
            state="degraded",
            conditions=[
                condition(
                    "AppUpToDate",
                    "false",
                    "RestartNeeded",
                    "specd wrote after it started",
                    "restart LM Studio",
                ),
                condition(
                    "CacheAgrees", "false", "Disagrees", "it is wrong", "`specd cache refresh`"
                ),
                condition("Uncontended", "true", "Quiet", "all is quiet"),
            ],
        ),
        80,
        colour=False,
    )
    assert "✗ AppUpToDate           specd wrote after it started\n" in shown
    assert "                        → restart LM Studio\n" in shown
    assert "it is wrong\n                        → `specd cache refresh`\n" in shown
    assert "✓ Uncontended           all is quiet\n" in shown
    assert shown.count("→") == 2


def test_a_pair_is_shown_with_verdict_length_speed_up_and_its_age(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = status.render(answer(pairs=[PAIR], last_writes=[WRITE]), 80, colour=False)
    assert "qwen3-8b ← qwen3-0.6b\n    compatible · 3 draft tokens · 1.31× faster" in shown
    told = " ".join(shown.split())
    assert re.search(r"\[1\.22, 1\.40\] with 3 draft tokens, \d+ d ago", told)


def test_the_last_writes_are_shown_with_time_file_key_and_both_values() -> None:
    path = "/home/ada/.lmstudio/.internal/user-concrete-model-default-config/q/qwen3-8b.json"
    draft = {
        "key": "llm.prediction.speculativeDecoding.draftModel",
        "old": "publisher/" + "long" * 20,
        "new": "qwen3-0.6b",
        "why": "wanted",
    }
    writes = [WRITE, {**WRITE, "id": 7, "path": path, "changes": [draft]}]
    shown = status.render(answer(last_writes=writes), 80, colour=False)
    lines = shown[shown.index("Last writes") :].splitlines()
    assert re.fullmatch(r"   12  \d+ \w+ ago: settings.json", lines[1])
    assert lines[2] == "       speculativeDecoding: (unset) → true"
    assert re.fullmatch(r"    7  \d+ \w+ ago: \.internal/.*/q/qwen3-8b\.json", lines[3])
    told = " ".join(" ".join(lines).split())
    assert f'"publisher/{"long" * 12}… → "qwen3-0.6b"' in told
    assert lines[-3] == "  `specd restore NUMBER` undoes one"
    assert "Last writes\n  nothing that specd wrote stands in the files now\n" in status.render(
        answer(), 80, colour=False
    )


def test_on_a_narrow_terminal_what_is_said_stands_below_the_names() -> None:
    shown = status.render(answer(pairs=[PAIR], paused=True), 40, colour=False)
    assert shown.startswith("specd 0.1.0: healthy · paused · up 2 h\n  · /home/ada/.lmstudio\n")
    assert "✓ SettingsApplied\n    every wanted value stands\n" in shown


def test_paths_under_the_home_directory_are_written_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    elsewhere = {**WRITE, "path": "/home/ada/dotfiles/settings.json"}
    shown = status.render(answer(last_writes=[elsewhere]), 80, colour=False)
    assert "up 2 h · ~/.lmstudio" in shown
    assert "~/dotfiles/settings.json" in shown
    elsewhere = answer(home="/backup/home/ada/.lmstudio")
    assert "/backup/home/ada/.lmstudio" in status.render(elsewhere, 80, colour=False)


@pytest.mark.parametrize("columns", [30, 40, 59, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_unless_a_word_is(columns: int) -> None:
    wordy = "every wanted value stands in LM Studio's own settings " * 3
    shown = status.render(
        answer(
            conditions=[
                condition("TokenizersCompatible", "false", "Incompatible", wordy),
                condition("SettingsApplied", "true", "Applied", wordy),
            ],
            pairs=[{**PAIR, "state": "withdrawn", "why": wordy}],
            last_writes=[WRITE],
            held=["speculativeDecoding"],
            benchmark=f"postponed: {wordy}",
        ),
        columns,
        colour=True,
    )
    for line in ESCAPE.sub("", shown).splitlines()[1:]:
        room = max(columns, 24 + 20)  # a column of text is never narrower than 20
        assert len(line) <= room or len(line.split()) == 1, repr(line)
        assert line == line.rstrip()


@given(text=st.text())
def test_nothing_that_is_shown_can_reach_the_terminal_as_a_command(text: str) -> None:
    shown = status.render(
        answer(
            home=text,
            conditions=[condition("SettingsApplied", "false", "Applied", text)],
            pairs=[{**PAIR, "main": text, "why": text, "state": "missing"}],
            last_writes=[{**WRITE, "path": text}],
            held=[text],
            benchmark=text,
        ),
        80,
        colour=False,
    )
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_colour_is_for_terminals_and_no_color_is_heard(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.running()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in sandbox.specd("status").stdout
    assert "\x1b[32m" in on_a_terminal(sandbox)[0]
    sandbox.env["NO_COLOR"] = "1"
    assert "\x1b" not in on_a_terminal(sandbox)[0]


def on_a_terminal(sandbox: Sandbox, *words: str, seconds: float = 0) -> tuple[str, int]:
    """What ``specd status`` shows on a terminal, ended with Ctrl-C after ``seconds``."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "specd", "status", *words],
        env=sandbox.environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    end = time.monotonic() + seconds
    while True:
        if seconds and time.monotonic() > end:
            process.send_signal(signal.SIGINT)
            seconds = 0  # once: a second one would come while it ends
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.wait(20)


def test_watch_draws_over_itself_until_it_is_interrupted(sandbox: Sandbox) -> None:
    sandbox.running()
    shown, code = on_a_terminal(sandbox, "--watch", seconds=2.5)
    assert shown.count("\x1b[H") >= 2
    assert "\x1b[2J" not in shown  # clearing first is what flickers
    assert code in (0, 1)
    assert "Traceback" not in shown


def test_json_holds_what_programs_rely_on(sandbox: Sandbox) -> None:
    sandbox.running()
    done = sandbox.specd("status", "--json")
    told = json.loads(done.stdout)
    assert {
        "version", "state", "home", "pid", "uptime_s", "conditions", "pairs", "last_write",
        "last_writes", "next_benchmark",
    } <= told.keys()  # fmt: skip
    assert [each["type"] for each in told["conditions"]] == [each.type for each in CONDITIONS]
    assert done.returncode == (0 if told["state"] == "healthy" else 1)


def test_without_a_daemon_json_stays_json(sandbox: Sandbox) -> None:
    done = sandbox.specd("status", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["state"] == "stopped"
    done = sandbox.specd("status")
    assert (done.returncode, done.stdout) == (3, "")
    assert "`specd install`" in done.stderr


def test_a_fault_ends_with_one(sandbox: Sandbox) -> None:
    sandbox.running()
    until(lambda: sandbox.specd("status").returncode == 0, "all is well")
    sandbox.settings.write_text("{")
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "false", "the fault is seen")
    done = sandbox.specd("status")
    assert done.returncode == 1
    assert "→ open and save LM Studio's settings" in done.stdout
