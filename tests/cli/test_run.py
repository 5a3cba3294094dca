"""``specd run`` by hand: a terminal shows what it does, and cannot hold it up."""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import shutil
import subprocess
import sys
import threading

import pytest

from tests.daemon import DEADLINE_S, Sandbox, until


def on_a_terminal(sandbox: Sandbox) -> tuple[int, list[bytes]]:
    """Start the daemon on a terminal; its descriptor, and what it has shown so far."""
    ours, theirs = pty.openpty()
    sandbox.process = subprocess.Popen(
        [sys.executable, "-m", "specd", "run"],
        env=sandbox.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    return ours, []


def test_a_terminal_shows_what_is_done_as_it_is_done(sandbox: Sandbox) -> None:
    sandbox.save()
    ours, shown = on_a_terminal(sandbox)

    def read() -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(ours, 4096):
                shown.append(chunk)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    until(lambda: b"ready" in b"".join(shown), "it is shown")
    text = b"".join(shown).decode()
    assert text.startswith("specd works until Ctrl-C.")
    assert "set configPresetInclusiveness.speculativeDecoding: (unset) → true" in text.replace(
        "\r\n          ", " "
    )
    assert sandbox.stop() == 0
    reader.join(60)
    os.close(ours)


def test_a_terminal_that_nobody_reads_or_that_is_gone_holds_nothing_up(sandbox: Sandbox) -> None:
    sandbox.save()
    ours, _ = on_a_terminal(sandbox)
    until(sandbox.applied, "the first reconcile")
    for count in range(100):
        sandbox.save(counter=count)
        until(sandbox.applied, "it is restored")
        if count % 4 == 3:  # the fifth in a row would make it wait
            assert sandbox.specd("apply").returncode == 0
    os.close(ours)
    sandbox.save(counter=100)
    until(sandbox.applied, "it is restored without a terminal")
    assert sandbox.stop() == 0


def test_a_service_shows_nothing(sandbox: Sandbox) -> None:
    sandbox.running()
    assert sandbox.stop() == 0
    assert (sandbox.root / "daemon.out").read_bytes() == b""


def test_a_second_one_says_how_the_first_is_stopped(sandbox: Sandbox) -> None:
    sandbox.running()
    assert sandbox.process is not None
    done = sandbox.specd("run")
    assert done.returncode == 2
    assert f"another specd (process {sandbox.process.pid}) works with" in done.stderr
    assert "`specd stop` stops it" in done.stderr
    assert sandbox.specd("stop").stdout == f"stopped process {sandbox.process.pid}\n"
    assert sandbox.process.wait(DEADLINE_S) == 0


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can give a folder away"
)
def test_a_journal_that_belongs_to_root_since_a_sudo_is_said_with_what_helps(
    sandbox: Sandbox,
) -> None:
    state = sandbox.root / "Application Support" / "specd"
    journal = state / "journal"
    journal.mkdir(mode=0o700, parents=True)
    state.chmod(0o700)
    os.chown(journal, 12345, 12345)
    ordinary = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    done = subprocess.run(
        [*ordinary, sys.executable, "-m", "specd", "run"],
        env=sandbox.environment | {"SPECD_STATE_DIR": str(state)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"{journal}/entries.jsonl: Permission denied" in done.stderr.replace("\n  ", " ")
    command = f'sudo chown -R "$USER" {shlex.quote(str(state))}'
    assert f"`{command}` helps" in done.stderr.replace("\n  ", " ")
