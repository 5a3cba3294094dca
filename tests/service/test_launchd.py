"""The launchd agent: the property list, and how launchctl is called (a stand-in refuses errors)."""

from __future__ import annotations

import os
import plistlib
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specd.service import launchd
from specd.service.command import Order, ServiceError
from specd.service.program import Program

State = Callable[[], dict[str, Any]]
GUI = f"gui/{os.getuid()}"
TARGET = f"{GUI}/local.specd"


def changing_calls(standin: State) -> list[list[str]]:
    return [call for call in standin()["calls"] if call[0] != "print"]


def test_the_property_list_says_how_specd_is_to_run(program: Program) -> None:
    agent = plistlib.loads(launchd.text(program))
    assert agent == {
        "Label": "local.specd",
        "ProgramArguments": [str(program.python), "-P", "-m", "specd", "run"],
        "EnvironmentVariables": program.environment,
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 30,
        "ExitTimeOut": 20,
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Umask": 0o077,
        "StandardOutPath": str(program.logs / "service.out.log"),
        "StandardErrorPath": str(program.logs / "service.err.log"),
    }


def test_no_environment_is_written_where_none_was_set(program: Program) -> None:
    bare = Program(program.python, {}, program.logs, (), ())
    assert "EnvironmentVariables" not in plistlib.loads(launchd.text(bare))


@pytest.mark.skipif(not shutil.which("plistutil"), reason="needs libplist's plistutil")
def test_another_reader_of_property_lists_reads_the_same(program: Program, tmp_path: Path) -> None:
    (tmp_path / "agent.plist").write_bytes(launchd.text(program))
    converted = subprocess.run(
        ["plistutil", "-i", tmp_path / "agent.plist", "-f", "bin", "-o", tmp_path / "agent.bin"],
        check=True,
        capture_output=True,
    )
    assert converted.returncode == 0
    read = plistlib.loads((tmp_path / "agent.bin").read_bytes())
    assert read == plistlib.loads(launchd.text(program))


def test_install_enables_bootstraps_and_kickstarts(program: Program, standin: State) -> None:
    said = launchd.install(program)
    assert said == [f"wrote {launchd.file()}", f"loaded {TARGET}"]
    assert launchd.file() == Path.home() / "Library/LaunchAgents/local.specd.plist"
    assert launchd.file().stat().st_mode & 0o777 == 0o644
    assert changing_calls(standin) == [
        ["enable", TARGET],
        ["bootstrap", GUI, str(launchd.file())],
        ["kickstart", TARGET],
    ]
    assert launchd.pid() is not None
    assert launchd.detail() == f"{TARGET} is running"


def test_installing_again_changes_nothing_and_starts_afresh(
    program: Program, standin: State
) -> None:
    launchd.install(program)
    before = len(changing_calls(standin))
    assert launchd.install(program) == [f"kept {launchd.file()}", f"loaded {TARGET}"]
    assert changing_calls(standin)[before:] == [["kickstart", "-k", TARGET]]


def test_an_upgrade_takes_the_old_agent_out_before_it_loads_the_new(
    program: Program, standin: State
) -> None:
    launchd.install(program)
    before = len(changing_calls(standin))
    moved = Program(Path("/elsewhere/python"), {}, program.logs, (), ())
    launchd.install(moved)
    assert changing_calls(standin)[before:] == [
        ["bootout", TARGET],
        ["enable", TARGET],
        ["bootstrap", GUI, str(launchd.file())],
        ["kickstart", TARGET],
    ]
    held = standin()["services"][TARGET]["agent"]
    assert held["ProgramArguments"][0] == "/elsewhere/python"


def test_over_ssh_the_users_own_domain_is_used(
    program: Program, standin: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_NO_GUI", "1")
    launchd.install(program)
    assert list(standin()["services"]) == [f"user/{os.getuid()}/local.specd"]


def test_stop_start_restart(program: Program, standin: State) -> None:
    launchd.install(program)
    launchd.order("stop")
    assert launchd.pid() is None
    assert launchd.detail() == f"not loaded in {GUI}"
    launchd.order("stop")
    launchd.order("start")
    assert launchd.pid() is not None
    before = len(changing_calls(standin))
    launchd.order("start")
    assert changing_calls(standin)[before:] == []
    launchd.order("restart")
    assert changing_calls(standin)[before:] == [["kickstart", "-k", TARGET]]


def test_uninstall_leaves_nothing_and_may_be_repeated(program: Program, standin: State) -> None:
    launchd.install(program)
    assert launchd.uninstall() == [f"unloaded {TARGET}", f"removed {launchd.file()}"]
    assert standin()["services"] == {}
    assert not launchd.file().exists()
    assert launchd.uninstall() == []


def test_verbs_without_an_installed_agent_say_so(user: Path) -> None:
    orders: tuple[Order, ...] = ("start", "stop", "restart")
    for order in orders:
        with pytest.raises(ServiceError, match="`specd install`"):
            launchd.order(order)


def test_what_launchctl_says_is_passed_on(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Program(Path("relative/python"), {}, program.logs, (), ())
    monkeypatch.setattr(launchd, "GONE_S", 0.1)
    with pytest.raises(ServiceError, match=r"Input/output error.*plutil -lint"):
        launchd.install(broken)


def test_no_launchctl_is_told_in_words(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServiceError, match="there is no launchctl on this machine"):
        launchd.install(program)


@pytest.mark.parametrize("name", ["a\x1bb", "not utf-8 \udcff", "a\rb"])
def test_a_path_that_a_property_list_cannot_hold_is_said(program: Program, name: str) -> None:
    for odd in (
        replace(program, python=Path("/opt") / name / "python3"),
        replace(program, environment={"SPECD_CONFIG": f"/etc/{name}.toml"}),
    ):
        with pytest.raises(ServiceError, match=r"cannot hold the path '/(opt|etc)/"):
            launchd.text(odd)
