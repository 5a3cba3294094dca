"""The journal says what was written and what stood there before, whatever befalls its own file."""

from __future__ import annotations

import base64
import gc
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.files.pointer import ABSENT, Match
from specd.reconcile import journal as journals
from specd.reconcile.journal import Change, Journal, NewerJournal
from tests.daemon import until

CHANGE = Change(("speculativeDecoding"), ("speculativeDecoding",), ABSENT, True, "wanted")
FIELD = Change(
    "draftModel",
    ("operation", "fields", Match("key", "draftModel"), "value"),
    "an/other",
    "a/draft",
    "fastest",
)


def file_of(directory: Path) -> Path:
    return directory / "entries.jsonl"


def write(journal: Journal, path: Path, before: bytes | None, after: bytes) -> int:
    """A whole write as ``apply`` makes it."""
    number = journal.intend(path, before, after, (CHANGE, FIELD), surface="settings", by="test")
    path.write_bytes(after)
    journal.settle(number, written=True)
    return number


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "settings.json"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def test_a_write_is_remembered_with_what_stood_there_before(journal: Journal, target: Path):
    number = write(journal, target, b"old", b"new")
    (entry,) = Journal(file_of(target.parent / "journal").parent).entries()
    assert (entry.id, entry.path, entry.state, entry.by) == (number, target, "written", "test")
    assert entry.changes == (CHANGE, FIELD)
    assert journal.before(number) == b"old"


def test_the_last_write_of_each_file_is_known_also_to_the_next_run(journal: Journal, target: Path):
    other = target.with_name("other.json")
    write(journal, other, None, b"first")
    first = journal.last_written({other})
    # Times are kept in milliseconds.
    until(lambda: datetime.now(UTC) > first[other] + timedelta(milliseconds=1), "a later time")
    write(journal, other, b"first", b"second")
    write(journal, target, None, b"third")
    times = {each.path: datetime.fromisoformat(each.time) for each in journal.entries()}
    for opened in (journal, Journal(target.parent / "journal")):
        assert opened.last_written({target, other, target.with_name("never")}) == times
    assert times[other] > first[other]


def test_a_write_is_undone_when_none_of_its_values_is_specds_any_more(
    journal: Journal, target: Path
):
    paths = [target.with_name(f"{turn}.json") for turn in range(5)]
    numbers = [write(journal, path, b"old", b"new") for path in paths]
    journal.hand_over(freed={(paths[3], CHANGE.key), (paths[3], FIELD.key)})
    assert [e.id for e in journal.entries() if e.state == "restored"] == [numbers[3]]


def test_a_file_that_was_created_has_nothing_before(journal: Journal, target: Path):
    number = write(journal, target, None, b"new")
    assert journal.before(number) is None
    assert journal.entries()[0].before_sha is None


def test_equal_contents_are_kept_once(journal: Journal, tmp_path: Path, target: Path):
    content = os.urandom(50_000)
    for _ in range(20):
        write(journal, target, content, b"new")
    assert file_of(tmp_path / "journal").stat().st_size < 100_000


def test_what_did_not_take_place_is_not_listed(journal: Journal, target: Path):
    number = journal.intend(target, b"old", b"new", (CHANGE,), surface="settings", by="test")
    assert journal.entries() == ()
    journal.settle(number, written=False)
    assert journal.entries() == ()


def test_it_is_the_owners_alone(journal: Journal, tmp_path: Path, target: Path):
    write(journal, target, b"old", b"new")
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert file_of(tmp_path / "journal").stat().st_mode & 0o777 == 0o600


# -- after a crash ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("holds", "state"),
    [
        (b"new", "written"),
        (b"old", "abandoned"),
        (None, "abandoned"),
        (b'{"speculativeDecoding": true, "since": 1}', "written"),
        (b'{"speculativeDecoding": false, "since": 1}', "abandoned"),
        (b'{"half', "intended"),
    ],
)
def test_an_open_intent_is_settled_by_looking_at_the_file(
    journal: Journal, target: Path, holds: bytes | None, state: str
):
    number = journal.intend(target, b"old", b"new", (CHANGE,), surface="settings", by="test")
    if holds is not None:
        target.write_bytes(holds)
    later = Journal(target.parent / "journal")
    (settled,) = later.recover()
    assert (settled.id, settled.state) == (number, state)
    assert later.before(number) == b"old"


def test_a_file_of_a_hundred_megabytes_is_not_read_to_settle_an_intent(
    journal: Journal, target: Path
):
    number = journal.intend(target, b"old", b"new", (CHANGE,), surface="settings", by="test")
    with target.open("wb") as file:
        file.truncate(100 << 20)
    with growth() as grown:
        assert journal.settle_by_looking(number) == "intended"
    assert grown[0] < 1 << 20


@contextmanager
def growth() -> Iterator[list[int]]:
    """What the context allocates at its peak, in bytes."""
    grown: list[int] = []
    tracemalloc.start()
    yield grown
    grown.append(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal's file after four writes of three contents."""
    directory = tmp_path_factory.mktemp("recorded")
    journal = Journal(directory)
    for before in (b"first", b"second", None, b"second"):
        write(journal, directory / "settings.json", before, b"after")
    journal.close()
    return file_of(directory).read_bytes()


BEFORE = {1: b"first", 2: b"second", 3: None, 4: b"second"}


def reopened(directory: Path, content: bytes) -> Journal:
    directory.mkdir(exist_ok=True)
    file_of(directory).write_bytes(content)
    return Journal(directory)


def sound(journal: Journal) -> int:
    """Every listed write can be read, and its old content is the true one or none; their number."""
    entries = journal.entries()
    for entry in entries:
        with suppress(FileNotFoundError):
            assert journal.before(entry.id) == BEFORE.get(entry.id, b"later")
    return len(entries)


def goes_on(journal: Journal, target: Path) -> None:
    """A write after the damage is recorded whole, under a number of its own."""
    known = {entry.id for entry in journal.entries()}
    number = write(journal, target, b"later", b"new")
    assert number not in known
    again = Journal(file_of(target.parent).parent)
    assert again.get(number) == journal.get(number)
    assert again.before(number) == b"later"
    # A line that lacked its newline alone is whole now.
    assert {entry.id for entry in again.entries()} >= known | {number}


def test_torn_at_any_byte_it_holds_what_was_whole_and_goes_on(
    tmp_path: Path, recorded: bytes, figures
):
    known = 0
    for length in range(len(recorded) + 1):
        journal = reopened(tmp_path, recorded[:length])
        now = sound(journal)
        assert now >= known
        known = now
        if length % 3 == 0 or length > len(recorded) - 100:
            goes_on(journal, tmp_path / "settings.json")
        journal.close()
    assert known == 4
    figures(points=len(recorded) + 1)


def test_torn_twice_at_any_byte_it_goes_on(tmp_path: Path, recorded: bytes):
    for length in range(0, len(recorded), 7):
        later = recorded[length:].partition(b"\n")[2]
        journal = reopened(tmp_path, recorded[:length] + b"\n" + later[: len(later) // 2])
        sound(journal)
        goes_on(journal, tmp_path / "settings.json")
        journal.close()


def test_a_flipped_bit_is_never_taken_for_what_stood_there(
    tmp_path: Path, recorded: bytes, figures
):
    for place in range(len(recorded)):
        flipped = bytearray(recorded)
        flipped[place] ^= 1 << place % 8
        try:
            journal = reopened(tmp_path, bytes(flipped))
        except NewerJournal:
            continue  # the bit was in a version
        for entry in journal.entries():
            try:
                content = journal.before(entry.id)
            except FileNotFoundError:
                continue
            assert content in (b"first", b"second", None)
        if place % 10 == 0:
            number = write(journal, tmp_path / "settings.json", b"second", b"new")
            assert journal.before(number) == b"second"
        journal.close()
    figures(points=len(recorded))


GARBAGE = [
    b"",
    b"\x00" * 500,
    b"\xff\xfe\r\n",
    b"null",
    b"[]",
    b"{}",
    b'{"v": 1}',
    b'{"v": "1", "id": 1, "state": "written"}',
    b'{"v": 1, "id": [], "state": "written"}',
    b'{"v": 1, "id": 1, "state": "unheard of"}',
    b'{"v": 1, "id": 1, "state": {}}',
    b'{"v": 1, "id": 1e400, "state": "written"}',
    b'{"v": 1, "id": ' + b"9" * 5_000 + b', "state": "written"}',
    b'{"v": 1, "id": NaN, "state": "written"}',
    b'{"v": 1, "id": 7, "path": 7}',
    b'{"v": 2, "owned": 7, "held": []}',
    b'{"v": 2, "owned": [{"path": "/x"}], "held": []}',
    b'{"v": 2, "owned": [], "held": [["/x"]]}',
    b'{"v": 1, "id": 7, "path": "/x", "time": "yesterday", "changes": []}',
    b"[" * 100_000,
    b'{"v":1,"sha":"',
    b'{"v":1,"sha":"\xff","data":"!"}',
    b'{"v":1,"sha":"00","data":"bm90IHpsaWI="}',
    json.dumps(
        {
            "v": 1,
            "id": 9,
            "time": "2026-11-24T10:00:00",
            "path": "/x",
            "surface": "settings",
            "state": "written",
            "before": None,
            "after": "",
            "by": "a time without a zone",
            "changes": [],
        }
    ).encode(),
    json.dumps(
        {"v": 1, "id": 9, "path": "/x", "changes": [{"key": 1, "at": [[1, 2, 3]], "why": None}]}
    ).encode(),
]


@pytest.mark.parametrize("line", GARBAGE, ids=range(len(GARBAGE)))
def test_a_line_that_is_none_is_passed_over(tmp_path: Path, recorded: bytes, line: bytes):
    journal = reopened(tmp_path, recorded + line + b"\n")
    assert sound(journal) == 4
    goes_on(journal, tmp_path / "settings.json")


@given(st.binary(max_size=200))
def test_any_bytes_may_follow(tmp_path_factory: pytest.TempPathFactory, tail: bytes):
    directory = tmp_path_factory.mktemp("tail")
    first = Journal(directory)
    write(first, directory / "settings.json", b"first", b"after")
    with file_of(directory).open("ab") as file:
        file.write(tail)
    journal = Journal(directory)
    assert [entry.id for entry in journal.entries()] == [1]
    assert journal.before(1) == b"first"


def test_a_line_without_an_end_costs_bounded_memory(
    tmp_path: Path, recorded: bytes, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journals, "LINE_BYTES", 4 << 20)
    file_of(tmp_path).write_bytes(recorded)
    with file_of(tmp_path).open("ab") as file:
        for _ in range(64):
            file.write(b"x" * (1 << 20))
    with growth() as grown:
        journal = Journal(tmp_path)
    assert grown[0] < 24 << 20
    assert sound(journal) == 4
    goes_on(journal, tmp_path / "settings.json")


def test_a_bomb_is_not_unpacked(tmp_path: Path, journal: Journal, target: Path):
    number = write(journal, target, b"first", b"after")
    sha = journal.entries()[0].before_sha
    bomb = base64.b64encode(zlib.compress(b"\x00" * (256 << 20), 9)).decode()
    with file_of(tmp_path / "journal").open("a") as file:
        file.write(f'{{"v":1,"sha":"{sha}","data":"{bomb}"}}\n')
    assert journal.entries()
    with growth() as grown, pytest.raises(FileNotFoundError):
        journal.before(number)
    assert grown[0] < 64 << 20


def test_a_newer_journal_is_refused_and_left_as_it_is(tmp_path: Path, recorded: bytes):
    newer = recorded + b'{"v": 3, "id": 5, "what": "is this"}\n'
    with pytest.raises(NewerJournal, match="newer specd"):
        reopened(tmp_path, newer)
    assert file_of(tmp_path).read_bytes() == newer


def test_a_newer_specd_may_take_over_a_journal_in_use(journal: Journal, tmp_path: Path):
    with file_of(tmp_path / "journal").open("ab") as file:
        file.write(b'{"v": 3}\n')
    before = file_of(tmp_path / "journal").read_bytes()
    with pytest.raises(NewerJournal):
        journal.intend(tmp_path / "x", None, b"", (), surface="settings", by="test")
    assert file_of(tmp_path / "journal").read_bytes() == before


# -- a disk that is full --------------------------------------------------------------------------


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes: the kernel writes what fits, and then refuses."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_intent_that_does_not_fit_is_refused_and_the_next_one_is_whole(
    journal: Journal, tmp_path: Path, target: Path
):
    write(journal, target, b"first", b"after")
    size = file_of(tmp_path / "journal").stat().st_size
    for room in range(0, 1_200, 41):
        kept = file_of(tmp_path / "journal").read_bytes()
        with at_most(size + room):
            try:
                number = journal.intend(target, b"second", b"x", (FIELD,), surface="s", by="test")
            except OSError:
                assert journal.entries()[0].id == 1
            else:
                assert journal.before(number) == b"second"
        number = write(journal, target, b"third", b"after")
        again = Journal(tmp_path / "journal")
        assert again.before(number) == b"third"
        assert again.entries() == journal.entries()
        assert again.unread is None
        again.close()
        file_of(tmp_path / "journal").write_bytes(kept)


def test_an_outcome_that_does_not_fit_is_written_with_the_next_line(
    journal: Journal, tmp_path: Path, target: Path
):
    number = journal.intend(target, b"old", b"new", (CHANGE,), surface="settings", by="test")
    with at_most(file_of(tmp_path / "journal").stat().st_size + 5):
        journal.settle(number, written=True)
    assert journal.entries()[0].state == "written"
    write(journal, target, b"x", b"y")
    assert [entry.state for entry in Journal(tmp_path / "journal").entries()] == ["written"] * 2


def test_values_taken_back_that_do_not_fit_are_a_problem_until_they_are_written(
    journal: Journal, tmp_path: Path, target: Path
):
    write(journal, target, b"first", b"after")
    key = (target, CHANGE.key)
    with at_most(file_of(tmp_path / "journal").stat().st_size + 5):
        assert journal.hand_over(held={key}) is not None
    journal.entries()
    assert journal.owes
    assert str(file_of(tmp_path / "journal")) in str(journal.problem)
    assert key not in Journal(tmp_path / "journal").held()
    assert journal.hand_over() is None
    journal.entries()
    assert not journal.owes
    assert journal.problem is None
    again = Journal(tmp_path / "journal")
    assert key in again.held()
    assert again.unread is None


# -- several at once ------------------------------------------------------------------------------


def _many(directory: Path, name: str, count: int) -> None:
    journal = Journal(directory)
    for round_ in range(count):
        path = directory / f"{name}.json"
        write(journal, path, f"{name} {round_}".encode(), b"after")


def test_processes_share_it_and_no_number_is_given_twice(tmp_path: Path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_many, args=(tmp_path, f"w{n}", 40)) for n in range(4)]
    for each in writers:
        each.start()
    for each in writers:
        each.join(60)
        assert each.exitcode == 0
    journal = Journal(tmp_path)
    entries = journal.entries()
    assert [entry.id for entry in entries] == list(range(1, 161))
    for name in ("w0", "w1", "w2", "w3"):
        own = [entry for entry in entries if entry.path.stem == name]
        assert [journal.before(e.id) for e in own] == [f"{name} {n}".encode() for n in range(40)]


def test_threads_share_it(journal: Journal, tmp_path: Path):
    wrong: list[Exception] = []
    done = threading.Event()

    def look() -> None:
        try:
            while not done.is_set():
                for entry in journal.entries():
                    assert journal.before(entry.id) is not None
        except Exception as error:  # noqa: BLE001 - told below
            wrong.append(error)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for each in readers:
        each.start()
    for count in range(200):
        write(journal, tmp_path / "settings.json", str(count).encode(), b"after")
    done.set()
    for each in readers:
        each.join()
    assert not wrong
    assert len(journal.entries()) == 200


def test_a_journal_that_is_deleted_under_it_begins_anew(
    journal: Journal, tmp_path: Path, target: Path
):
    write(journal, target, b"old", b"new")
    file_of(tmp_path / "journal").unlink()
    (tmp_path / "journal").rmdir()
    number = write(journal, target, b"old", b"new")
    assert Journal(tmp_path / "journal").before(number) == b"old"


ENDINGS = {
    "held by a module that outlives it": "sys.kept = journal",
    "held in a circle": "sys.kept = circle = [journal]; circle.append(circle)",
    "held by a thread": "threading.Thread(target=journal.entries).start()",
    "held by a daemon thread": (
        "threading.Thread(target=lambda j: time.sleep(60), args=(journal,), daemon=True).start()"
    ),
    "closed by somebody else": "os.close(journal._descriptor)",
    "closed twice": "journal.close(); journal.close()",
    "never opened": "attempt(Path('/dev/null/journal'))",
    "never built": "attempt(None)",
    "its directory is gone": "shutil.rmtree(directory)",
    "ended by an exception": "sys.kept = journal; sys.exit(0)",
}

ENDING = """
import os, shutil, sys, threading, time
from pathlib import Path
from specd.reconcile.journal import Journal

def attempt(path):
    try:
        Journal(path)
    except (OSError, TypeError):
        pass

directory = Path(sys.argv[1])
journal = Journal(directory)
"""


@pytest.mark.parametrize("how", ENDINGS)
def test_a_program_that_ends_with_it_open_ends_without_a_word(tmp_path: Path, how: str):
    ended = subprocess.run(
        [sys.executable, "-c", ENDING + ENDINGS[how], str(tmp_path / "journal")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_journal_that_is_gone_holds_no_descriptor(tmp_path: Path):
    before = set(Path("/dev/fd").iterdir())
    for _ in range(20):
        write(Journal(tmp_path / "journal"), tmp_path / "settings.json", b"old", b"new")
    gc.collect()
    assert len(set(Path("/dev/fd").iterdir()) - before) <= 1


# -- keeping it small -----------------------------------------------------------------------------


def test_it_stays_small_and_keeps_the_newest_and_the_first_write_of_each_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journals, "PRUNE_ENTRIES", 40)
    monkeypatch.setattr(journals, "KEPT_ENTRIES", 20)
    journal, watching = Journal(tmp_path / "journal"), Journal(tmp_path / "journal")
    write(journal, tmp_path / "rare.json", b"rare before specd", b"after")
    for count in range(300):
        number = write(journal, tmp_path / "often.json", f"often {count}".encode(), b"after")
        assert number == count + 2
        assert len(journal.entries()) <= 41
    for seen in (journal, watching, Journal(tmp_path / "journal")):
        entries = seen.entries()
        assert seen.before(entries[0].id) == b"rare before specd"
        assert seen.before(entries[1].id) == b"often 0"
        newest = [seen.before(entry.id) for entry in entries[-15:]]
        assert newest == [f"often {count}".encode() for count in range(285, 300)]
        assert seen.owned(tmp_path / "often.json")[FIELD.key].since == 2
        assert seen.owned(tmp_path / "rare.json")[FIELD.key].before == FIELD.old
    assert {path.name for path in (tmp_path / "journal").iterdir()} == {"entries.jsonl"}


def test_lines_it_does_not_understand_are_counted_and_kept_aside_when_it_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journals, "PRUNE_ENTRIES", 10)
    monkeypatch.setattr(journals, "KEPT_ENTRIES", 5)
    journal = Journal(tmp_path / "journal")
    write(journal, tmp_path / "settings.json", b"first", b"after")
    assert journal.unread is None
    with file_of(tmp_path / "journal").open("ab") as file:
        file.write(b"of use to somebody\n\x00\xff\n\n")
    broken = "2 lines of the journal cannot be read; the writes in it cannot be undone"
    assert Journal(tmp_path / "journal").unread == journal.unread == broken
    for count in range(30):
        write(journal, tmp_path / "settings.json", b"%d" % count, b"after")
    assert Journal(tmp_path / "journal").unread is None
    assert journal.unread is None
    (aside,) = (tmp_path / "journal").glob("entries.jsonl.broken-*")
    assert b"of use to somebody\n\x00\xff\n\n" in aside.read_bytes()
    assert journal.before(1) == b"first"


def test_large_contents_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(journals, "PRUNE_BYTES", 1 << 20)
    monkeypatch.setattr(journals, "KEPT_BYTES", 1 << 19)
    journal = Journal(tmp_path / "journal")
    for _ in range(40):
        write(journal, tmp_path / "settings.json", os.urandom(100_000), b"after")
        assert file_of(tmp_path / "journal").stat().st_size < 1.5 * (1 << 20)
    assert journal.before(1) is not None


def test_pruned_by_one_process_it_is_followed_by_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(journals, "PRUNE_ENTRIES", 10)
    monkeypatch.setattr(journals, "KEPT_ENTRIES", 5)
    one, other = Journal(tmp_path / "journal"), Journal(tmp_path / "journal")
    numbers = [
        write(each, tmp_path / "settings.json", str(count).encode(), b"after")
        for count in range(60)
        for each in (one, other)
    ]
    assert numbers == list(range(1, 121))
    assert one.entries() == other.entries()


def test_an_interrupted_pruning_leaves_nothing_behind(
    tmp_path: Path, target: Path, journal: Journal
):
    write(journal, target, b"old", b"new")
    (tmp_path / "journal" / "entries.new").write_bytes(b"half")
    Journal(tmp_path / "journal").recover()
    assert {path.name for path in (tmp_path / "journal").iterdir()} == {"entries.jsonl"}


# -- who holds which value ------------------------------------------------------------------------


def test_what_is_taken_back_is_known_to_every_process_and_after_a_restart(
    journal: Journal, tmp_path: Path, target: Path
):
    other = Journal(tmp_path / "journal")
    write(journal, target, b"old", b"new")
    held = {(target, CHANGE.key)}
    assert journal.hand_over(freed=held, held=held) is None
    assert other.entries()
    assert other.owned_files() == (target,)
    for each in (journal, other, Journal(tmp_path / "journal")):
        assert set(each.owned(target)) == {FIELD.key}
        assert each.held() == held
    assert journal.hand_over(released=True) is None
    assert Journal(tmp_path / "journal").held() == frozenset()


def test_what_is_taken_back_and_cannot_be_noted_counts_and_is_noted_later(
    journal: Journal, tmp_path: Path, target: Path
):
    write(journal, target, b"old", b"new")
    held = {(target, CHANGE.key)}
    with at_most(file_of(tmp_path / "journal").stat().st_size + 5):
        assert isinstance(journal.hand_over(held=held), OSError)
    assert journal.held() == held
    assert journal.hand_over() is None
    assert Journal(tmp_path / "journal").held() == held


OLDER = [
    ([], {}),
    (["written"], {"before": "an/other", "value": "a/draft"}),
    (["written", "restored"], {}),
    (["abandoned"], {}),
]


@pytest.mark.parametrize(("states", "owned"), OLDER)
def test_a_journal_of_an_older_specd_tells_what_stood_there(
    tmp_path: Path, recorded: bytes, states: list[str], owned: dict[str, str]
):
    target = tmp_path / "settings.json"
    intent = json.loads(recorded.splitlines()[1]) | {"v": 1, "path": str(target)}
    lines = [intent, *({"v": 1, "id": 1, "state": state} for state in states)]
    journal = reopened(tmp_path / "old", "".join(f"{json.dumps(e)}\n" for e in lines).encode())
    found = journal.owned(target).get(FIELD.key)
    told = {} if found is None else {"before": found.before, "value": found.value}
    assert told == owned


BROKEN_HOLDS = [b"", b"null", b"7", b"[1, 2]", b"[" * 100_000, b"\xff\xfe", b'[["a", "b"']


@pytest.mark.parametrize("content", BROKEN_HOLDS, ids=range(len(BROKEN_HOLDS)))
def test_broken_holds_of_an_older_specd_are_passed_over_and_left(
    tmp_path: Path, recorded: bytes, content: bytes
):
    (tmp_path / "holds.json").write_bytes(content)
    journal = reopened(tmp_path / "old", recorded)
    assert journal.held() == frozenset()
    assert len(journal.entries()) == 4
    assert (tmp_path / "holds.json").read_bytes() == content


def test_a_write_after_what_could_not_be_noted_counts_after_it(
    journal: Journal, tmp_path: Path, target: Path
):
    write(journal, target, b"old", b"new")
    freed = {(target, CHANGE.key), (target, FIELD.key)}
    with at_most(file_of(tmp_path / "journal").stat().st_size + 5):
        assert isinstance(journal.hand_over(freed=freed), OSError)
    write(journal, target, b"old", b"newer")
    for each in (journal, Journal(tmp_path / "journal")):
        assert set(each.owned(target)) == {CHANGE.key, FIELD.key}
