"""Who may read and write a file stays as it was: real users, groups and access control lists."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from specd.files import swap

STRANGER, GROUP, OTHER_GROUP = 65534, 4, 24  # nobody, adm, cdrom

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="changes owners"),
    pytest.mark.skipif(sys.platform != "linux", reason="POSIX access control lists"),
]

needs_acl = pytest.mark.skipif(shutil.which("setfacl") is None, reason="needs the package acl")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "home" / "settings.json"
    made.parent.mkdir()
    made.write_bytes(b'{"token": "secret"}')
    made.chmod(0o660)
    return made


def acl(path: Path) -> str:
    return subprocess.run(
        ["getfacl", "--omit-header", "--numeric", path], capture_output=True, text=True, check=True
    ).stdout


def setfacl(*words: str, path: Path) -> None:
    subprocess.run(["setfacl", *words, path], check=True)


def rewrite(path: Path) -> None:
    assert swap.update(path, lambda _: b'{"token": "other"}', before_write=lambda *_: None)


def owners(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_uid, facts.st_gid, facts.st_mode & 0o7777


def test_a_setgid_directory_does_not_give_the_file_its_group(path: Path):
    os.chown(path.parent, 0, GROUP)
    path.parent.chmod(0o2775)
    before = owners(path)
    rewrite(path)
    assert owners(path) == before


def test_a_group_that_is_not_the_users_own_stays(path: Path):
    os.chown(path, 0, OTHER_GROUP)
    before = owners(path)
    rewrite(path)
    assert owners(path) == before


@needs_acl
def test_a_default_list_of_the_directory_lets_no_stranger_in(path: Path):
    setfacl("--modify", f"default:user:{STRANGER}:rw", path=path.parent)
    before = acl(path)
    assert str(STRANGER) not in before
    rewrite(path)
    assert acl(path) == before


@needs_acl
@pytest.mark.parametrize("defaults", [False, True])
def test_the_list_of_the_file_stays(path: Path, defaults: bool):
    if defaults:
        setfacl("--modify", f"default:user:{STRANGER}:rwx", path=path.parent)
    setfacl("--modify", f"user:{STRANGER}:r,group:{GROUP}:rw", path=path)
    before = acl(path)
    rewrite(path)
    assert acl(path) == before


@needs_acl
def test_the_unfinished_file_is_nobody_elses_to_read(path: Path, monkeypatch: pytest.MonkeyPatch):
    setfacl("--modify", f"default:user:{STRANGER}:rw", path=path.parent)
    path.parent.chmod(0o777)
    seen: list[str] = []
    write = os.write

    def spying(descriptor: int, content: bytes) -> int:
        seen.append(acl(next(path.parent.glob(".*.specd-part"))))
        return write(descriptor, content)

    monkeypatch.setattr(swap.os, "write", spying)
    rewrite(path)
    assert seen
    assert all(str(STRANGER) not in each for each in seen)


IN_ANOTHER_PROCESS = """
import os, sys
from pathlib import Path
from specd.files import swap
os.setgroups([{group}]); os.setgid({group}); os.setuid({user})
try:
    swap.update(Path(sys.argv[1]), lambda _: b"new", before_write=lambda *_: None)
except swap.SwapError as problem:
    print(type(problem).__name__, problem)
"""


def as_stranger(path: Path, user: int = STRANGER, group: int = GROUP) -> str:
    script = IN_ANOTHER_PROCESS.format(user=user, group=group)
    return subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    ).stdout


def reachable(path: Path) -> None:
    for each in path.parents:
        if str(each) not in ("/", "/tmp"):
            each.chmod(each.stat().st_mode | 0o055)


def test_another_owners_file_is_left_alone_and_that_is_said(path: Path):
    reachable(path)
    os.chown(path, 1, GROUP)
    os.chown(path.parent, 1, GROUP)
    path.parent.chmod(0o775)
    before, content = owners(path), path.read_bytes()
    said = as_stranger(path)
    assert "NotKept" in said
    assert "user 1" in said
    assert owners(path) == before
    assert path.read_bytes() == content
    assert [each.name for each in path.parent.iterdir()] == ["settings.json"]


def test_a_folder_that_may_not_be_written_is_named_itself(path: Path):
    reachable(path)
    os.chown(path, STRANGER, GROUP)
    assert f"ReadOnly {path.parent} may not be written" in as_stranger(path)


def test_a_group_the_user_is_not_in_is_left_alone(path: Path):
    reachable(path)
    os.chown(path, STRANGER, OTHER_GROUP)
    os.chown(path.parent, STRANGER, OTHER_GROUP)
    before, content = owners(path), path.read_bytes()
    said = as_stranger(path)
    assert "NotKept" in said
    assert f"group {OTHER_GROUP}" in said
    assert owners(path) == before
    assert path.read_bytes() == content
