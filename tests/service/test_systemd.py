"""The systemd unit: what it says, that systemd reads it, and how systemctl is called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from specd.service import systemd
from specd.service.command import Order, ServiceError
from specd.service.program import Program

State = Callable[[], dict[str, Any]]


def values(unit: bytes, key: str) -> list[str]:
    rows = unit.decode().splitlines()
    return [row.partition("=")[2] for row in rows if row.startswith(f"{key}=")]


def changing_calls(standin: State) -> list[list[str]]:
    asking = ("show", "is-active", "is-enabled")
    return [call[1:] for call in standin()["calls"] if call[1] not in asking]


def test_the_unit_says_how_specd_is_to_run(program: Program) -> None:
    unit = systemd.text(program)
    assert values(unit, "Type") == ["notify"]
    assert values(unit, "Restart") == ["on-failure"]
    assert values(unit, "NoNewPrivileges") == ["yes"]
    assert values(unit, "ProtectSystem") == ["strict"]
    assert values(unit, "MemoryMax") == ["75%"]
    assert values(unit, "WantedBy") == ["default.target"]


def test_only_what_specd_writes_can_be_written(program: Program) -> None:
    [writes] = values(systemd.text(program), "ReadWritePaths")
    [leaves] = values(systemd.text(program), "ReadOnlyPaths")
    assert writes.count('"-') == len(program.writes)
    assert leaves.endswith('models"')


def verified(unit_text: bytes, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """What systemd itself says about a unit."""
    unit = tmp_path / "specd.service"
    unit.write_bytes(unit_text)
    return subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", unit],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        env={"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )


needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="needs systemd-analyze"
)


@needs_systemd
@pytest.mark.parametrize(
    "name", ["", "Anna's", 'a"b', "a\\b", "a\x1bb", "$HOME", "100%", "-p", "\udcff"]
)
def test_systemd_itself_finds_nothing_wrong(program: Program, tmp_path: Path, name: str) -> None:
    # The interpreter has to exist for systemd to be content, odd name and all.
    python = program.python.parent / f"{name}." / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    shown = "" if name == "\udcff" else name  # systemd takes UTF-8 alone in a variable
    odd = replace(
        program, python=python, environment={**program.environment, "SPECD_CONFIG": shown}
    )
    checked = verified(systemd.text(odd), tmp_path)
    mine = [row for row in checked.stderr.splitlines() if "specd" in row]
    assert checked.returncode == 0, checked.stderr
    assert mine == []


@needs_systemd
def test_systemd_itself_would_notice_a_mistake(program: Program, tmp_path: Path) -> None:
    wrong = systemd.text(program).replace(b'"\nEnv', b"\nEnv").replace(b"=notify", b"=notfy")
    assert "notfy" in verified(wrong, tmp_path).stderr


@needs_systemd
def test_a_variable_that_systemd_would_ignore_is_an_error(program: Program, tmp_path: Path) -> None:
    ignored = systemd.text(program).replace(b"\nRestart=", b'\nEnvironment="A=\\xff"\nRestart=')
    assert "Invalid environment assignment" in verified(ignored, tmp_path).stderr
    odd = replace(program, environment={"SPECD_STATE_DIR": "/not utf-8 \udcff"})
    with pytest.raises(ServiceError, match=r"cannot hold the path '/not utf-8 .udcff'"):
        systemd.text(odd)


@given(st.text(st.characters(exclude_characters="\0\n", exclude_categories=["Cs"]), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_path_breaks_out_of_its_place_in_the_unit(name: str) -> None:
    program = Program(Path("/") / name, {"X": name}, Path("/logs"), (Path("/w") / name,), ())
    rows = systemd.text(program).decode().split("\n")
    plain = Program(Path("/p"), {"X": "p"}, Path("/logs"), (Path("/w/p"),), ())
    expected = systemd.text(plain).decode().split("\n")
    assert [row.partition("=")[0] for row in rows] == [row.partition("=")[0] for row in expected]


def test_install_writes_enables_and_starts(program: Program, standin: State) -> None:
    assert systemd.install(program) == [
        f"wrote {systemd.file()}",
        "enabled and started specd.service",
    ]
    assert systemd.file() == Path.home() / ".config/systemd/user/specd.service"
    assert changing_calls(standin) == [
        ["daemon-reload"],
        ["enable", "specd.service"],
        ["restart", "specd.service"],
    ]
    assert systemd.pid() is not None
    assert systemd.detail() == "specd.service is active, enabled"
    assert systemd.install(program)[0] == f"kept {systemd.file()}"


def test_where_the_kernel_gives_no_sandbox_specd_runs_without_and_says_so(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_NO_NAMESPACE", "1")
    said = systemd.install(program)
    assert "without the sandbox" in said[0]
    assert b"ProtectSystem" not in systemd.file().read_bytes()
    assert systemd.pid() is not None


def test_stop_start_restart_and_uninstall(program: Program, standin: State) -> None:
    systemd.install(program)
    systemd.order("stop")
    assert systemd.pid() is None
    systemd.order("start")
    systemd.order("restart")
    assert systemd.pid() is not None
    assert systemd.uninstall() == [
        "stopped and disabled specd.service",
        f"removed {systemd.file()}",
    ]
    assert standin()["enabled"] is False
    assert systemd.pid() is None
    assert systemd.uninstall() == []


def test_verbs_without_an_installed_unit_say_so(user: Path) -> None:
    orders: tuple[Order, ...] = ("start", "stop", "restart")
    for order in orders:
        with pytest.raises(ServiceError, match="`specd install`"):
            systemd.order(order)


def test_a_session_without_systemd_is_told_what_to_do(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_NO_BUS", "1")
    with pytest.raises(ServiceError, match=r"Failed to connect to bus.*enable-linger.*`specd run`"):
        systemd.install(program)
    assert not systemd.file().exists()


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a\u00a0b", r"a\xc2\xa0b"),
        ("a\u202eb", r"a\xe2\x80\xaeb"),
        ("not utf-8 \udcff", r"not utf-8 \xff"),
        ("a\nb", r"a\x0ab"),
    ],
)
def test_what_cannot_be_printed_is_written_as_its_bytes(
    program: Program, name: str, written: str
) -> None:
    odd = replace(program, python=Path("/opt") / name / "python3")
    unit = systemd.text(odd)
    [start] = values(unit, "ExecStart")
    assert start.removeprefix(":/usr/bin/env ").startswith(f'"/opt/{written}/python3"')
    back = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), start.encode())
    assert back.split(b'"')[1] == os.fsencode(odd.python), "as systemd reads it back"
