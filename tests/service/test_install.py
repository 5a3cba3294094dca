"""``specd install`` and ``specd uninstall`` with a real daemon, started as each manager starts it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import plistlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from specd import places
from specd.agent import lock
from specd.cli import alive, ask
from specd.cli.look import doctor
from specd.cli.main import main
from specd.cli.setup import install, service, uninstall
from specd.service import launchd, systemd
from specd.service.platforms import PLATFORMS, Platform
from tests.daemon import DEADLINE_S, switch

State = Callable[[], dict[str, Any]]

BEFORE = '{\n  "language": "en",\n  "chat": {"visualizeSpeculativeDecoding": false}\n}\n'


@pytest.fixture
def home(user: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LM Studio's home of a user who has no models yet."""
    made = user / ".lmstudio"
    made.mkdir()
    (made / "settings.json").write_text(BEFORE)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("SPECD_CONFIG", str(user / "config" / "specd.toml"))
    monkeypatch.setenv("SPECD_MANAGED_CONFIG", str(user / "managed.toml"))
    monkeypatch.setenv("STANDIN_LAUNCH", "1")
    return made


@pytest.fixture(params=list(PLATFORMS))
def platform(
    request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Platform]:
    """Each service manager in turn, as if it were this machine's."""
    chosen = PLATFORMS[request.param]
    for module in (install, uninstall, service):
        monkeypatch.setattr(module, "here", lambda: chosen)
    yield chosen
    pid = chosen.pid()
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def until(true: Callable[[], Any], seconds: float = DEADLINE_S) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_install_use_stop_and_uninstall(
    platform: Platform, home: Path, user: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "--yes"]) == 0
    told = capsys.readouterr().out
    assert f"wrote {places.config_file()}" in told
    assert f"wrote {platform.file()}" in told
    assert "visualizeSpeculativeDecoding" in told  # the diff, before anything was written
    status = ask.ask("GET", "/v1/status")
    assert status["pid"] == platform.pid()
    until(lambda: switch(json.loads((home / "settings.json").read_text())))

    # Again, as after an upgrade: nothing is proposed, the service is started afresh.
    assert main(["install", "--yes"]) == 0
    told = capsys.readouterr().out
    assert f"kept {platform.file()}" in told
    assert "stays as it is" in told
    assert alive.report_start() == 0
    assert ask.ask("GET", "/v1/status")["pid"] != status["pid"]

    assert main(["stop"]) == 0
    assert platform.pid() is None
    with pytest.raises(ask.NotRunning):
        ask.ask("GET", "/v1/status")
    assert main(["start"]) == 0
    assert "runs (process" in capsys.readouterr().out

    assert main(["uninstall", "--restore-settings", "--purge"]) == 0
    told = capsys.readouterr().out
    assert f"removed {platform.file()}" in told
    assert f"removed {places.state_dir()}" in told
    assert (home / "settings.json").read_text() == BEFORE
    assert not platform.file().exists()
    assert not places.state_dir().exists()
    assert places.config_file().exists()
    assert main(["uninstall"]) == 0


def test_without_a_terminal_nothing_is_written(
    platform: Platform,
    home: Path,
    user: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert main(["install"]) == 2
    assert "`specd install --yes` goes ahead" in capsys.readouterr().err
    assert not platform.file().exists()
    assert not places.config_file().exists()
    assert (home / "settings.json").read_text() == BEFORE


@pytest.mark.parametrize("answer", ["", "n\n", "maybe\n"])
def test_anything_but_yes_writes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    words = iter([answer]) if answer else iter([])

    def asked(_: str) -> str:
        try:
            return next(words)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", asked)
    assert main(["install"]) == 2
    assert "nothing was written" in capsys.readouterr().out
    assert not places.config_file().exists()


def test_a_number_that_no_draft_has_is_asked_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = iter(["9", "0", "2"])
    monkeypatch.setattr("builtins.input", lambda _: next(words))
    assert install._answer(4) == "2"
    assert capsys.readouterr().out == "there is no draft 9\nthere is no draft 0\n"


def test_what_was_taken_back_and_is_asked_for_anew_is_shown_before_it_is_written(
    platform: Platform, home: Path, user: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install", "--yes"]) == 0
    assert main(["restore", "--all"]) == 0
    assert main(["stop"]) == 0
    capsys.readouterr()
    assert main(["diff"]) == 0
    assert "left alone since you restored it" in " ".join(capsys.readouterr().err.split())
    places.config_file().write_text("[speculation]\nui_level = 2\n")
    for words in (["diff"], ["install"]):
        main(words)
        told = capsys.readouterr().out
        assert "visualizeSpeculativeDecoding" in told, words
        assert "left alone" not in told
    assert main(["install", "--yes"]) == 0
    until(lambda: switch(json.loads((home / "settings.json").read_text())))


def test_a_daemon_started_by_hand_is_not_fought(
    home: Path, user: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "here", lambda: systemd)
    monkeypatch.setattr(alive, "at_work", lambda: 99)
    assert main(["install", "--yes"]) == 1
    assert "runs already as process 99; `specd stop` stops it" in capsys.readouterr().err


def test_a_broken_specd_toml_is_told_before_anything_is_done(
    home: Path, user: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places.config_file().parent.mkdir()
    places.config_file().write_text("[agent]\nnotfy = true\n")
    assert main(["install", "--yes"]) == 2
    assert "specd.toml:2: agent.notfy: is not known" in capsys.readouterr().err
    assert not systemd.file().exists()


@pytest.mark.parametrize("name", list(PLATFORMS))
def test_print_prints_the_file_and_nothing_else(
    home: Path, capsys: pytest.CaptureFixture[str], name: str, standin: State
) -> None:
    assert main(["install", "--print", "--platform", name]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    if name == "macos":
        agent = plistlib.loads(told.out.encode())
        assert agent["ProgramArguments"][-3:] == ["-m", "specd", "run"]
        assert Path(agent["ProgramArguments"][0]).is_absolute()
    else:
        assert told.out.startswith("[Unit]\n")
        assert f'"-{home}'.replace("%", "%%") in told.out
    assert standin()["calls"] == []
    assert not launchd.file().exists()
    assert not systemd.file().exists()


def test_the_doctor_sees_a_healthy_installation(
    platform: Platform,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from specd.cli.look import checks

    monkeypatch.setattr(checks, "here", lambda: platform)
    assert main(["install", "--yes"]) == 0
    capsys.readouterr()
    doctor.run(doctor.parser.parse_args(["--json"]))
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    for name in (
        "Python",
        "specd.toml",
        "state",
        "daemon",
        "service",
        "LM Studio",
        "settings.json",
    ):
        assert found[name]["grade"] == "ok", found[name]
    platform.file().write_bytes(platform.file().read_bytes().replace(b"python", b"perl"))
    doctor.run(doctor.parser.parse_args(["--json"]))
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert found["service"]["grade"] == "fail"
    assert "`specd install`" in found["service"]["remedy"]


def test_a_daemon_that_is_no_service_and_heeds_no_signal_is_stopped(
    platform: Platform,
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alive, "ENDING_S", 0.5)
    script = (
        "import signal, sys, time; from pathlib import Path; from specd.agent import lock\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); lock.hold(Path(sys.argv[1]))\n"
        "print('held', flush=True); time.sleep(600)"
    )
    path = places.lock_path(places.state_dir())
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as hung:
        assert hung.stdout is not None
        assert hung.stdout.readline() == b"held\n"
        for word in ("start", "restart"):
            assert main([word]) == 1
            told = f"specd runs already as process {hung.pid}; `specd stop` stops it"
            assert told in " ".join(capsys.readouterr().err.split())
        assert main(["stop"]) == 0
        assert capsys.readouterr().out == f"stopped process {hung.pid}\n"
        assert hung.wait(DEADLINE_S) == -signal.SIGKILL


def test_a_process_that_has_not_locked_the_directory_is_never_ended(
    home: Path, user: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number in the lock may be another container's."""
    monkeypatch.setattr(service, "here", lambda: systemd)
    path = places.lock_path(places.state_dir())
    held = lock.hold(path)
    with subprocess.Popen(["sleep", "600"]) as other:
        os.pwrite(held, f"{other.pid}\n".ljust(16).encode(), 0)
        assert main(["stop"]) == 1
        told = " ".join(capsys.readouterr().err.split())
        assert f"process {other.pid} did not end" in told
        assert "one in a container is stopped in it" in told
        assert other.poll() is None
        other.kill()
    os.close(held)
