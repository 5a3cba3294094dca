from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from specd.lmstudio import activity
from tests.daemon import until

pytestmark = [
    pytest.mark.skipif(
        sys.platform != "linux", reason="macOS runs its own programs only from where they belong"
    ),
    # Processes of LM Studio's name are looked for on the whole machine: one such test at a time.
    pytest.mark.xdist_group("lm-studio"),
]

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program as LM Studio's headless sibling, whose name it then has."""
    started: list[subprocess.Popen[bytes]] = []

    def run(program: str, *words: str) -> subprocess.Popen[bytes]:
        path = tmp_path / "llmster"
        shutil.copy(shutil.which(program) or program, path)
        process = subprocess.Popen([path, *words], stdout=subprocess.DEVNULL)
        started.append(process)
        until(lambda: psutil.Process(process.pid).name() == "llmster", "it has its name")
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def test_lines_of_specds_own_request_are_no_use_of_it(tmp_path: Path) -> None:
    assert activity.last_logged(tmp_path) is None
    log = tmp_path / "server-logs" / "2026-11" / "2026-11-28.1.log"
    log.parent.mkdir(parents=True)
    log.write_text("a line\n")
    os.utime(log, (1000.0, 1000.0))
    assert activity.last_logged(tmp_path, asked_at=1002.0) is None
    for other in (None, 900.0, 1100.0):
        assert activity.last_logged(tmp_path, asked_at=other) == 1000.0


def test_an_lm_studio_that_sleeps_is_not_generating(start: Start, tmp_path: Path) -> None:
    start("sleep", "60")
    assert activity.generating(tmp_path, 0.3) is False


def test_an_lm_studio_that_works_is_generating(start: Start, tmp_path: Path) -> None:
    start("yes")
    until(lambda: activity.generating(tmp_path, 0.3), "it is seen at work")


ASKER = (
    "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); s.recv(1)"
)


def test_a_program_that_is_connected_to_the_server_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert activity.clients(tmp_path, port) == ()
        with subprocess.Popen([sys.executable, "-c", ASKER, str(port)]) as asker:
            accepted, _ = server.accept()
            with accepted, socket.create_connection(("127.0.0.1", port)):
                (found,) = activity.clients(tmp_path, port)  # and not this process's own
            assert found == f"{psutil.Process(asker.pid).name()} (pid {asker.pid})"
            asker.kill()


def test_where_it_does_not_run_nothing_is_known(tmp_path: Path) -> None:
    running = any(p.info["name"] == "llmster" for p in psutil.process_iter(["name"]))
    assert running or activity.generating(tmp_path, 0.1) is None
