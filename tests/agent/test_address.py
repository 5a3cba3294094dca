"""Addresses of long paths on macOS, where no descriptor stands for a directory."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from specd.agent import address


@pytest.fixture
def long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "platform", "darwin")
    return tmp_path / ("long" * 30) / "specd.sock"


def test_a_long_path_has_a_short_address_in_a_private_directory(long: Path) -> None:
    with address.short(long) as first, address.short(long) as again:
        assert first == again
        assert len(first) <= address.LONGEST
        facts = Path(first).parent.lstat()
        assert (facts.st_uid, stat.S_IMODE(facts.st_mode)) == (os.getuid(), 0o700)
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
            listening.bind(first)
            listening.listen()
            client.connect(again)
        Path(first).unlink()
    with address.short(long.with_name("other.sock")) as other:
        assert other != first


def test_a_directory_that_others_have_made_there_is_refused(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_711)
    Path("/tmp/specd-4711").mkdir(mode=0o700, exist_ok=True)
    try:
        with (
            pytest.raises(PermissionError, match="not a private directory of yours"),
            address.short(long),
        ):
            pass
    finally:
        with contextlib.suppress(FileNotFoundError):
            Path("/tmp/specd-4711").rmdir()
