from __future__ import annotations

import json
import os
import tempfile
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.lmstudio import server_log
from specd.lmstudio.server_log import LoggedDraft
from tests.lmstudio.shapes import path, value

STATS = {
    "tokens_per_second": 51.4,
    "draft_model": "qwen3-0.6b",
    "total_draft_tokens_count": 40,
    "accepted_draft_tokens_count": 25,
    "rejected_draft_tokens_count": 15,
    "ignored_draft_tokens_count": 0,
}


def log(tmp_path: Path, *lines: str) -> Path:
    written = tmp_path / "2026-11-24.1.log"
    written.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


def read(whole: Path) -> tuple[LoggedDraft, ...]:
    """The draft counts of a log to which nothing is added any more."""
    return server_log._read(whole, None, whole=True)[0].drafts


def test_every_shape_of_a_recorded_log_is_read() -> None:
    found = read(path("0.4/server-logs/2026-09/2026-09-10.1.log"))
    assert found == (
        LoggedDraft("", 492, 176, "qwen3-8b"),  # /api/v0: in "usage"
        LoggedDraft("", 20, 17, "qwen3-8b"),  # /v1: in "stats", beside a reply that quotes a log
        LoggedDraft("", 200, 160, "qwen3-8b"),  # llama.cpp's own line
    )


def test_an_older_servers_answer_names_its_draft(tmp_path: Path) -> None:
    body = json.dumps(value("0.3/api-v0-chat-completions.json"), indent=2)
    found = read(log(tmp_path, f"[2025-11-24 13:00:02][INFO] Generated prediction: {body}"))
    assert found == (LoggedDraft("qwen3-0.6b", 492, 176, "qwen3-8b"),)


@pytest.mark.parametrize(
    "quoted",
    [
        "draft acceptance = 0.5 (  1 accepted /   2 generated)",
        "\n[2026-09-10 00:38:00][DEBUG] draft acceptance = 0.5 (  1 accepted /   2 generated)",
        '\n  "stats": {\n    "total_draft_tokens_count": 9,\n    "accepted_draft_tokens_count": 9\n  }\n}',
        "\n[2026-09-10 00:38:00][INFO][x] Generated prediction: {\n",
    ],
)
def test_what_a_reply_quotes_counts_for_nothing(tmp_path: Path, quoted: str) -> None:
    body = {**value("0.4/v1-chat-completions.json"), "zz": quoted}
    body["choices"][0]["message"]["content"] = quoted
    content = json.dumps(body, indent=2)
    found = read(log(tmp_path, f"[2026-09-10 00:37:12][INFO][m] Generated prediction: {content}"))
    assert found == (LoggedDraft("", 20, 17, "m"),)


def test_an_answer_cut_off_by_a_restart_counts_and_the_next_is_not_lost(tmp_path: Path) -> None:
    whole = answer("a").splitlines()
    cut = whole[: next(n for n, line in enumerate(whole) if "rejected" in line)]
    found = read(log(tmp_path, *cut, *answer("b").splitlines()))
    assert [each.main for each in found] == ["a", "b"]


def test_an_answer_that_is_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    written = today(tmp_path)
    content = answer()
    place = None
    drafts = 0
    for end in range(0, len(content) + 1, 40):
        written.write_text(content[:end])
        news, place = server_log.read_on(tmp_path, place)
        drafts += sum(len(each.drafts) for each in news)
    written.write_text(content)
    news, place = server_log.read_on(tmp_path, place)
    assert drafts + sum(len(each.drafts) for each in news) == 1


def test_llama_cpps_line_beside_its_answer_counts_once(tmp_path: Path) -> None:
    line = (
        "[2026-09-10 00:38:00][DEBUG] draft acceptance = 0.625 (   25 accepted /    40 generated)"
    )
    before = read(log(tmp_path, line, *answer().splitlines()))
    after = read(log(tmp_path, *answer().splitlines(), line))
    assert before == after == (LoggedDraft("qwen3-0.6b", 40, 25, "qwen3-8b"),)


def test_line_ends_of_windows_change_nothing(tmp_path: Path) -> None:
    recorded = path("0.4/server-logs/2026-09/2026-09-10.1.log")
    copy = tmp_path / "copy.log"
    copy.write_bytes(recorded.read_bytes().replace(b"\n", b"\r\n"))
    assert read(copy) == read(recorded)


def test_llama_cpps_own_line_is_found(tmp_path: Path) -> None:
    found = read(
        log(tmp_path, "draft acceptance rate = 0.57576 (  171 accepted /   297 generated)")
    )
    assert found == (LoggedDraft("", 297, 171),)


def test_a_draft_that_was_only_asked_for_counts_nothing(tmp_path: Path) -> None:
    assert read(log(tmp_path, '{"draft_model": "qwen3-0.6b", "model": "x"}')) == ()


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    assert len(read(log(tmp_path, answer(), "x" * 5_000_000, answer()))) == 1


def test_a_log_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "gone.log") == ()
    (tmp_path / "noise.log").write_bytes(os.urandom(100_000))
    assert read(tmp_path / "noise.log") == ()


def test_the_newest_log_is_found_by_month_day_and_number(tmp_path: Path) -> None:
    assert server_log.newest(tmp_path) is None
    logs = tmp_path / "server-logs"
    for name in (
        "2026-11/2026-11-03.1.log",
        "2026-11/2026-11-24.2.log",
        "2026-11/2026-11-24.10.log",
        "2026-11/notes.txt",
        "2026-09/2026-09-30.1.log",
        "2026-12/other.txt",
    ):
        (logs / name).parent.mkdir(parents=True, exist_ok=True)
        (logs / name).write_text("")
    assert server_log.newest(tmp_path) == logs / "2026-11" / "2026-11-24.10.log"


def today(home: Path, name: str = "2026-11-24.1.log") -> Path:
    at = home / "server-logs" / name[:7] / name
    at.parent.mkdir(parents=True, exist_ok=True)
    return at


def answer(main: str = "qwen3-8b", text: str = "") -> str:
    body = {"model": main, "choices": [{"message": {"content": text}}], "stats": STATS}
    return f"[INFO] Generated prediction: {json.dumps(body, indent=2)}\n"


def test_each_answer_is_told_once_however_often_one_looks(tmp_path: Path) -> None:
    log = today(tmp_path)
    log.write_text(answer())
    news, place = server_log.read_on(tmp_path, None)
    assert [each.drafts for each in news] == [(LoggedDraft("qwen3-0.6b", 40, 25, "qwen3-8b"),)]
    assert server_log.read_on(tmp_path, place) == ((), place)
    with log.open("a") as file:
        file.write(answer("qwen3-14b"))
    (more,), _ = server_log.read_on(tmp_path, place)
    assert [each.main for each in more.drafts] == ["qwen3-14b"]


def test_what_is_told_is_at_least_as_young_as_the_last_look(tmp_path: Path) -> None:
    log = today(tmp_path)
    log.write_text(answer())
    os.utime(log, (1_800_000_000, 1_800_000_000))
    (first,), place = server_log.read_on(tmp_path, None)
    assert datetime.fromtimestamp(first.since).astimezone().isoformat()[:19] == (
        "2026-11-24T00:00:00"
    )
    with log.open("a") as file:
        file.write(answer())
    (second,), _ = server_log.read_on(tmp_path, place)
    assert second.since == 1_800_000_000


def test_a_log_that_was_followed_by_another_is_read_to_its_end(tmp_path: Path) -> None:
    old = today(tmp_path)
    old.write_text(answer("a"))
    _, place = server_log.read_on(tmp_path, None)
    with old.open("a") as file:
        file.write(answer("b"))
    today(tmp_path, "2026-11-25.1.log").write_text(answer("c"))
    news, place = server_log.read_on(tmp_path, place)
    assert [each.main for told in news for each in told.drafts] == ["b", "c"]
    assert place is not None
    assert place.log.endswith("2026-11-25.1.log")


def test_a_log_that_was_written_anew_is_read_from_its_start(tmp_path: Path) -> None:
    log = today(tmp_path)
    log.write_text(answer() * 3)
    _, place = server_log.read_on(tmp_path, None)
    log.write_text(answer())
    (told,), _ = server_log.read_on(tmp_path, place)
    assert len(told.drafts) == 1


def test_no_text_outside_an_answer_is_taken_for_a_statistic(tmp_path: Path) -> None:
    log = today(tmp_path)
    log.write_text(f"{json.dumps({'content': json.dumps(STATS | {'model': 'x'})})}\n")
    assert server_log.read_on(tmp_path, None)[0] == ()


@given(padding=st.integers(0, 1500))
def test_an_answer_is_found_wherever_the_chunks_are_cut(padding: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = today(Path(folder))
        log.write_text("x" * (64 * 1024 - padding) + "\n" + answer())
        (told,), _ = server_log.read_on(Path(folder), None)
    assert told.drafts == (LoggedDraft("qwen3-0.6b", 40, 25, "qwen3-8b"),)


def test_a_pipe_in_place_of_a_log_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(today(tmp_path))
    assert server_log.read_on(tmp_path, None) == ((), None)


def test_answers_without_counts_behind_those_with_them_are_counted_by_main(tmp_path: Path) -> None:
    home = tmp_path
    path = home / "server-logs" / "2026-09" / "2026-09-10.1.log"
    path.parent.mkdir(parents=True)
    counted = value("0.4/api-v0-chat-completions.json")
    bare = json.loads(json.dumps(counted))
    for figures in (bare["usage"], bare["stats"]):
        for key in [key for key in figures if "draft" in key]:
            del figures[key]
    chat = value("0.4/api-v1-chat.json")
    lines = [
        f"[2026-09-10 00:35:{second:02}][INFO][qwen3-8b] Generated prediction: "
        + json.dumps(body, indent=2)
        for second, body in enumerate((bare, counted, bare, chat, bare, bare))
    ]
    path.write_text("\n".join(lines) + "\n")
    (news,), _ = server_log.read_on(home, None)
    assert (len(news.drafts), news.bare) == (1, {"qwen3-8b": 3})
