"""The status screen: every fault with its next step, at any width, with and without colour."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.cli import paint
from specd.cli.look import status
from specd.reconcile.conditions import CONDITIONS
from tests.cli.conftest import MAIN, measured
from tests.daemon import DEADLINE_S, Sandbox, until

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def answer(**more: Any) -> dict[str, Any]:
    """A daemon's answer as it stands after a good night."""
    return {
        "version": "0.1.0",
        "state": "healthy",
        "home": "/home/ada/.lmstudio",
        "uptime_s": 7200.0,
        "paused": False,
        "conditions": [
            condition("SettingsApplied", "true", "Applied", "every wanted value stands"),
            condition("Faster", "unknown", "NotMeasured", "not benchmarked yet"),
        ],
        "pairs": [],
        "held": [],
        "last_writes": [],
        "restores": {"today": 0, "week": 0, "last": None},
        "next_benchmark": None,
        "benchmark": None,
        **more,
    }


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def condition(
    kind: str, status: str, reason: str, message: str, remedy: str = "", severity: str = "state"
) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "since": "2026-11-24T20:00:00+00:00",
        "remedy": remedy,
        "severity": severity,
    }


PAIR = {
    "main": "qwen3-8b",
    "draft": "qwen3-0.6b",
    "draft_tokens": 3,
    "verdict": "compatible",
    "speedup": 1.31,
    "interval": [1.22, 1.4],
    "gain": "1.31× faster [1.22, 1.40] with 3 draft tokens",
    "measured_at": "2026-11-20T04:30:00+00:00",
    "state": "wanted",
    "why": "measured 1.31× with 3 draft tokens",
    "observed": None,
    "in_use": None,
}

WRITE = {
    "id": 12,
    "time": "2026-11-24T20:00:00+00:00",
    "path": "/home/ada/.lmstudio/settings.json",
    "surface": "settings",
    "state": "written",
    "changes": [{"key": "speculativeDecoding", "old": None, "new": True, "why": "wanted"}],
}


def test_the_first_line_is_the_verdict() -> None:
    used = {**PAIR, "observed": {"drafted": 100, "accepted": 60}}
    kept = {"today": 2, "week": 14, "last": None}
    silent = {**PAIR, "observed": {"drafted": 100, "accepted": 60, "silent": True}}
    for pairs, more, sentence in [
        ([silent], {}, "LM Studio is set to draft for qwen3-8b with qwen3-0.6b: 1.3× faster."),
        ([used], {"restores": kept}, "LM Studio drafts for qwen3-8b with qwen3-0.6b: 1.3× faster, kept 14 times this week."),
        ([PAIR], {}, "LM Studio is set to draft for qwen3-8b with qwen3-0.6b: 1.3× faster."),
        ([{**used, "speedup": None}], {}, "LM Studio drafts for qwen3-8b with qwen3-0.6b: not measured yet."),
        ([{**PAIR, "speedup": 0.8}], {}, "LM Studio is set to draft for qwen3-8b with qwen3-0.6b: 0.8× as fast."),
        ([{**PAIR, "state": "withdrawn"}], {}, "LM Studio is set to run qwen3-8b without a draft: none was faster."),
        ([{**PAIR, "state": "withdrawn", "reason": "SwitchedOff"}], {}, "LM Studio is set to run qwen3-8b without a draft: speculation is switched off in specd.toml."),
        ([{**PAIR, "state": "withdrawn", "reason": "ChangesText"}], {}, "LM Studio is set to run qwen3-8b without a draft: the draft changes its answers."),
        ([{**PAIR, "state": "withdrawn", "set_by_user": "a/b"}], {}, "LM Studio is set to draft for qwen3-8b with a/b: you set it there."),
        ([{**PAIR, "state": "adopted", "reason": "ChangesText"}], {}, "LM Studio is set to draft for qwen3-8b with qwen3-0.6b: 1.3× faster, and its answers change."),
        ([{**PAIR, "state": "waiting"}], {}, "specd is comparing drafts for qwen3-8b."),
        ([{**PAIR, "ignored": True}], {}, "LM Studio does not draft for qwen3-8b: it ignores the file that is to name the draft."),
        ([{**PAIR, "unwritten": True}], {}, "specd cannot set LM Studio to draft for qwen3-8b with qwen3-0.6b."),
        ([{**PAIR, "state": "missing", "draft": None, "left": "a/b"}], {}, "LM Studio is still set to draft for qwen3-8b with a/b."),
        ([{**PAIR, "state": "missing", "draft": None, "left": "mtp"}], {}, "LM Studio is still set to draft for qwen3-8b with mtp."),
        ([{**PAIR, "state": "refused"}], {}, "LM Studio does not draft for qwen3-8b."),
        ([used, {**used, "speedup": 1.5}], {}, "LM Studio drafts for 2 of 2 models: 1.3× to 1.5× as fast."),
        ([PAIR, {**PAIR, "state": "refused", "reason": "SameFile"}], {}, "LM Studio is set to draft for qwen3-8b with qwen3-0.6b: 1.3× faster."),
        ([], {}, "specd keeps LM Studio's settings; no pair is configured."),
        ([used], {"paused": True}, "specd is paused and writes nothing until `specd resume` or a restart."),
        ([], {"home": None}, "specd waits for LM Studio's home."),
    ]:  # fmt: skip
        assert status.verdict(answer(pairs=pairs, **more)) == sentence
    wrong = answer(pairs=[used], conditions=[RESTART])
    assert status.verdict(wrong).endswith("1.3× faster, but 1 thing needs attention.")
    off = answer(pairs=[{**used, "state": "refused"}], conditions=[RESTART])
    assert status.verdict(off) == "LM Studio does not draft for qwen3-8b; 1 thing needs attention."


def test_wide_letters_count_as_two_columns() -> None:
    assert paint.wrap("日本語の社 日本語の社", 20, "") == "日本語の社\n日本語の社"
    assert paint.wrap("e\u0301" * 17 + " ab", 20, "") == "e\u0301" * 17 + " ab"


def test_the_empty_parts_of_a_new_file_are_not_told() -> None:
    made = {"key": "load.fields", "old": None, "new": []}
    change = WRITE["changes"][0]
    assert status.worth_showing([made, change]) == [change]
    assert status.worth_showing([made]) == [made]


RESTART = condition(
    "AppUpToDate", "false", "RestartNeeded", "specd wrote after it started", "restart LM Studio"
)
SERVER = condition(
    "ServerReachable", "false", "NoAnswer", "no answer", "`lms server start`", "advice"
)


def test_a_refused_draft_is_one_thing() -> None:
    known = ("PairsConfigured", "state"), ("TokenizersCompatible", "detail")
    refused = [condition(kind, "false", "Some", "it is", "do", grave) for kind, grave in known]
    shown = status.render(answer(state="degraded", conditions=refused), 80)
    assert "1 thing needs attention" in " ".join(shown.split())
    assert "✗ PairsConfigured" in shown
    assert "TokenizersCompatible" not in shown


def test_a_fault_is_shown_with_what_to_do_then_advice_without_a_cross() -> None:
    shown = status.render(
        answer(
            state="degraded",
            conditions=[
                SERVER,
                RESTART,
                condition(
                    "CacheAgrees", "false", "ListsUnusable", "it lists a wrong one", "refresh"
                ),
                condition("Uncontended", "true", "Quiet", "all is quiet"),
                condition("SpecdWorks", "false", "Fault", "log: disk full", "`specd logs`"),
            ],
        ),
        80,
    )
    lines = shown.splitlines()
    at = lines.index("✗ CacheAgrees: it lists a wrong one")  # the dangerous one comes first
    assert lines[at + 1 : at + 7] == [
        "  → refresh",
        "✗ AppUpToDate: specd wrote after it started",
        "  → restart LM Studio",
        "✗ SpecdWorks: log: disk full",
        "  → `specd logs`",
        "· ServerReachable: no answer: `lms server start`",
    ]
    assert "Uncontended" not in shown
    assert shown.count("✗") == 3


def test_all_conditions_are_shown_when_asked_for() -> None:
    shown = status.render(answer(conditions=[SERVER, RESTART]), 80, everything=True)
    assert "Conditions\n  · ServerReachable: no answer\n  ✗ AppUpToDate: specd wrote" in shown


def test_a_pair_is_shown_with_verdict_length_speed_up_and_its_age() -> None:
    shown = status.render(answer(pairs=[PAIR], last_writes=[WRITE]), 80)
    assert "qwen3-8b ← qwen3-0.6b\n    compatible · 3 draft tokens · measured 1.31×" in shown
    told = " ".join(shown.split())
    assert re.search(r"\[1\.22, 1\.40\], \d+ d ago", told)


@pytest.mark.parametrize(
    "known",
    [{"state": "refused", "reason": "SameFile"}, {"state": "missing", "reason": "NoSuchMain"}],
)
def test_a_pair_that_is_not_in_force_is_not_shown_as_if_it_were(known: dict[str, str]) -> None:
    shown = status.render(answer(pairs=[PAIR, {**PAIR, **known}]), 80)
    assert shown.count("compatible · ") == 1
    assert shown.count("not in force; the reason is below") == 1
    off = {**PAIR, "state": "withdrawn", "reason": "SwitchedOff", "why": "switched off"}
    shown = status.render(answer(pairs=[off]), 80)
    assert "\n    switched off\n" in shown
    assert "compatible · " not in shown


def test_the_last_writes_are_shown_with_age_file_key_and_both_values_the_same_ones_once() -> None:
    draft = {
        "key": "llm.prediction.speculativeDecoding.draftModel",
        "old": "publisher/" + "long" * 20,
        "new": "qwen3-0.6b",
        "why": "wanted",
    }
    path = "/home/ada/.lmstudio/.internal/user-concrete-model-default-config/q/qwen3-8b.json"
    writes = [WRITE, {**WRITE, "id": 11}, {**WRITE, "id": 7, "path": path, "changes": [draft]}]
    shown = status.render(answer(last_writes=writes), 80)
    lines = shown[shown.index("Last writes") :].splitlines()
    assert re.fullmatch(
        r"   12  \d+ \w+ ago, settings.json: speculativeDecoding \(unset\) → true \(2 times\)",
        lines[1],
    )
    told = " ".join(" ".join(lines).split())
    assert re.search(r' 7 \d+ \w+ ago, qwen3-8b.json: draftModel "publisher/long', told)
    assert f'{"long" * 12}… → "qwen3-0.6b"' in told
    assert "No value that specd wrote stands in the files now." in status.render(answer(), 80)


def test_a_full_screen_fits_a_small_terminal() -> None:
    pair = {**PAIR, "observed": {"drafted": 100, "accepted": 60}, "in_use": None}
    writes = [{**WRITE, "id": n, "path": f"/home/ada/{n}.json"} for n in range(20, 0, -1)]
    much = answer(
        pairs=[*[pair] * 8, {**pair, "main": "gone", "state": "missing"}],
        last_writes=writes,
        conditions=[SERVER, RESTART, condition("Faster", "unknown", "NotMeasured", "no", "bench", "advice")],
    )  # fmt: skip
    shown = status.render(much, 80, 23)
    assert len(shown.splitlines()) <= 23
    assert "✗ AppUpToDate" in shown
    assert "and 5 more; `specd status --all` shows them" in shown
    assert "  gone ← qwen3-0.6b" in shown
    assert len(status.render(much, 80).splitlines()) > 23
    assert "  and 7 more; `specd status --all`\n  shows them\n" in status.render(much, 36, 23)


@pytest.mark.parametrize("columns", [30, 40, 60])
def test_on_a_narrow_terminal_long_names_keep_their_indent_and_keys_stay_whole(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    name = "josiefied-qwen3-8b-abliterated-v1-4bit"
    key = {**WRITE["changes"][0], "key": "chat.visualizeSpeculativeDecoding"}
    shown = status.render(
        answer(
            pairs=[{**PAIR, "main": name, "draft": name}],
            last_writes=[{**WRITE, "changes": [key], "path": f"/x/{name}{name}.json"}],
        ),
        columns,
    )
    lines = shown.splitlines()
    assert all(len(line) <= max(columns, 7 + 20 + 2) for line in lines)
    pair = [line for line in lines if line.startswith(" ") and "josiefied" in line]
    assert len(pair) >= 2
    if columns >= 40:
        assert "visualizeSpeculativeDecoding" in shown


def test_paths_under_the_home_directory_are_written_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    fault = condition("SettingsApplied", "false", "ReadOnly", "/home/ada/x.json is read-only", "x")
    elsewhere = {**fault, "message": "/backup/home/ada/x.json is read-only"}
    shown = status.render(answer(conditions=[fault, elsewhere]), 80)
    assert "SettingsApplied: ~/x.json is read-only" in shown
    assert "SettingsApplied: /backup/home/ada/x.json is read-only" in shown


@pytest.mark.parametrize("columns", [30, 40, 59, 60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_unless_a_word_is(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    wordy = "every wanted value stands in LM Studio's own settings " * 3
    shown = status.render(
        answer(
            conditions=[
                condition("TokenizersCompatible", "false", "Incompatible", wordy),
                condition("SettingsApplied", "true", "Applied", wordy),
            ],
            pairs=[{**PAIR, "state": "withdrawn", "why": wordy}],
            last_writes=[WRITE],
            held=["speculativeDecoding"],
            benchmark=f"postponed: {wordy}",
        ),
        columns,
    )
    for line in ESCAPE.sub("", shown).splitlines()[1:]:
        room = max(columns, 24 + 20)  # a column of text is never narrower than 20
        assert len(line) <= room or len(line.split()) == 1, repr(line)
        assert line == line.rstrip()


@given(text=st.text())
def test_nothing_that_is_shown_can_reach_the_terminal_as_a_command(text: str) -> None:
    shown = status.render(
        answer(
            home=text,
            conditions=[condition("SettingsApplied", "false", "Applied", text)],
            pairs=[{**PAIR, "main": text, "why": text, "state": "missing"}],
            last_writes=[{**WRITE, "path": text}],
            held=[text],
            benchmark=text,
        ),
        80,
    )
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_colour_is_for_terminals_and_no_color_is_heard(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.running()
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b" not in sandbox.specd("status").stdout
    assert "\x1b[32m" in on_a_terminal(sandbox)[0]
    sandbox.env["NO_COLOR"] = "1"
    assert "\x1b" not in on_a_terminal(sandbox)[0]


def on_a_terminal(
    sandbox: Sandbox,
    *words: str,
    enough: Callable[[bytes], bool] = lambda _: False,
    resized: tuple[int, int] | None = None,
    suspended: bool = False,
) -> tuple[str, int]:
    """What ``specd status`` shows on a terminal; Ctrl-C ends it when it has shown ``enough``.

    ``resized``: rows and columns from the first screen on; ``suspended``: once, after it.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "specd", "status", *words],
        env=sandbox.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown, interrupted = b"", False
    while True:
        if enough(shown) and not interrupted:
            process.send_signal(signal.SIGINT)
            interrupted = True  # once: a second one would come while it ends
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        shown += chunk
        if resized is not None and screens(shown):
            termios.tcsetwinsize(ours, resized)
        if suspended and screens(shown):
            process.send_signal(signal.SIGTSTP)
            suspended = False
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.wait(DEADLINE_S)


def test_watch_draws_over_itself_until_it_is_interrupted(sandbox: Sandbox) -> None:
    sandbox.running()
    shown, code = on_a_terminal(
        sandbox, "--watch", enough=lambda so_far: so_far.count(b"\x1b[H") >= 3
    )
    assert shown.count("\x1b[H") >= 2
    assert shown.startswith(status.ENTER)
    assert shown.endswith(status.LEAVE)
    assert "looked at " in shown
    assert "\x1b[2J" not in shown  # clearing first is what flickers
    # Erasing after a row that is full takes its last character away.
    assert not re.search(r"[^\nH]\x1b\[K", shown)
    assert code in (0, 1)
    assert "Traceback" not in shown


def test_a_suspended_watch_gives_the_screen_back_until_it_goes_on(sandbox: Sandbox) -> None:
    sandbox.running()
    # The kernel does not stop a process that no shell could continue: here it goes on at once.
    left = f"{status.LEAVE}{status.ENTER}"
    shown, _ = on_a_terminal(
        sandbox, "--watch", enough=lambda so_far: left.encode() in so_far, suspended=True
    )
    assert shown.startswith(status.ENTER)
    assert left in shown
    assert shown.endswith(status.LEAVE)


def test_a_draft_that_was_taken_out_as_it_gains_nothing_is_judged_all_the_same(
    seed: Sandbox,
) -> None:
    seed.config.write_text(
        f'[[pair]]\nmain = "{MAIN}"\ndraft = "auto"\n[benchmark]\non_slower = "disable"\n'
    )
    measured(seed, 3, 1.13, (0.93, 1.37))
    seed.start()
    until(lambda: seed.status()["pairs"][0]["state"] == "withdrawn", "it is taken out")
    told = seed.status()
    states = {each["type"]: (each["status"], each["reason"]) for each in told["conditions"]}
    assert states["TokenizersCompatible"] == ("true", "Proven")
    assert states["EngineWillSpeculate"] == ("true", "NothingInTheWay")
    assert told["state"] == "healthy"


def screens(shown: bytes) -> list[list[str]]:
    """The rows of each screen that ``--watch`` has drawn whole."""
    drawn = [each.replace("\x1b[K", "") for each in shown.decode("utf-8", "ignore").split("\x1b[H")]
    rows = [each.replace("\r\n", "\n").split("\n") for each in drawn]
    return [each for each in rows if "Ctrl-C ends" in each[-1]]


def test_watch_follows_the_size_of_its_terminal(sandbox: Sandbox) -> None:
    # COLUMNS and LINES, which a parallel run of the tests sets, would stand above the terminal's.
    sandbox.env |= {"NO_COLOR": "1", "COLUMNS": "", "LINES": ""}
    sandbox.running()
    seen: list[list[str]] = []

    def enough(so_far: bytes) -> bool:
        if [len(each) for each in seen[-2:]] != [9, 9]:
            seen[:] = screens(so_far)
        return [len(each) for each in seen[-2:]] == [9, 9]

    on_a_terminal(sandbox, "--watch", enough=enough, resized=(9, 40))
    assert (len(seen[0]), len(seen[-1])) == (24, 9)
    assert max(map(len, seen[0])) > 40 >= max(map(len, seen[-1]))


def test_json_holds_what_programs_rely_on(sandbox: Sandbox) -> None:
    sandbox.running()
    done = sandbox.specd("status", "--json")
    told = json.loads(done.stdout)
    assert {
        "version", "state", "home", "pid", "uptime_s", "conditions", "pairs", "last_write",
        "last_writes", "next_benchmark",
    } <= told.keys()  # fmt: skip
    assert [each["type"] for each in told["conditions"]] == [each.type for each in CONDITIONS]
    assert done.returncode == (0 if told["state"] == "healthy" else 1)


def test_without_a_daemon_json_stays_json(sandbox: Sandbox) -> None:
    done = sandbox.specd("status", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["state"] == "stopped"
    done = sandbox.specd("status")
    assert (done.returncode, done.stdout) == (3, "")
    assert "`specd install`" in done.stderr


def test_a_fault_ends_with_one(sandbox: Sandbox) -> None:
    sandbox.running()
    until(lambda: sandbox.specd("status").returncode == 0, "all is well")
    sandbox.settings.write_text("{")
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "false", "the fault is seen")
    done = sandbox.specd("status")
    assert done.returncode == 1
    assert "→ open and save LM Studio's settings" in done.stdout
