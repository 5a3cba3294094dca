"""Wrong words, broken pipes, closed streams, no home, and daemons that are not as they should be."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from specd.cli import ask
from specd.cli.models import bench, trial
from tests.daemon import Sandbox


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SPECD_CONFIG": str(tmp_path / "specd.toml"),
        "SPECD_STATE_DIR": str(tmp_path / "state"),
        "SPECD_MANAGED_CONFIG": str(tmp_path / "managed.toml"),
        "LMSTUDIO_HOME": str(tmp_path / "lm"),
    }


def specd(
    environment: dict[str, str], *words: str, script: str = ""
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "specd", *words]
    if script:
        command = ["bash", "-c", script.format(f"{sys.executable} -m specd")]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["statsu"], "did you mean `specd status`?"),
        (["--verison"], "did you mean `specd --version`?"),
        (["status", "--jsn"], "did you mean --json?"),
        (["logs", "--level", "warn"], "choose from"),
        (["config", "shw"], "choose from"),
        (["config", "set", "agent.notfy", "true"], "did you mean agent.notify?"),
        (["config", "validate", "--jsno"], "did you mean --json?"),
        (["completion", "bsh"], "choose from"),
        (["install", "--print", "--platform", "mac"], "choose from"),
        (["install", "--platform", "macos"], "--platform goes with --print"),
        (["explain", "a", "b", "c"], "one condition, one model, or a main and a draft"),
        (["explain", "Fastr"], "did you mean the condition Faster?"),
        (["logs", "-n", "many"], "must be a number of up to 18 digits, not 'many'"),
        ([], ""),
    ],
)
def test_a_wrong_word_is_answered_with_the_nearest_right_one(
    environment: dict[str, str], words: list[str], hint: str
) -> None:
    done = specd(environment, *words)
    assert done.returncode == 2
    assert hint in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["--help", "logs --help", "config show", "man"])
def test_a_reader_who_leaves_is_no_error(environment: dict[str, str], words: str) -> None:
    done = specd(environment, script=f"{{}} {words} | true; echo ${{{{PIPESTATUS[0]}}}}")
    assert done.stdout.strip() in ("0", "141")
    assert done.stderr == ""


def test_a_full_disk_behind_standard_output_is_told(environment: dict[str, str]) -> None:
    done = specd(environment, script="{} --help > /dev/full")
    assert done.returncode == 74
    assert done.stderr == "specd: standard output cannot be written: No space left on device\n"


def test_closed_streams_are_told_where_they_can_be(environment: dict[str, str]) -> None:
    done = specd(environment, script="{} config path >&-")
    assert done.stderr == "specd: standard output is closed, so nothing can be shown\n"
    assert specd(environment, script="{} config path >&- 2>&-").returncode == 0


def test_no_home_directory_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from specd.cli.main import main

    for name in ("HOME", "SPECD_CONFIG", "SPECD_STATE_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without a passwd entry
    assert main(["config", "path"]) == 2
    assert "your home directory is unknown: set HOME" in capsys.readouterr().err


def test_names_that_are_no_text_can_be_shown(environment: dict[str, str], tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\x1b.toml")
    done = specd(
        {**environment, "SPECD_CONFIG": odd, "PYTHONIOENCODING": "ascii"}, "config", "path"
    )
    assert done.returncode == 0
    assert "\\udcff" in done.stdout


Serve = Callable[[bytes | None], None]


@pytest.fixture
def serve(environment: dict[str, str]) -> Iterator[Serve]:
    """Something that listens where the daemon should, and answers every request the same way."""
    path = Path(environment["SPECD_STATE_DIR"]) / "run" / "specd.sock"
    path.parent.mkdir(parents=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    open_ = []

    def start(answer: bytes | None) -> None:
        def work() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                open_.append(connection)
                if answer is not None:
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=work, daemon=True).start()

    yield start
    listening.close()
    for connection in open_:
        connection.close()


def test_no_daemon(environment: dict[str, str]) -> None:
    done = specd(environment, "status")
    assert done.returncode == 3
    assert "specd is not running; `specd install` sets it up" in done.stderr


def test_a_stale_socket(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "state" / "run").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "state" / "run" / "specd.sock"))
    done = specd(environment, "status")
    assert done.returncode == 3
    assert "specd is not running (it left" in done.stderr


@pytest.mark.parametrize("body", [b"{}", b'{"error": "there is none", "paths": ["/v2/status"]}'])
def test_a_daemon_of_another_version(
    environment: dict[str, str], serve: Serve, body: bytes
) -> None:
    serve(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    done = specd(environment, "status")
    assert done.returncode == 5
    assert "another version" in done.stderr
    assert "`specd restart`" in done.stderr


def test_something_else_on_the_socket(environment: dict[str, str], serve: Serve) -> None:
    serve(b"220 smtp ready\r\n")
    done = specd(environment, "status")
    assert done.returncode == 5
    assert "not HTTP" in done.stderr


def test_a_hung_daemon(
    environment: dict[str, str], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(None)
    state = Path(environment["SPECD_STATE_DIR"])
    with pytest.raises(ask.Hung, match=r"no answer within 0.2 s; `specd restart`") as hung:
        ask.ask("GET", "/v1/status", state=state, timeout=0.2)
    assert hung.value.exit_code == 4


@pytest.mark.skipif(sys.platform != "linux", reason="macOS refuses where Linux waits")
def test_where_many_clients_wait_it_waits_its_turn(tmp_path: Path) -> None:
    address = tmp_path / "run" / "specd.sock"
    address.parent.mkdir()
    with contextlib.ExitStack() as open_:
        listening = open_.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(address))
        listening.listen(0)
        waiting = open_.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(str(address))

        def serve() -> None:
            listening.accept()[0].close()
            with listening.accept()[0] as asking:
                asking.recv(65536)
                asking.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        later = threading.Timer(0.3, serve)
        later.start()
        assert ask.ask("GET", "/v1/status", state=tmp_path, timeout=60) == {}
        later.join()


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a socket away")
def test_a_socket_of_another_user(
    environment: dict[str, str], serve: Serve, tmp_path: Path
) -> None:
    serve(None)
    os.chown(tmp_path / "state" / "run" / "specd.sock", 12345, 12345)
    done = specd(environment, "status")
    assert done.returncode == 6
    assert "belongs to user 12345, not to you" in done.stderr


def test_words_may_stand_behind_options() -> None:
    found = trial.parser.parse(["start", "--yes", "main", "--days", "3"])
    assert (found.verb, found.main, found.days, found.yes) == ("start", "main", 3.0, True)
    found = bench.parser.parse(["main", "--quick", "draft", "--json", "other"])
    assert (found.main, found.drafts) == ("main", ["draft", "other"])


def test_a_main_without_a_pair_is_named_when_a_trial_is_asked_for_it(seed: Sandbox) -> None:
    """Another main's pair is configured: it is no reason to say that there is none."""
    assert seed.specd("apply").returncode == 0
    done = seed.specd("trial", "start", "qwen3-4b", "--yes")
    assert done.returncode == 2
    assert "no draft is configured for qwen3-4b" in done.stderr
    assert "no pair of specd.toml" not in done.stderr
