"""Looking at files: again when they moved, never twice for nothing, never with an exception."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from specd.files import private
from specd.files.pointer import ABSENT
from specd.reconcile.observe import FileSeen, look, read_file


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "settings.json"
    file.write_text('{"a": 1}')
    return file


def test_a_missing_file_is_no_problem(tmp_path: Path):
    seen = read_file(tmp_path / "none.json")
    assert (seen.content, seen.document, seen.problem) == (None, ABSENT, None)


def test_a_half_written_file_is_unsettled_and_its_bytes_are_kept(settings: Path):
    settings.write_bytes(b'{"a": ')
    seen = read_file(settings)
    assert seen.unsettled
    assert seen.content == b'{"a": '
    assert seen.document is ABSENT
    assert str(settings) in str(seen.problem)


def test_a_directory_in_its_place_is_named_as_the_problem(tmp_path: Path):
    seen = read_file(tmp_path)
    assert str(tmp_path) in str(seen.problem)
    assert not seen.unsettled


def test_a_pipe_in_its_place_holds_nobody_up(tmp_path: Path):
    pipe = tmp_path / "settings.json"
    os.mkfifo(pipe)
    assert read_file(pipe).problem is not None


def test_the_same_bytes_are_not_parsed_again(settings: Path):
    first = read_file(settings)
    assert read_file(settings, first) is first


def test_what_an_event_did_not_name_is_answered_from_memory(settings: Path):
    known: dict[Path, FileSeen] = {}
    first = look(known, [settings], None)[settings]
    settings.write_text('{"a": 2}')
    assert look(known, [settings], set())[settings] is first
    assert look(known, [settings], {settings})[settings].document == {"a": 2}


def test_a_full_look_reads_what_moved(settings: Path):
    known: dict[Path, FileSeen] = {}
    first = look(known, [settings], None)[settings]
    assert look(known, [settings], None)[settings] is first
    settings.write_text('{"a": 2}')
    assert look(known, [settings], None)[settings].document == {"a": 2}


def test_a_write_of_equal_length_within_one_tick_is_not_overlooked(settings: Path):
    known: dict[Path, FileSeen] = {}
    look(known, [settings], None)
    stamp = settings.stat()
    settings.write_text('{"a": 2}')
    os.utime(settings, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert look(known, [settings], None)[settings].document == {"a": 2}


def test_what_could_not_be_read_is_tried_again_though_nothing_moved(settings: Path, monkeypatch):
    known: dict[Path, FileSeen] = {}

    def refuse(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as fault:
        fault.setattr(private, "read", refuse)
        assert "Input/output" in str(look(known, [settings], None)[settings].problem)
    assert look(known, [settings], None)[settings].document == {"a": 1}


def test_a_forgotten_home_is_read_anew(settings: Path):
    known: dict[Path, FileSeen] = {}
    first = look(known, [settings], None)[settings]
    known.clear()
    assert look(known, [settings], set())[settings] is not first


def test_deep_nesting_is_a_problem_and_not_a_crash(settings: Path):
    settings.write_bytes(b"[" * 100_000)
    assert read_file(settings).problem is not None


def test_an_object_is_read_as_it_is_spelled(settings: Path):
    document = {"übersicht": "schön", "n": 2**62, "f": 1.0, "none": None}
    settings.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    assert read_file(settings).document == document
