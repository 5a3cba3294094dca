"""What the user took back stays taken back, whatever happens to the file that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from specd.reconcile.held import HeldKeys
from specd.reconcile.journal import Change, Journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state" / "journal")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "holds.json"


@pytest.fixture
def held(path: Path, journal: Journal) -> HeldKeys:
    return HeldKeys(path, journal)


def test_only_what_was_not_held_before_is_newly_held(held: HeldKeys, tmp_path: Path):
    assert held.read() == frozenset()
    held.hold(tmp_path / "a", ["x", "y"])
    assert held.hold(tmp_path / "a", ["x", "z"]) == {(str(tmp_path / "a"), "z")}
    assert len(held.read()) == 3
    held.release()
    assert held.read() == frozenset()


def test_held_values_are_the_owners_alone(held: HeldKeys, path: Path):
    held.hold(path, ["x"])
    assert path.stat().st_mode & 0o777 == 0o600


BROKEN = [
    b"",
    b"{}",
    b"null",
    b'"text"',
    b"7",
    b"[1, 2]",
    b'[["a"], ["a", 1], {"a": "b"}, null]',
    b"[" * 100_000,
    b"\xff\xfe",
    b'[["a", "b"',
    b'["' + b"x" * (5 << 20) + b'"]',
]


def take_back(journal: Journal, path: Path, key: str) -> None:
    """A write of ``key`` that was undone, as far as the journal tells."""
    change = Change(key, (key,), False, True, "wanted")
    number = journal.intend(path, b"old", b"new", (change,), surface="settings", by="test")
    journal.settle(number, written=True)
    journal.restored(number)


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
def test_while_the_file_is_broken_all_that_was_ever_taken_back_is_held(
    held: HeldKeys, journal: Journal, path: Path, content: bytes
):
    take_back(journal, path / "settings.json", "switch")
    path.write_bytes(content)
    assert held.read() == {(str(path / "settings.json"), "switch")}
    assert path.read_bytes() == content


@pytest.mark.parametrize("content", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("write", ["hold", "let_go", "release", "mend"])
def test_a_broken_file_is_moved_aside_whole_before_it_is_written_anew(
    held: HeldKeys, journal: Journal, path: Path, content: bytes, write: str
):
    take_back(journal, path, "before")
    path.write_bytes(content)
    known, more = {(str(path), "before")}, {(str(path), "x")}
    if write == "hold":
        assert held.hold(path, ["x"]) == more
        known |= more
    elif write == "let_go":
        held.let_go(frozenset(more))
    elif write == "release":
        held.release()
        known = set()
    else:
        said = held.mend()
        assert said is not None
        assert said.startswith(f"{path} was broken (")
        assert held.mend() is None
    if write != "mend":
        assert f"{path} was broken (" in (held.mend() or "")
    assert held.mend() is None
    assert held.read() == known
    (aside,) = path.parent.glob("holds.json.broken-*")
    assert aside.read_bytes() == content


def test_what_is_still_understood_of_a_broken_file_stays_held(held: HeldKeys, path: Path):
    path.write_bytes(b'[["/a", "x"], ["/b", "y", "of a later specd"]]')
    assert held.read() == {("/a", "x")}
    held.hold(Path("/c"), ["z"])
    assert held.read() == {("/a", "x"), ("/c", "z")}


def test_broken_twice_in_a_second_both_are_kept(held: HeldKeys, path: Path):
    for content in (b"first", b"second"):
        path.write_bytes(content)
        assert held.mend() is not None
    kept = [each.read_bytes() for each in path.parent.glob("holds.json.broken-*")]
    assert sorted(kept) == [b"first", b"second"]


def test_a_file_that_cannot_be_read_is_left_alone_and_holds_what_the_journal_knows(
    held: HeldKeys, journal: Journal, path: Path
):
    take_back(journal, path, "before")
    path.symlink_to(path)
    assert held.read() == {(str(path), "before")}
    with pytest.raises(OSError, match="symbolic links"):
        held.hold(path, ["x"])
    assert path.readlink() == path
