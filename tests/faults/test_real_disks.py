"""Faults that real file systems make, where the machine lets the tests mount some.

Root alone may attach an image to a loop device, so elsewhere these are skipped; what strace feeds
to the daemon (``test_disk.py``) runs more widely.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Figures
from tests.daemon import SETTINGS, Sandbox, until
from tests.faults.namespaces import Inside

QUOTA = """
set -e
mkdir "$2/disk" && truncate -s 128M "$2/image" && mkfs.btrfs -q "$2/image"
mount -o loop "$2/image" "$2/disk"
btrfs quota enable "$2/disk" && btrfs subvolume create "$2/disk/home"
cp -a "$1/." "$2/disk/home" && mount --bind "$2/disk/home" "$1"
shift 2 && exec "$@"
"""
"""A home on btrfs that can be given a quota."""

BROKEN = """
set -e
mkdir "$2/disk" && truncate -s 128M "$2/image" && mkfs.btrfs -q "$2/image"
mount -o loop "$2/image" "$2/disk"
btrfs quota enable "$2/disk" && btrfs subvolume create "$2/disk/home"
truncate -s 16M "$2/disk/home/image"
mkfs.ext4 -q -O ^has_journal -E lazy_itable_init=0 "$2/disk/home/image"
mkdir "$2/mounted" && mount -o loop,errors=continue "$2/disk/home/image" "$2/mounted"
cp -a "$1/." "$2/mounted" && mount --bind "$2/mounted" "$1"
shift 2 && exec "$@"
"""
"""A home on ext4 whose disk lies in a file under a quota: the disk fails when that is full."""

WITHOUT_EXCHANGE = """
set -e
truncate -s 16M "$2/image" && mkfs.ext4 -q -O ^has_journal -d "$1" "$2/image"
fuse2fs -f -o fakeroot,allow_other,nonempty "$2/image" "$1" &
until mountpoint -q "$1"; do sleep 0.01; done
shift 2 && exec "$@"
"""
"""A home that a program serves, which knows no exchange of two names."""


def can(script: str) -> bool:
    """Whether root, in an empty directory and with mounts of its own, may do this here."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory() as work:
        tried = subprocess.run(
            ["timeout", "20", "unshare", "-m", "sh", "-c", f"mkdir disk && {script}"],
            cwd=work,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    return tried.returncode == 0


MOUNTED = "truncate -s 128M image && mkfs.{0} -q image && mount image disk"
SERVED = (
    "truncate -s 16M image && mkfs.ext4 -q -O ^has_journal image && "
    "fuse2fs -o fakeroot image disk && mountpoint -q disk && umount disk"
)

btrfs = pytest.mark.skipif(
    shutil.which("btrfs") is None or not can(MOUNTED.format("btrfs")),
    reason="needs root, loop devices and btrfs",
)
ext4 = pytest.mark.skipif(
    not can(MOUNTED.format("ext4")), reason="needs root, loop devices and ext4"
)
fuse = pytest.mark.skipif(
    shutil.which("fuse2fs") is None or not can(SERVED),
    reason="needs root and fuse2fs",
)

Mounted = Callable[[str], Inside]


@pytest.fixture
def mounted(sandbox: Sandbox) -> Iterator[Mounted]:
    """Start the daemon with its home mounted by a script, and wait for the first reconcile."""
    made: list[Inside] = []

    def start(script: str) -> Inside:
        work = sandbox.root / "work"
        work.mkdir()
        sandbox.config.write_text("[agent]\nresync_seconds = 2\n")
        sandbox.save()
        inside = Inside(sandbox, as_root=True)
        made.append(inside)
        inside.start(sandbox.home, str(work), script)
        until(inside.holds_wanted, "the first reconcile")
        return inside

    yield start
    for each in made:
        each.end()


def limit(inside: Inside, size: str, directory: Path) -> None:
    """Set a quota on the btrfs subvolume that the directory is."""
    inside.run("btrfs", "filesystem", "sync", str(directory))
    inside.run("btrfs", "qgroup", "limit", size, str(directory))


def said_and_recovered(inside: Inside, error: int, heal: Callable[[], None]) -> None:
    """The fault is a condition, damages nothing, and passes without a restart."""
    sandbox = inside.sandbox
    said = until(
        lambda: (c := sandbox.condition("SettingsApplied"))["status"] == "false" and c, "it is said"
    )
    assert said["reason"] == "WriteFailed"
    assert os.strerror(error) in said["message"]
    assert inside.read() == {**SETTINGS, "counter": 1}
    heal()
    until(inside.holds_wanted, "restored once the fault is gone")
    assert inside.read()["counter"] == 1
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "true", "and that is said")
    assert "Traceback" not in sandbox.said()
    assert "a fault in specd" not in sandbox.said()
    listed = json.loads(sandbox.specd("restore", "--list", "--json").stdout)
    assert len(listed) == 2


@btrfs
def test_a_quota_that_is_used_up_is_said_and_passes(mounted: Mounted):
    inside = mounted(QUOTA)
    home = inside.sandbox.home
    inside.halt()
    inside.drift(counter=1)
    limit(inside, "1M", home)
    inside.fill()
    inside.go_on()

    def heal() -> None:
        inside.empty()
        inside.run("btrfs", "filesystem", "sync", str(home))

    said_and_recovered(inside, errno.EDQUOT, heal)
    until(lambda: inside.names() == ["settings.json"], "no temporary file stays")


@btrfs
@ext4
def test_a_disk_that_fails_is_said_and_passes(mounted: Mounted):
    inside = mounted(BROKEN)
    below = inside.sandbox.root / "work" / "disk" / "home"
    inside.halt()
    inside.drift(counter=1)
    inside.run("sync", "-f", str(inside.sandbox.home))
    limit(inside, "32K", below)
    inside.go_on()
    said_and_recovered(
        inside, errno.EIO, lambda: inside.run("btrfs", "quota", "disable", str(below.parent))
    )


@ext4
@fuse
def test_on_a_real_file_system_without_exchange_every_drift_is_restored(
    mounted: Mounted, figures: Figures
):
    inside = mounted(WITHOUT_EXCHANGE)
    for count in range(15):
        inside.sandbox.forgive()
        inside.drift(counter=count)
        until(inside.holds_wanted, f"drift {count} is restored")
        assert inside.read()["counter"] == count
    until(lambda: inside.names() == ["lost+found", "settings.json"], "nothing is left")
    figures(drifts=15)
