"""A disk that is full, broken or read-only is said; nothing is damaged, and it passes by itself."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Figures
from tests.daemon import SETTINGS, Sandbox, until
from tests.faults.namespaces import MEMORY, Inside, own_namespace

# -- real file systems, in a mount namespace of the daemon's own --------------------------------------


@pytest.fixture
def small_home(sandbox: Sandbox) -> Iterator[Inside]:
    """The home on a file system of its own with room for little more than its settings."""
    sandbox.save()
    inside = Inside(sandbox)
    inside.start(sandbox.home, "64k")
    until(inside.holds_wanted, "the first reconcile")
    yield inside
    inside.end()


@own_namespace
def test_a_full_home_is_said_and_its_files_are_whole(small_home: Inside):
    inside, sandbox = small_home, small_home.sandbox
    inside.halt()
    inside.drift(counter=1)
    inside.fill()
    inside.go_on()
    said = until(
        lambda: (c := sandbox.condition("SettingsApplied"))["status"] == "false" and c, "it is said"
    )
    assert said["reason"] == "WriteFailed"
    assert os.strerror(errno.ENOSPC) in said["message"]
    assert "free some space" in said["message"]
    assert inside.read()["counter"] == 1
    # It tries again meanwhile: what a try needs is there for a moment, but never stays.
    until(lambda: inside.names() == ["filler", "settings.json"], "no temporary file stays")
    inside.empty()
    until(inside.holds_wanted, "restored once there is room")
    assert inside.read()["counter"] == 1
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "true", "and that is said")
    until(lambda: inside.names() == ["settings.json"], "no temporary file stays")


@own_namespace
def test_a_read_only_home_is_said_once_and_recovers_when_it_is_mounted_for_writing(
    small_home: Inside,
):
    inside, sandbox = small_home, small_home.sandbox
    inside.halt()
    inside.drift(counter=1)
    inside.run("mount", "-o", "remount,ro", str(sandbox.home))
    inside.go_on()
    said = until(
        lambda: (c := sandbox.condition("SettingsApplied"))["status"] == "false" and c, "it is said"
    )
    assert said["reason"] == "ReadOnly"
    assert os.strerror(errno.EROFS) in said["message"]
    time.sleep(1)
    errors = [line for line in sandbox.said().splitlines() if " ERROR " in line]
    assert len(errors) == 1
    inside.run("mount", "-o", "remount,rw", str(sandbox.home))
    until(inside.holds_wanted, "restored once it may be written")
    assert inside.read()["counter"] == 1
    until(lambda: inside.names() == ["settings.json"], "no temporary file stays")


@own_namespace
def test_what_cannot_be_noted_in_a_full_state_is_not_written(sandbox: Sandbox):
    sandbox.save()
    inside = Inside(sandbox)
    inside.start(sandbox.state, "512k")
    try:
        until(inside.holds_wanted, "the first reconcile")
        inside.halt()
        # More than fits into what is left of the journal's last block.
        noise = secrets.token_hex(8_192)
        inside.drift(counter=1, noise=noise)
        inside.fill()
        inside.go_on()
        said = until(
            lambda: (c := inside.condition("SettingsApplied"))["status"] == "false" and c,
            "it is said",
        )
        assert "journal" in said["message"]
        assert os.strerror(errno.ENOSPC) in said["message"]
        assert inside.read() == {**SETTINGS, "counter": 1, "noise": noise}
        inside.empty()
        until(inside.holds_wanted, "restored once there is room")
    finally:
        inside.end()


FULL = """
mount -t tmpfs -o nr_inodes=2 none "$1"
exec env PYTHONDONTWRITEBYTECODE=1 "${@:2}"
"""


@own_namespace
def test_a_disk_that_is_full_at_the_start_is_waited_for(sandbox: Sandbox):
    sandbox.save()
    sandbox.state.mkdir()
    inside = Inside(sandbox)
    within = ["unshare", "-U", "-m", "-r", "bash", "-c", FULL, "bash", str(sandbox.state)]
    sandbox.start(wait=False, within=within)
    try:
        until(lambda: os.strerror(errno.ENOSPC) in sandbox.said(), "it is said")
        assert str(sandbox.state) in sandbox.said()
        inside.run("mount", "-o", "remount,nr_inodes=0", str(sandbox.state))
        until(inside.holds_wanted, "applied once there is room")
        until(inside.answers, "and it answers")
    finally:
        inside.end()


@own_namespace
def test_a_history_that_cannot_be_read_on_a_full_disk_is_not_taken_for_damaged(sandbox: Sandbox):
    sandbox.running()
    sandbox.stop()
    inside = Inside(sandbox)
    mount = 'for size in 4096 1; do dd if=/dev/zero of="$1/filler$size" bs=$size; done 2>/dev/null'
    script = MEMORY.replace("shift 2", f"{mount}\nshift 2")
    sandbox.save()
    inside.start(sandbox.state, "2m", script)
    try:
        until(lambda: inside.condition("SpecdWorks")["status"] == "false", "it is said")
        for name in inside.names():
            assert "broken" not in name
            if name.startswith("filler"):
                (inside.seen(sandbox.state) / name).unlink()
        os.kill(inside.pid, signal.SIGHUP)
        until(lambda: inside.condition("SpecdWorks")["status"] == "true", "it is over")
    finally:
        inside.end()


# -- faults that strace feeds to the running daemon ----------------------------------------------------


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    tried = subprocess.run(["strace", "-qq", "true"], capture_output=True, check=False)
    return tried.returncode == 0


traced = pytest.mark.skipif(not can_trace(), reason="needs strace, and leave to trace")


@contextlib.contextmanager
def failing(sandbox: Sandbox, calls: str, error: str) -> Iterator[None]:
    """While the context lasts, these system calls of the daemon fail with that error."""
    assert sandbox.process is not None
    log = sandbox.root / "strace.log"
    inject = [f"--inject={calls}:error={error}", f"--trace={calls}"]
    with subprocess.Popen(
        ["strace", "-f", "-o", str(log), *inject, "-p", str(sandbox.process.pid)],
        stderr=subprocess.PIPE,
    ) as tracing:
        assert tracing.stderr is not None
        while b"attached" not in tracing.stderr.readline():
            assert tracing.poll() is None, "it may not be traced"
        try:
            yield
        finally:
            tracing.send_signal(signal.SIGINT)
            tracing.wait(60)


FAULTS = [
    ("fsync", "EIO", "WriteFailed"),
    ("renameat2", "EDQUOT", "WriteFailed"),
    *(
        pytest.param(*fault, marks=pytest.mark.nightly)
        for fault in (
            ("fdatasync", "EIO", "WriteFailed"),
            ("fsync", "EDQUOT", "WriteFailed"),
            ("renameat2", "EIO", "WriteFailed"),
            ("renameat2", "ENOSPC", "WriteFailed"),
            ("rename", "EACCES", "ReadOnly"),
            ("fchmod", "EROFS", "ReadOnly"),
            ("flock", "EIO", None),
            ("renameat2", "EINVAL", None),
        )
    ),
]


@traced
@pytest.mark.parametrize(("calls", "error", "reason"), FAULTS)
def test_a_call_that_fails_is_said_and_tried_again(
    sandbox: Sandbox, calls: str, error: str, reason: str | None
):
    sandbox.config.write_text("[agent]\nresync_seconds = 2\n")
    sandbox.running()
    with failing(sandbox, calls, error):
        sandbox.save(counter=1)
        if reason is None:
            until(sandbox.applied, "specd does without")
        else:
            said = until(
                lambda: (
                    (c := sandbox.condition("SettingsApplied"))["status"] == "false"
                    and c["reason"] == reason
                    and c
                ),
                "it is said",
            )
            assert os.strerror(getattr(errno, error)) in said["message"]
            assert sandbox.read() == {**SETTINGS, "counter": 1}
            until(lambda: names(sandbox.home) == ["settings.json"], "nothing is left")
    until(sandbox.applied, "restored once the fault is gone")
    assert sandbox.read()["counter"] == 1
    until(lambda: names(sandbox.home) == ["settings.json"], "nothing is left")
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "true", "and that is said")
    listed = json.loads(sandbox.specd("restore", "--list", "--json").stdout)
    assert listed[0]["state"] == "written"
    assert "Traceback" not in sandbox.said()
    assert "a fault in specd" not in sandbox.said()


@traced
@pytest.mark.parametrize(
    "error",
    ["EMFILE", *(pytest.param(e, marks=pytest.mark.nightly) for e in ("ENFILE", "EACCES", "EIO"))],
)
def test_files_that_cannot_be_opened_are_said_and_tried_again(sandbox: Sandbox, error: str):
    sandbox.config.write_text("[agent]\nresync_seconds = 2\n")
    sandbox.running()
    with failing(sandbox, "openat", error):
        sandbox.save(counter=1)
        until(lambda: sandbox.condition("SettingsApplied")["status"] == "false", "it is said")
        assert os.strerror(getattr(errno, error)) in sandbox.condition("SettingsApplied")["message"]
        assert sandbox.read() == {**SETTINGS, "counter": 1}
    until(sandbox.applied, "restored once files can be opened")
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "true", "and that is said")
    assert "Traceback" not in sandbox.said()


@traced
def test_on_a_file_system_without_exchange_every_drift_is_restored(
    sandbox: Sandbox, figures: Figures
):
    sandbox.save()
    sandbox.start(within=["strace", "-f", "-o", "/dev/null", "--inject=renameat2:error=EINVAL"])
    until(sandbox.applied, "the first reconcile")
    for count in range(15):
        sandbox.forgive()
        sandbox.save(rename=count % 2 == 0, counter=count)
        until(sandbox.applied, f"drift {count} is restored")
        assert sandbox.read()["counter"] == count
    until(lambda: names(sandbox.home) == ["settings.json"], "nothing is left")
    figures(drifts=15)


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def test_a_change_that_cannot_be_noted_waits_without_noise_until_it_can(sandbox: Sandbox) -> None:
    often = "[agent]\nresync_seconds = 1\n"
    sandbox.config.write_text(often)
    sandbox.running()
    until(sandbox.applied, "the first reconcile")
    sandbox.specd("restore", "--all")  # what is restored is held, and a change releases it
    journal = sandbox.state / "journal" / "entries.jsonl"
    kept = journal.rename(journal.with_suffix(".kept"))
    journal.mkdir()
    sandbox.config.write_text(f"[speculation]\nui_level = 2\n{often}")
    said = until(
        lambda: (c := sandbox.condition("ConfigValid"))["status"] == "false" and c, "it is said"
    )
    assert "specd cannot follow it yet" in said["message"]
    used = sandbox.cpu_seconds()
    time.sleep(2.5)
    assert sandbox.cpu_seconds() - used < 0.5
    assert sum("cannot follow it yet" in line for line in sandbox.said().splitlines()) == 1
    journal.rmdir()
    kept.rename(journal)
    until(lambda: sandbox.condition("ConfigValid")["status"] == "true", "it is followed")
    until(lambda: sandbox.read().get("userInterfaceComplexityLevel") == 2, "and applied")
