"""Replacing a file's content: nobody's update is lost, and nothing but the content changes."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from specd import places
from specd.files import exchange as exchanges
from specd.files import swap
from specd.files.exchange import ExchangeUnsupported, move_to_free_name
from specd.files.jsonedit import MAX_BYTES, NotUnderstood

Write = Callable[[Path, bytes], None]


def nothing(*_: object) -> None:
    """A ``before_write`` that notes nothing."""


def shout(content: bytes | None) -> bytes | None:
    """A transform: everything in capitals; nothing to do where it is."""
    if content is None:
        return None
    upper = content.upper()
    return None if upper == content else upper


def in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def truncating(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def by_rename(path: Path, content: bytes) -> None:
    beside = path.with_name("theirs.tmp")
    beside.write_bytes(content)
    beside.replace(path)


WAYS = [in_place, truncating, by_rename]


@pytest.fixture(params=["exchange", "no exchange"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test below holds with and without a file system that exchanges."""
    if request.param == "no exchange":

        def unsupported(one: Path, other: Path) -> None:
            raise ExchangeUnsupported(errno.EINVAL, "not here")

        monkeypatch.setattr(swap, "exchange", unsupported)
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "home" / "settings.json"
    made.parent.mkdir()
    made.write_bytes(b"quiet")
    return made


def alone(path: Path) -> bool:
    """Whether nothing else lies in the file's directory."""
    return [each.name for each in path.parent.iterdir()] == [path.name]


# -- the content, and nothing else ----------------------------------------------------------------


@pytest.mark.usefixtures("platform")
def test_the_content_is_replaced_and_told(path: Path):
    noted: list[tuple[Path, bytes | None, bytes]] = []
    written = swap.update(path, shout, before_write=lambda *what: noted.append(what))
    assert path.read_bytes() == b"QUIET"
    assert written == swap.Written(path, b"quiet", b"QUIET")
    assert noted == [(path, b"quiet", b"QUIET")]
    assert alone(path)


@pytest.mark.parametrize("size", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 3 << 16])
def test_a_file_of_any_length_is_read_whole(path: Path, size: int):
    path.write_bytes(content := os.urandom(size))
    assert swap.update(path, lambda read: (read or b"") + b".", before_write=nothing)
    assert path.read_bytes() == content + b"."


def test_a_file_that_the_system_hands_out_in_parts_is_read_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = b"x" * 5_000
    path.write_bytes(whole)
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, at: read(file, min(size, 999), at))
    seen: list[bytes | None] = []
    swap.update(path, seen.append, before_write=lambda *_: None)
    assert seen == [whole]


def test_nothing_to_do_touches_nothing(path: Path):
    swap.update(path, shout, before_write=nothing)
    before = path.stat()
    assert swap.update(path, shout, before_write=nothing) is None
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.usefixtures("platform")
def test_mode_owner_and_attributes_stay(path: Path):
    path.chmod(0o640)
    with contextlib.suppress(OSError):
        os.setxattr(path, "user.colour", b"red")
    if os.geteuid() == 0:
        os.chown(path, 12_345, 54_321)
    before = path.stat()
    swap.update(path, shout, before_write=nothing)
    after = path.stat()
    assert path.read_bytes() == b"QUIET"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )
    if "user.colour" in os.listxattr(path):
        assert os.getxattr(path, "user.colour") == b"red"


def test_a_new_file_is_made_with_its_directories(tmp_path: Path):
    path = tmp_path / "a" / "b" / "new.json"
    assert swap.update(path, lambda _: b"made", before_write=nothing)
    assert path.read_bytes() == b"made"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert alone(path)


def test_no_directory_is_made_for_nothing(tmp_path: Path):
    path = tmp_path / "a" / "new.json"
    assert swap.update(path, lambda _: None, before_write=nothing) is None
    assert not path.parent.exists()


@pytest.mark.usefixtures("platform")
def test_a_symlink_is_followed_and_stays_one(path: Path):
    link = path.parent.parent / "link.json"
    link.symlink_to(path)
    assert swap.update(link, shout, before_write=nothing).path == path
    assert link.is_symlink()
    assert path.read_bytes() == b"QUIET"


def test_a_file_with_another_name_stays_the_file_of_both(path: Path):
    other = path.parent.parent / "other.json"
    os.link(path, other)
    swap.update(path, shout, before_write=nothing)
    assert (path.read_bytes(), other.read_bytes()) == (b"QUIET", b"QUIET")
    assert path.samefile(other)
    assert alone(path)


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("content", [b"shorter", b"much longer than what stands there"])
def test_a_program_that_keeps_the_file_open_goes_on_writing_into_the_same_file(
    path: Path, content: bytes
):
    path.write_bytes(b"what stands there")
    with path.open("r+b", buffering=0) as kept:
        assert swap.update(path, lambda _: content, before_write=nothing)
        assert kept.read() == content, "it sees what was written"
        kept.seek(0)
        kept.write(b"theirs")
        kept.truncate()
    assert path.read_bytes() == b"theirs", "and what it writes later is not lost"
    assert alone(path)


def test_who_watches_the_file_goes_on_watching_it_while_a_program_keeps_it_open(path: Path):
    before = path.stat().st_ino
    with path.open("ab"):
        swap.update(path, shout, before_write=nothing)
    assert path.stat().st_ino == before


@pytest.mark.parametrize("cut", [0, 1, 4, 10])
def test_a_write_in_place_that_was_cut_short_is_finished(path: Path, cut: int):
    old, new = b'{"a": "old"}', b'{"a": "new", "b": [1, 2]}'
    beside = left(path, new, old, new)
    beside = beside.rename(beside.with_suffix(".specd-over"))
    path.write_bytes(new[:cut] + old[cut:] if cut < 5 else new[:-3])
    standing = path.read_bytes()
    outcome = swap.recover(path.parent)
    half = cut == 10
    assert [each.outcome for each in outcome] == ["finished" if half else "removed"]
    assert path.read_bytes() == (new if half else standing)
    assert alone(path)


def test_what_another_program_wrote_after_a_cut_short_write_stays(path: Path):
    old, new = b'{"a": 1}', b'{"a": 2}'
    beside = left(path, new, old, new)
    beside.rename(beside.with_suffix(".specd-over"))
    path.write_bytes(b'{"a": 3}')
    assert [each.outcome for each in swap.recover(path.parent)] == ["removed"]
    assert path.read_bytes() == b'{"a": 3}'


def test_a_leftover_of_a_living_process_is_let_be_for_a_while(path: Path):
    with subprocess.Popen(["sleep", "60"]) as other:
        name = f".{path.name}.{other.pid}.{short(b'quiet')}-{short(b'QUIET')}.specd-swap"
        beside = path.with_name(name)
        beside.write_bytes(b"QUIET")
        assert swap.recover(path.parent) == ()
        old = time.time() - 60
        os.utime(beside, (old, old))
        assert [each.outcome for each in swap.recover(path.parent)] == ["removed"]
        other.kill()


# -- somebody else writes in between ----------------------------------------------------------------


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("write", WAYS)
def test_written_while_specd_thinks_theirs_is_the_start_of_the_next_attempt(
    path: Path, write: Write
):
    once = iter([True])

    def transform(content: bytes | None) -> bytes | None:
        if next(once, False):
            write(path, b"theirs")
        return shout(content)

    written = swap.update(path, transform, before_write=nothing)
    assert path.read_bytes() == b"THEIRS"
    assert written.before == b"theirs"
    assert alone(path)


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("write", WAYS)
def test_written_after_the_last_look_before_the_exchange_it_is_not_lost(path: Path, write: Write):
    once = iter([True])

    def noting(*_: object) -> None:
        if next(once, False):
            write(path, b"theirs")

    assert swap.update(path, shout, before_write=noting)
    assert path.read_bytes() == b"THEIRS"
    assert alone(path)


@pytest.mark.parametrize("write", WAYS)
def test_written_after_the_exchange_it_is_not_lost(
    path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
):
    once = iter([True])

    def exchange(one: Path, other: Path) -> None:
        exchanges.exchange(one, other)
        if next(once, False):
            write(path, b"theirs")

    monkeypatch.setattr(swap, "exchange", exchange)
    swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"theirs"
    swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"THEIRS"
    assert alone(path)


@pytest.mark.skipif(sys.platform != "linux", reason="read leases")
@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize("when", ["before specd writes", "afterwards"])
def test_a_writer_that_has_the_file_open_may_still_write(path: Path, when: str):
    opened = path.open("r+b", buffering=0)

    def write() -> None:
        if not opened.closed:
            opened.write(b"their")
            opened.close()

    swap.update(
        path, shout, before_write=lambda *_: write() if when == "before specd writes" else None
    )
    write()
    swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"THEIR"
    assert alone(path)


@pytest.mark.usefixtures("platform")
def test_removed_in_between_it_is_not_made_again(path: Path):
    swap.update(path, shout, before_write=lambda *_: path.unlink(missing_ok=True))
    assert list(path.parent.iterdir()) == []


@pytest.mark.usefixtures("platform")
def test_made_by_others_in_between_theirs_is_kept(tmp_path: Path):
    path = tmp_path / "new.json"
    once = iter([True])

    def noting(*_: object) -> None:
        if next(once, False):
            path.write_bytes(b"theirs")

    def transform(content: bytes | None) -> bytes | None:
        return b"ours" if content is None else shout(content)

    swap.update(path, transform, before_write=noting)
    assert path.read_bytes() == b"THEIRS"
    assert alone(path)


@pytest.mark.parametrize("way", ["symlink", "directory"])
def test_replaced_by_something_else_in_between_that_stays(path: Path, way: str):
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.json").write_bytes(b"secret")
    once = iter([True])

    def noting(*_: object) -> None:
        if next(once, False):
            path.unlink()
            if way == "symlink":
                path.symlink_to(elsewhere / "secret.json")
            else:
                path.mkdir()

    with contextlib.suppress(swap.SwapError):
        swap.update(path, shout, before_write=noting)
    assert (elsewhere / "secret.json").read_bytes() == b"secret"
    assert path.is_symlink() if way == "symlink" else path.is_dir()
    assert alone(path)


@pytest.mark.usefixtures("platform")
def test_somebody_who_never_stops_writing_is_told_apart_from_success(path: Path):
    counter = 0

    def noting(*_: object) -> None:
        nonlocal counter
        counter += 1
        by_rename(path, f"theirs {counter}".encode())

    with pytest.raises(swap.Unsettled, match="written by somebody else 8 times"):
        swap.update(path, shout, before_write=noting)
    assert path.read_bytes() == f"theirs {counter}".encode()
    assert alone(path)


def test_a_file_in_the_middle_of_being_written_is_given_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(swap, "SETTLE_S", 60.0)  # a busy machine may try less often
    path.write_bytes(b"half")
    seen = 0

    def transform(content: bytes | None) -> bytes | None:
        nonlocal seen
        if content == b"half":
            seen += 1
            if seen == 3:
                path.write_bytes(b"whole")
            raise NotUnderstood("cut off")
        return shout(content)

    swap.update(path, transform, before_write=nothing)
    assert path.read_bytes() == b"WHOLE"


def test_a_file_that_stays_half_written_is_left_alone(path: Path):
    def transform(_: bytes | None) -> bytes | None:
        raise NotUnderstood("line 1, column 1: cut off")

    with pytest.raises(swap.Unsettled, match="cut off"):
        swap.update(path, transform, before_write=nothing)
    assert path.read_bytes() == b"quiet"
    assert alone(path)


# -- what may not or cannot be written ---------------------------------------------------------------


def test_a_read_only_file_is_left_alone_and_the_remedy_is_said(path: Path):
    path.chmod(0o444)
    with pytest.raises(swap.ReadOnly, match="chmod u\\+w"):
        swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"quiet"
    assert alone(path)


@pytest.mark.parametrize("kind", ["directory", "fifo", "socket", "device"])
def test_what_is_no_regular_file_is_left_alone_at_once(tmp_path: Path, kind: str):
    path = tmp_path / "settings.json"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path.symlink_to("/dev/zero")
    began = time.monotonic()
    with pytest.raises(swap.SwapError):
        swap.update(path, shout, before_write=nothing)
    assert time.monotonic() - began < 60


def test_a_file_of_a_hundred_megabytes_is_left_alone(path: Path):
    with path.open("wb") as file:
        file.truncate(100 << 20)
    with pytest.raises(swap.Failed, match="larger than any settings file"):
        swap.update(path, shout, before_write=nothing)
    assert path.stat().st_size == 100 << 20


def test_a_link_that_leads_in_a_circle_is_said(tmp_path: Path):
    path = tmp_path / "settings.json"
    path.symlink_to(path)
    with pytest.raises(swap.SwapError):
        swap.update(path, shout, before_write=nothing)


def test_a_note_that_cannot_be_made_stops_the_write(path: Path):
    def noting(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/state/journal/entries.jsonl")

    with pytest.raises(swap.Failed, match=r"entries\.jsonl"):
        swap.update(path, shout, before_write=noting)
    assert path.read_bytes() == b"quiet"
    assert alone(path)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EROFS, swap.ReadOnly),
        (errno.EACCES, swap.ReadOnly),
        (errno.EPERM, swap.ReadOnly),
        (errno.ENOSPC, swap.Failed),
        (errno.EDQUOT, swap.Failed),
        (errno.EMFILE, swap.Failed),
        (errno.EIO, swap.Failed),
        (errno.ENAMETOOLONG, swap.Failed),
    ],
)
def test_the_systems_refusals_are_told_apart(
    path: Path, number: int, kind: type[swap.SwapError], monkeypatch: pytest.MonkeyPatch
):
    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(kind, match=os.strerror(number)):
        swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"quiet"
    assert alone(path)


# -- turns -------------------------------------------------------------------------------------------

APPENDER = """
import sys
from pathlib import Path
from specd.files import swap

def append(content):
    return (content or b"") + sys.argv[2].encode()

done = 0
while done < int(sys.argv[3]):
    try:
        swap.update(Path(sys.argv[1]), append, before_write=lambda *_: None)
    except swap.Taken:  # on a busy machine the turns of the others are long
        continue
    done += 1
"""


def test_several_processes_take_turns(path: Path):
    running = [
        subprocess.Popen([sys.executable, "-c", APPENDER, str(path), letter, "40"])
        for letter in "abcd"
    ]
    assert [each.wait(200) for each in running] == [0] * 4
    content = path.read_bytes()
    assert sorted(content) == sorted(b"quiet" + b"abcd" * 40)
    assert alone(path)


def test_a_turn_that_does_not_end_is_not_waited_for_for_ever(path: Path):
    facts = path.parent.stat()
    lock = places.state_dir() / "run" / f"{facts.st_dev:x}-{facts.st_ino:x}.lock"
    swap.update(path, lambda _: b"first", before_write=nothing)
    held = os.open(lock, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    began = time.monotonic()
    with pytest.raises(swap.Taken, match=f"another specd .process {os.getpid()}."):
        swap.update(path, shout, before_write=nothing)
    assert time.monotonic() - began < 60
    os.close(held)
    assert swap.update(path, shout, before_write=nothing)


def test_a_lock_that_another_user_may_take_holds_nobody_up(path: Path):
    held = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    assert swap.update(path, shout, before_write=nothing)
    os.close(held)


def test_without_a_place_for_the_lock_files_are_written_all_the_same(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "no directory").touch()
    monkeypatch.setenv("SPECD_STATE_DIR", str(tmp_path / "no directory"))
    assert swap.update(path, shout, before_write=nothing)


# -- what a crash leaves ------------------------------------------------------------------------------


def short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def left(path: Path, content: bytes, before: bytes = b"quiet", after: bytes = b"QUIET") -> Path:
    """A leftover of a write of ``after`` over ``before``, holding ``content``."""
    beside = path.with_name(f".{path.name}.4999999.{short(before)}-{short(after)}.specd-swap")
    beside.write_bytes(content)
    return beside


def test_an_unfinished_part_is_removed(path: Path):
    path.with_name(f".{path.name}.4999999.specd-part").write_bytes(b"QUI")
    assert swap.recover(path.parent) == (swap.Recovered(path, "removed"),)
    assert path.read_bytes() == b"quiet"
    assert alone(path)


@pytest.mark.parametrize(("stands", "leftover"), [(b"quiet", b"QUIET"), (b"QUIET", b"quiet")])
def test_killed_before_or_after_the_exchange_the_leftover_is_specds(
    path: Path, stands: bytes, leftover: bytes
):
    path.write_bytes(stands)
    left(path, leftover)
    assert swap.recover(path.parent)[0].outcome == "removed"
    assert path.read_bytes() == stands
    assert alone(path)


def test_killed_before_putting_somebodys_update_back_it_goes_back_now(path: Path):
    path.write_bytes(b"QUIET")
    left(path, b"their update")
    assert swap.recover(path.parent)[0].outcome == "put back"
    assert path.read_bytes() == b"their update"
    assert alone(path)


def test_an_update_they_have_written_anew_since_is_superseded(path: Path):
    beside = left(path, b"their update")
    os.utime(beside, ns=(1, 1))
    path.write_bytes(b"their later update")
    assert swap.recover(path.parent)[0].outcome == "superseded"
    assert path.read_bytes() == b"their later update"
    assert alone(path)


def test_an_update_whose_file_is_gone_goes_back(path: Path):
    left(path, b"their update")
    path.unlink()
    assert swap.recover(path.parent)[0].outcome == "put back"
    assert path.read_bytes() == b"their update"


def test_killed_while_it_was_taken_away_the_file_is_still_there(path: Path):
    path.rename(left(path, b"quiet", after=b""))
    assert swap.recover(path.parent) == (swap.Recovered(path, "kept"),)
    assert path.read_bytes() == b"quiet"
    assert alone(path)


def test_made_anew_since_it_was_taken_away_the_old_one_is_gone(path: Path):
    left(path, b"quiet", after=b"")
    path.write_bytes(b"made anew")
    assert swap.recover(path.parent) == (swap.Recovered(path, "removed"),)
    assert path.read_bytes() == b"made anew"
    assert alone(path)


def test_the_next_write_clears_up_as_well(path: Path):
    path.write_bytes(b"QUIET")
    left(path, b"their update")
    swap.update(path, shout, before_write=nothing)
    assert path.read_bytes() == b"THEIR UPDATE"
    assert alone(path)


def test_what_only_looks_like_a_leftover_stops_nothing(path: Path):
    path.with_name(f".{path.name}.4999999.specd-part").mkdir()
    assert swap.recover(path.parent) == ()
    assert swap.update(path, shout, before_write=nothing)


def test_other_files_are_none_of_its_business(path: Path):
    names = ["theirs.tmp", f".{path.name}.swp", f"{path.name}.bak", ".x.specd-swap", "specd-part"]
    for name in names:
        path.with_name(name).write_bytes(b"x")
    assert swap.recover(path.parent) == ()
    assert {each.name for each in path.parent.iterdir()} == {path.name, *names}
    assert swap.recover(path.parent / "not there") == ()


# -- taking away ---------------------------------------------------------------------------------------


def test_a_file_is_removed_if_it_holds_just_that(path: Path):
    assert not swap.remove(path, b"other")
    assert path.read_bytes() == b"quiet"
    assert swap.remove(path, b"quiet")
    assert list(path.parent.iterdir()) == []
    assert not swap.remove(path, b"quiet")


def test_a_file_is_moved_aside_if_it_holds_just_that(path: Path):
    aside = path.with_name("aside")
    aside.write_bytes(b"an older one")
    inode = path.stat().st_ino
    assert not swap.remove(path, b"other", to=aside)
    assert (path.read_bytes(), aside.read_bytes()) == (b"quiet", b"an older one")
    assert swap.remove(path, b"quiet", to=aside)
    assert aside.read_bytes() == b"quiet"
    assert aside.stat().st_ino == inode
    assert list(path.parent.iterdir()) == [aside]


def test_a_file_that_cannot_be_moved_aside_is_still_there(path: Path):
    aside = path.with_name("aside")
    aside.mkdir()
    with pytest.raises(swap.SwapError):
        swap.remove(path, b"quiet", to=aside)
    assert path.read_bytes() == b"quiet"
    assert {each.name for each in path.parent.iterdir()} == {path.name, "aside"}


# -- without exchange ------------------------------------------------------------------------------------


def test_a_free_name_is_taken_by_linking_where_renaming_cannot_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def unsupported(*_: object) -> None:
        raise ExchangeUnsupported(errno.ENOSYS, "not here")

    monkeypatch.setattr(exchanges, "_rename", unsupported)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"1")
    move_to_free_name(one, other)
    assert (one.exists(), other.read_bytes()) == (False, b"1")
    one.write_bytes(b"2")
    with pytest.raises(FileExistsError):
        move_to_free_name(one, other)
    assert (one.read_bytes(), other.read_bytes()) == (b"2", b"1")


def test_the_largest_file_is_the_largest_that_is_parsed(path: Path):
    path.write_bytes(b"a" * MAX_BYTES)
    assert swap.update(path, shout, before_write=nothing)
    assert path.stat().st_size == MAX_BYTES


def test_a_home_that_was_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    home = tmp_path / "home"
    file = home / "a" / "b.json"
    with pytest.raises(swap.SwapError):
        swap.update(file, lambda _: b"{}", before_write=lambda *_: None, within=home)
    assert not home.exists()
    home.mkdir()
    swap.update(file, lambda _: b"{}", before_write=lambda *_: None, within=home)
    assert file.read_bytes() == b"{}"


def test_folders_made_for_a_file_that_could_not_be_written_go_again(tmp_path: Path) -> None:
    def refused(*_: object) -> None:
        raise OSError(28, "No space left on device")

    file = tmp_path / "a" / "b" / "c.json"
    (tmp_path / "a").mkdir()
    for path, before_write in ((file, refused), (file.with_name("x" * 260), nothing)):
        with pytest.raises(swap.SwapError):
            swap.update(path, lambda _: b"{}", before_write=before_write)
        assert list(tmp_path.rglob("*")) == [tmp_path / "a"]
