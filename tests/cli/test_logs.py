"""``specd logs``: the log as people and programs read it."""

from __future__ import annotations

import json
import logging.handlers
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from specd.agent.events import Event, format_line
from specd.cli.look import logbook, logs

START = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)


def line(minute: int, level: str = "INFO", text: str = "looked") -> str:
    moment = (START + timedelta(minutes=minute)).isoformat(timespec="milliseconds")
    return f"{moment} {level:<7} {text} {minute}  minute={minute}"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECD_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "specd.log"


@pytest.fixture
def rotated(log: Path) -> Path:
    """Minutes 0-9 in the oldest file, 10-19 in the next, 20-29 in the current one."""
    for name, first in (("specd.log.2", 0), ("specd.log.1", 10), ("specd.log", 20)):
        rows = [line(minute) for minute in range(first, first + 10)]
        log.with_name(name).write_text("".join(f"{row}\n" for row in rows))
    return log


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    code = logs.run(logs.parser.parse_args(words))
    assert code == 0
    return capsys.readouterr().out.splitlines()


def test_the_last_lines_reach_back_into_rotated_files(
    rotated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shown(capsys, "-n", "15") == [line(minute) for minute in range(15, 30)]
    assert shown(capsys, "-n", "0") == []
    assert len(shown(capsys)) == 30


@pytest.mark.parametrize("minute", [0, 1, 9, 10, 17, 20, 29, 30])
def test_since_finds_its_place_in_any_file(
    rotated: Path, capsys: pytest.CaptureFixture[str], minute: int
) -> None:
    since = (START + timedelta(minutes=minute)).isoformat()
    expected = [line(each) for each in range(minute, 30)]
    assert shown(capsys, "--since", since) == expected
    assert shown(capsys, "--since", since, "-n", "3") == expected[-3:]


def test_level_means_at_least(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line(i, level) for i, level in enumerate(["DEBUG", "INFO", "WARNING", "ERROR"])]
    log.write_text("\n".join(rows) + "\n")
    assert shown(capsys, "--level", "warning") == rows[2:]
    assert shown(capsys, "--level", "error") == rows[3:]


def test_json_holds_what_the_event_held(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = {
        "file": "/Users/you/My LM  Studio/settings.json",
        "key": "a=b",
        "journal": 12,
        "ms": 1.25,
        "forced": True,
        "odd": 'quo"te \\ é',
    }
    event = Event(1, "2026-11-24T13:00:00.123+01:00", "info", "put back x: false → true", fields)
    log.write_text(format_line(event) + "\n")
    assert [json.loads(row) for row in shown(capsys, "--json")] == [
        {"time": event.time, "level": "info", "message": event.message, **fields}
    ]


def test_a_person_reads_of_a_write_its_file_and_the_number_that_undoes_it() -> None:
    fields = {"file": "/home/ada/.lmstudio/My 8B.json", "key": "x", "journal": 12, "ms": 1.5}
    event = Event(1, "2026-11-24T13:00:00.123+01:00", "info", "set x: false → true", fields)
    for read in (logbook.parse(format_line(event)).as_json(), event.as_json()):
        told = " ".join(logs.short_form(START, read, None).split())
        assert told.endswith("set x: false → true in My 8B.json (undo 12)")
    plain = logs.short_form(START, {"message": "looked", "file": "/a/b"}, None)
    assert plain.endswith("  looked")


@example("x", {"file": "0e0", "key": "1.50", "why": "true", "journal": 5})
@given(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    st.dictionaries(
        st.sampled_from(["file", "key", "why", "journal"]),
        st.one_of(st.integers(-(10**6), 10**6), st.booleans(), st.text(max_size=20)),
    ),
)
def test_no_event_forges_a_line_or_loses_its_fields(message: str, fields: dict) -> None:
    event = Event(1, "2026-11-24T13:00:00.123+01:00", "info", f"did {message.strip()}.", fields)
    text = format_line(event)
    assert text.isprintable()
    read = logbook.parse(text)
    assert read.time is not None
    found = read.as_json()
    for key, value in fields.items():
        if isinstance(value, str) and not value.isprintable():
            continue  # shown escaped
        assert str(found[key]) == str(value)


def test_lines_that_are_no_log_lines_are_shown_too(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.write_text(f"{line(0)}\nTraceback (most recent call last):\n\x1b[31mboom\n{line(1)}\n")
    assert shown(capsys)[1:3] == ["Traceback (most recent call last):", "\\x1b[31mboom"]
    assert json.loads(shown(capsys, "--json")[1])["message"].startswith("Traceback")


def test_no_log_yet_says_so(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert logs.run(logs.parser.parse_args([])) == 1
    assert "there is no log yet" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["soon", "1y", "25:00", "-1h", "2026-13-01"])
def test_a_time_that_is_none_is_refused_with_examples(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        logs.parser.parse_args([f"--since={word}"])
    assert ended.value.code == 2
    assert "must be such as 90s" in capsys.readouterr().err


def test_times_may_be_spelled_in_many_ways() -> None:
    now = datetime.now().astimezone()

    def since(word: str) -> datetime:
        found: datetime = logs.parser.parse_args(["--since", word]).since
        return found

    assert abs(now - timedelta(minutes=90) - since("1h30m")) < timedelta(seconds=5)
    assert since("today") == now.replace(hour=0, minute=0, second=0, microsecond=0)
    assert since("08:30").hour == 8
    assert since("2026-11-24T08:00:00Z") == START
    assert since("2026-11-24").tzinfo is not None


def test_a_large_log_is_read_from_its_end(log: Path) -> None:
    with log.open("wb") as file:
        file.truncate(1 << 30)  # a hole of a gigabyte: reading through it would take seconds
        file.seek(0, 2)
        file.write(f"\n{line(1)}\n{line(2)}\n".encode())
    started = time.process_time()  # whatever else the machine does
    found = logbook.last(log, 2, "debug", None, logbook.end(log))
    assert [entry.text for entry in found] == [line(1), line(2)]
    assert time.process_time() - started < 0.5


def test_following_loses_nothing_over_many_rotations(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "LOG_FILES", 30)
    handler = logging.handlers.RotatingFileHandler(log, maxBytes=400, backupCount=30)
    wanted = [line(minute) for minute in range(100)]
    seen: list[str] = []
    log.write_text(f"{line(-1)}\n")
    coming = logbook.follow(log, "debug", logbook.end(log))

    def write() -> None:
        for row in wanted:
            handler.handle(logging.LogRecord("x", 20, "", 0, row, None, None))

    writer = threading.Thread(target=write)
    writer.start()
    while len(seen) < len(wanted):
        seen.append(next(coming).text)
    writer.join()
    handler.close()
    assert seen == wanted


def test_following_waits_for_a_log_that_is_not_there_yet(log: Path) -> None:
    end = logbook.end(log)
    timer = threading.Timer(0.3, lambda: log.write_text(f"{line(0)}\n"))
    timer.start()
    assert next(logbook.follow(log, "debug", end)).text == line(0)
