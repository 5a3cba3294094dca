"""specd's own small files: whole, its owner's alone, and never written over unread."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from specd.files import private


def test_what_is_written_is_read_and_the_owners_alone(tmp_path: Path):
    path = tmp_path / "small.json"
    assert private.read_json(path) is None
    private.write(path, b'{"a": 1}')
    assert private.read_json(path) == {"a": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["small.json"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON"),
        (b"null", "holds nothing"),
        (b"[" * 100_000, "no JSON"),
        (b"9" * 10_000, "no JSON"),
        (b"\xff", "no JSON"),
    ],
)
def test_what_is_not_understood_is_broken_with_the_reason(tmp_path: Path, content: bytes, why: str):
    path = tmp_path / "small.json"
    path.write_bytes(content)
    with pytest.raises(private.Broken, match=why):
        private.read_json(path)


@pytest.mark.parametrize("size", [0, 1, (1 << 16) + 1, 1 << 20])
def test_a_file_up_to_the_limit_is_read_whole_and_no_larger_one(tmp_path: Path, size: int):
    path = tmp_path / "small.json"
    path.write_bytes(content := os.urandom(size))
    assert private.read(path, size) == content
    path.write_bytes(content + b".")
    with pytest.raises(OSError, match="more than"):
        private.read(path, size)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_of_a_file_without_end_only_so_much_is_read(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(private, "MAX_BYTES", 1 << 20)
    path = tmp_path / "small.json"
    path.symlink_to("/proc/self/pagemap")
    with pytest.raises(private.Broken, match="more than 1 MiB"):
        private.read_json(path)
    with pytest.raises(OSError, match="more than 1 MiB"):
        private.read(path, 1 << 20)


def test_a_file_that_comes_in_small_parts_is_read_whole(tmp_path: Path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(100)))
    whole = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, most: whole(descriptor, min(most, 7)))
    assert private.read(file) == bytes(range(100))


def test_a_fifo_in_its_place_holds_nobody_up(tmp_path: Path):
    os.mkfifo(tmp_path / "small.json")
    with pytest.raises(private.Broken, match="no regular file"):
        private.read_json(tmp_path / "small.json")


def test_set_aside_it_lies_whole_under_a_free_name(tmp_path: Path):
    path = tmp_path / "small.json"
    contents = [b"%d" % number for number in range(5)]
    for content in contents:
        path.write_bytes(content)
        assert private.set_aside(path).read_bytes() == content
    assert not path.exists()
    assert sorted(each.read_bytes() for each in tmp_path.iterdir()) == contents


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
    with pytest.raises(private.Broken):
        private.read_json(kept)
    assert kept.stat().st_atime_ns == 1_000_000_000
    kept.read_bytes()
    if kept.stat().st_atime_ns == 1_000_000_000:
        pytest.skip("this file system notes no reading")


@pytest.mark.parametrize("on_the_way", [".", "state", "state/logs"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, on_the_way: str):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "away")
    for use in (private.read, private.make_directory):
        with pytest.raises(private.LeadsNowhere) as found:
            use(link / on_the_way)
        assert found.value.filename == str(link)
    (tmp_path / "away").mkdir()
    private.make_directory(link / on_the_way)
    with pytest.raises(FileNotFoundError):
        private.read(link / on_the_way / "file")


@pytest.mark.parametrize("name", ["journal", "state", "null"])
def test_only_what_can_be_made_again_is_set_aside_for_a_directory(tmp_path: Path, name: str):
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileExistsError):
        private.make_directory(tmp_path / name)
    with pytest.raises(NotADirectoryError):
        private.make_directory(tmp_path / name / "logs")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    os.mkfifo(tmp_path / "logs")
    private.make_directory(tmp_path / "logs")
    assert (tmp_path / "logs").is_dir()
