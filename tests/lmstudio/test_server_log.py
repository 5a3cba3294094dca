from __future__ import annotations

import json
import os
from pathlib import Path

from specd.lmstudio import server_log
from specd.lmstudio.server_log import LoggedDraft

STATS = {
    "tokens_per_second": 51.4,
    "draft_model": "qwen3-0.6b",
    "total_draft_tokens_count": 40,
    "accepted_draft_tokens_count": 25,
    "rejected_draft_tokens_count": 15,
    "ignored_draft_tokens_count": 0,
}


def log(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "2026-11-24.1.log"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_an_answers_statistics_are_found_spread_over_lines(tmp_path: Path) -> None:
    path = log(
        tmp_path,
        "[2026-11-24 13:00:00][INFO] Received request: POST /api/v0/chat/completions with body {",
        '  "model": "qwen3-8b", "draft_model": "qwen3-0.6b"',
        "}",
        "[2026-11-24 13:00:02][INFO] Generated prediction: "
        + json.dumps({"stats": STATS}, indent=2),
        "[2026-11-24 13:00:05][INFO] Generated prediction: " + json.dumps({"stats": STATS}),
    )
    assert server_log.read(path) == (LoggedDraft("qwen3-0.6b", 40, 25),) * 2


def test_llama_cpps_own_line_is_found(tmp_path: Path) -> None:
    path = log(tmp_path, "draft acceptance rate = 0.57576 (  171 accepted /   297 generated)")
    assert server_log.read(path) == (LoggedDraft("", 297, 171),)


def test_a_draft_that_was_only_asked_for_counts_nothing(tmp_path: Path) -> None:
    assert server_log.read(log(tmp_path, '{"draft_model": "qwen3-0.6b", "model": "x"}')) == ()


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    path = log(tmp_path, json.dumps(STATS), "x" * 5_000_000, json.dumps(STATS))
    assert len(server_log.read(path)) == 1


def test_a_log_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert server_log.read(tmp_path / "gone.log") == ()
    (tmp_path / "noise.log").write_bytes(os.urandom(100_000))
    assert server_log.read(tmp_path / "noise.log") == ()


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
