"""What specd calls on macOS, over stand-ins for its C libraries that do the same to real files."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from specd.files import attributes, exchange, holders, swap
from specd.files.exchange import ExchangeUnsupported

RENAME_SWAP, RENAME_EXCL = 0x2, 0x4  # sys/stdio.h
RENAME_EXCHANGE, RENAME_NOREPLACE = 0x2, 0x1  # linux/fs.h

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stands in for macOS")


class Libc:
    """``renamex_np`` and access control lists, as sys/stdio.h and sys/acl.h have them."""

    def __init__(self, *, exchanges: bool = True) -> None:
        self.calls: list[str] = []
        self.exchanges = exchanges
        self.lists: dict[tuple[int, int], bytes] = {}
        self._linux = ctypes.CDLL(None, use_errno=True)
        self._handles: dict[int, Any] = {}

    def renamex_np(self, one: bytes, other: bytes, flags: int) -> int:
        self.calls.append(f"renamex_np {flags:#x}")
        if not self.exchanges:
            ctypes.set_errno(errno.ENOTSUP)
            return -1
        linux = {RENAME_SWAP: RENAME_EXCHANGE, RENAME_EXCL: RENAME_NOREPLACE}[flags]
        done: int = self._linux.renameat2(-100, one, -100, other, linux)
        return done

    def fcopyfile(self, source: int, target: int, _state: None, flags: int) -> int:
        self.calls.append(f"fcopyfile {flags:#x}")
        for name in os.listxattr(source):
            if name.startswith("user."):
                os.setxattr(target, name, os.getxattr(source, name))
        return 0

    def acl_get_fd_np(self, descriptor: int, kind: int) -> int | None:
        assert kind == 0x100
        found = self.lists.get(_inode(descriptor))
        return None if found is None else self._handle(found)

    def acl_init(self, _count: int) -> int:
        return self._handle(b"")

    def acl_set_fd_np(self, descriptor: int, acl: ctypes.c_void_p, kind: int) -> int:
        assert acl.value is not None
        assert kind == 0x100
        self.lists[_inode(descriptor)] = self._handles[acl.value]
        return 0

    def acl_to_text(self, acl: ctypes.c_void_p, _length: None) -> int:
        assert acl.value is not None
        text = ctypes.create_string_buffer(b"!#acl 1\n" + self._handles[acl.value])
        self._handles[ctypes.addressof(text)] = text
        return ctypes.addressof(text)

    def acl_free(self, _: ctypes.c_void_p) -> int:
        return 0

    def _handle(self, content: bytes) -> int:
        number = len(self._handles) + 1
        self._handles[number] = content
        return number


def _inode(descriptor: int) -> tuple[int, int]:
    facts = os.fstat(descriptor)
    return facts.st_dev, facts.st_ino


class Libproc:
    """``proc_listpidspath`` of libproc.h: who has a path open, event-only descriptors left out."""

    def __init__(self) -> None:
        self.open: list[int] = []
        self.asked: list[tuple[int, bytes, int]] = []

    def proc_listpidspath(
        self, kind: int, _info: int, path: bytes, flags: int, buffer: Any, size: int
    ) -> int:
        assert size == ctypes.sizeof(buffer)
        self.asked.append((kind, path, flags))
        for index, number in enumerate([os.getpid(), *self.open]):
            buffer[index] = number
        return (1 + len(self.open)) * ctypes.sizeof(ctypes.c_int)


@pytest.fixture
def libc(monkeypatch: pytest.MonkeyPatch) -> Libc:
    made = Libc()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(exchange, "_LIBRARY", made)
    monkeypatch.setattr(attributes, "_macos", lambda: made)
    return made


@pytest.fixture
def libproc(monkeypatch: pytest.MonkeyPatch) -> Libproc:
    made = Libproc()
    monkeypatch.setattr(holders, "_libproc", lambda: made)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "settings.json"
    made.write_bytes(b"quiet")
    return made


def shout(content: bytes | None) -> bytes | None:
    return None if content is None or content.isupper() else content.upper()


def nothing(*_: object) -> None:
    pass


@pytest.mark.usefixtures("libproc")
def test_a_file_is_replaced_by_renamex_np(libc: Libc, path: Path):
    assert swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"QUIET"
    assert "renamex_np 0x2" in libc.calls
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("libproc")
def test_where_the_volume_cannot_exchange_it_is_renamed(libc: Libc, path: Path):
    libc.exchanges = False
    with pytest.raises(ExchangeUnsupported):
        exchange.exchange(path, path)
    assert swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"QUIET"


@pytest.mark.usefixtures("libproc")
def test_a_write_between_the_look_and_the_exchange_is_not_lost(libc: Libc, path: Path):
    real = libc.renamex_np
    done = []

    def late(one: bytes, other: bytes, flags: int) -> int:
        if not done:
            done.append(path.write_bytes(b"theirs"))
        return real(one, other, flags)

    libc.renamex_np = late  # type: ignore[method-assign]
    assert swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"THEIRS"


@pytest.mark.usefixtures("libproc")
@pytest.mark.parametrize("had", [None, b"user:STRANGER:allow:read\n"])
def test_the_access_control_list_is_the_files_own_and_not_its_directorys(
    libc: Libc, path: Path, monkeypatch: pytest.MonkeyPatch, had: bytes | None
):
    if had is not None:
        libc.lists[path.stat().st_dev, path.stat().st_ino] = had
    copy = attributes.copy

    def inherited(source: int, facts: os.stat_result, target: int) -> None:
        libc.lists[_inode(target)] = b"user:SOMEBODY:allow:read,inherited\n"
        copy(source, facts, target)

    monkeypatch.setattr(attributes, "copy", inherited)
    assert swap.update(path, shout, before_write=nothing)
    assert libc.lists.get((path.stat().st_dev, path.stat().st_ino), b"") == (had or b"")


@pytest.mark.usefixtures("libc")
def test_while_a_program_has_the_file_open_it_is_written_in_place(libproc: Libproc, path: Path):
    libproc.open = [4_999_999]
    before = path.stat().st_ino
    assert swap.update(path, shout, before_write=nothing)
    assert path.stat().st_ino == before
    assert path.read_bytes() == b"QUIET"
    assert libproc.asked[0] == (1, os.fsencode(path), 2)


@pytest.mark.usefixtures("libc")
def test_one_that_closes_it_in_time_is_waited_for(libproc: Libproc, path: Path):
    libproc.open = [4_999_999]
    asked = libproc.proc_listpidspath

    def closing(*arguments: Any) -> int:
        found = asked(*arguments)
        libproc.open = []
        return found

    libproc.proc_listpidspath = closing  # type: ignore[method-assign]
    before = path.stat().st_ino
    assert swap.update(path, shout, before_write=nothing)
    assert path.stat().st_ino != before
