from __future__ import annotations

import json
import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from specd.lmstudio import app
from tests.daemon import until


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[object]:
    """Starts a copy of ``sleep`` under any name, and ends it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(path: Path) -> subprocess.Popen[bytes]:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(shutil.which("sleep") or "/bin/sleep", path)
        process = subprocess.Popen([path, "60"])
        started.append(process)
        until(lambda: Path(f"/proc/{process.pid}/exe").readlink() == path, "it runs")
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux", reason="macOS runs its own programs only from where they belong"
    ),
    # Processes of LM Studio's name are looked for on the whole machine: one such test at a time.
    pytest.mark.xdist_group("lm-studio"),
]


def found(home: Path | None, pid: int) -> app.Running | None:
    return next((each for each in app.running(home) if each.pid == pid), None)


@pytest.mark.parametrize(("name", "kind"), [("LM Studio", "app"), ("llmster", "llmster")])
def test_a_process_of_lm_studios_name_is_found_with_its_start(
    sleeper: object, tmp_path: Path, name: str, kind: str
) -> None:
    before = datetime.now(UTC).timestamp()
    process = sleeper(tmp_path / name)  # type: ignore[operator]
    running = found(None, process.pid)
    assert running is not None
    assert running.kind == kind
    assert running.started is not None
    # Clock ticks are the unit of process times; a whole second would be too coarse to compare with.
    assert -0.05 < running.started.timestamp() - before < 10


def test_a_process_with_the_number_of_an_earlier_one_is_taken_for_itself(
    tmp_path: Path,
) -> None:
    """As a number that is given out again: the same one, under another name than it had before."""
    program = tmp_path / "llmster"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    waits = f"import os, sys; sys.stdin.read(); os.execv({str(program)!r}, ['llmster', '60'])"
    process = subprocess.Popen([sys.executable, "-c", waits], stdin=subprocess.PIPE)
    try:
        assert found(None, process.pid) is None
        assert process.stdin is not None
        process.stdin.close()
        until(lambda: found(None, process.pid), "it is found under its new name")
    finally:
        process.kill()
        process.wait()


def test_a_process_is_recognised_by_where_it_was_installed(sleeper: object, tmp_path: Path) -> None:
    executable = tmp_path / "opt" / "0.4.16" / "a-program-with-a-long-name"
    process = sleeper(executable)  # type: ignore[operator]
    internal = tmp_path / "home" / ".internal"
    internal.mkdir(parents=True)
    location = internal / "llmster-install-location.json"
    assert found(tmp_path / "home", process.pid) is None
    location.write_text(json.dumps({"path": str(executable), "argv": [], "cwd": ""}))
    running = found(tmp_path / "home", process.pid)
    assert running is not None
    assert (running.kind, running.version) == ("llmster", "0.4.16")


def test_the_version_of_a_mac_app_is_its_bundles(sleeper: object, tmp_path: Path) -> None:
    contents = tmp_path / "LM Studio.app" / "Contents"
    process = sleeper(contents / "MacOS" / "LM Studio")  # type: ignore[operator]
    contents.joinpath("Info.plist").write_bytes(
        plistlib.dumps({"CFBundleShortVersionString": "0.4.16"})
    )
    running = found(None, process.pid)
    assert running is not None
    assert running.version == "0.4.16"


def test_another_process_is_not_lm_studio() -> None:
    assert found(None, os.getpid()) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"path": 7}', '{"path": ""}', "[" * 99_999])
def test_a_location_file_that_is_no_use_is_passed_over(tmp_path: Path, content: str) -> None:
    internal = tmp_path / ".internal"
    internal.mkdir()
    (internal / "app-install-location.json").write_text(content)
    assert found(tmp_path, os.getpid()) is None
