from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from specd.files import private


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    private.write(tmp_path / "kept", b"some words")
    assert private.read(tmp_path / "kept") == b"some words"


@pytest.mark.skipif(sys.platform != "linux", reason="needs O_NOATIME")
def test_reading_writes_nothing_not_even_when_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    private.write(kept, b"some words")
    # Where the last reading lies before the last write, the kernel would note this one.
    os.utime(kept, ns=(1_000_000_000, 2_000_000_000))
    private.read(kept)
    assert kept.stat().st_atime_ns == 1_000_000_000
    kept.read_bytes()
    if kept.stat().st_atime_ns == 1_000_000_000:
        pytest.skip("this file system notes no reading")
