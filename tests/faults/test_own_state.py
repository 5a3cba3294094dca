"""What specd keeps for itself never stops the main job, and a fault never looks healthy."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import subprocess
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from specd.agent import lock
from specd.cli import ask
from specd.demo.models import SMALL, ensure
from specd.files.exchange import exchange
from tests.daemon import DEADLINE_S, Sandbox, quickest, until

FILES = (
    "conditions.json",
    "history.db",
    "holds.json",
    "last-good.toml",
    "validated.json",
    "logs/specd.log",
    "models.json",
    "run/specd.lock",
    "run/specd.sock",
    "bionic-log.json",
    "server-log.json",
    "tokenizers/tokenizers.db",
)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.mkdir()
    (path / "something").write_text("")


def junk(path: Path) -> None:
    path.write_bytes(b"\0\xff junk")


def a_link(path: Path) -> None:
    path.symlink_to("nowhere/at/all")


@pytest.mark.mlx
@pytest.mark.parametrize("placed", [a_pipe, a_link, junk])
def test_whatever_stands_in_place_of_its_folders_it_does_its_work(sandbox: Sandbox, placed) -> None:
    for name in ("tokenizers", "run", "logs"):
        sandbox.state.mkdir(exist_ok=True)
        placed(sandbox.state / name)
    pair(sandbox)
    sandbox.running()
    until(lambda: proven(sandbox), "the tokenizers are compared")
    assert sandbox.condition("SpecdWorks")["status"] == "true"
    assert "ready" in sandbox.said()


@pytest.mark.parametrize("placed", [a_pipe, a_link, junk])
def test_a_journal_that_may_be_elsewhere_is_not_begun_anew(sandbox: Sandbox, placed) -> None:
    sandbox.state.mkdir()
    placed(sandbox.state / "journal")
    link = "it is a link to " + os.path.realpath(sandbox.state / "nowhere/at/all")
    why = f"{link}, which is not there" if placed is a_link else "File exists"
    refused = sandbox.specd("run")
    assert refused.returncode == 2
    assert f"{sandbox.state / 'journal'}: {why}" in " ".join(refused.stderr.split())
    if placed is a_link:
        assert why in " ".join(sandbox.specd("doctor").stdout.split())
    for how in ([], ["--purge"]):
        undone = sandbox.specd("uninstall", "--restore-settings", *how)
        assert undone.returncode == 1
        assert why in " ".join(undone.stderr.split())
    assert [path.name for path in sandbox.state.glob("journal*")] == ["journal"]


@pytest.mark.parametrize("placed", [a_pipe, a_folder, a_link, junk])
def test_whatever_stands_in_place_of_its_files_it_does_its_work(sandbox: Sandbox, placed) -> None:
    for name in FILES:
        path = sandbox.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        placed(path)
    sandbox.running()
    sandbox.save()
    until(sandbox.applied, "a drift is restored")
    assert sandbox.stop() == 0


def test_a_history_that_cannot_be_opened_is_said_and_stops_nothing(sandbox: Sandbox) -> None:
    for end in ("-wal", "-journal"):
        (sandbox.state / f"history.db{end}").mkdir(parents=True)
    pair(sandbox)
    sandbox.running()
    assert sandbox.condition("SpecdWorks")["status"] == "false"
    sandbox.save()
    until(sandbox.applied, "a drift is restored")
    assert sandbox.stop() == 0


def test_a_command_says_in_words_that_a_database_cannot_be_used(sandbox: Sandbox) -> None:
    (sandbox.state / "history.db-journal").mkdir(parents=True)
    refused = sandbox.specd("history")
    assert refused.returncode == 2
    assert str(sandbox.state) in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("placed", [a_pipe, a_folder, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_in_the_journals_place_is_named_and_not_read(
    sandbox: Sandbox, placed
) -> None:
    path = sandbox.state / "journal" / "entries.jsonl"
    path.parent.mkdir(parents=True, mode=0o700)
    placed(path)
    refused = sandbox.specd("run")
    assert refused.returncode == 2
    assert str(path) in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("placed", [a_pipe, a_folder])
def test_a_journal_that_is_replaced_under_it_is_named(sandbox: Sandbox, placed) -> None:
    sandbox.running()
    assert sandbox.specd("restore", "--all").returncode == 0
    path = sandbox.state / "journal" / "entries.jsonl"
    kept = path.rename(sandbox.root / "kept")
    placed(path)
    answer = ask.ask("POST", "/v1/apply", state=sandbox.state)
    assert str(path) in str(answer["problems"])
    said = sandbox.condition("SpecdWorks")
    assert said["status"] == "false"
    assert str(path) in said["message"]
    doctor = sandbox.specd("doctor")
    assert doctor.returncode == 1
    assert str(path) in "".join(doctor.stdout.split())
    path.rename(sandbox.root / "gone")
    kept.rename(path)
    sandbox.forgive()
    assert sandbox.condition("SpecdWorks")["status"] == "true"
    assert sandbox.applied()


@pytest.mark.parametrize("placed", [a_pipe, lambda path: path.symlink_to("/dev/zero")])
def test_a_preset_that_is_no_file_is_passed_over(sandbox: Sandbox, placed) -> None:
    presets = sandbox.home / "config-presets"
    presets.mkdir(parents=True)
    placed(presets / "a.preset.json")
    sandbox.running()
    assert sandbox.specd("diff").returncode == 0
    assert sandbox.stop() == 0


def pair(sandbox: Sandbox) -> None:
    for recipe in (SMALL.main, SMALL.good):
        link = sandbox.home / "models" / recipe.identifier
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(ensure(recipe))
    sandbox.config.write_text(
        f'[[pair]]\nmain = "{SMALL.main.identifier}"\ndraft = "{SMALL.good.identifier}"\n'
    )


def proven(sandbox: Sandbox) -> bool:
    return sandbox.condition("TokenizersCompatible")["status"] == "true"


@pytest.mark.mlx
def test_caches_that_are_deleted_under_it_are_made_anew(sandbox: Sandbox) -> None:
    pair(sandbox)
    sandbox.running()
    until(lambda: proven(sandbox), "the tokenizers are compared")
    shutil.rmtree(sandbox.state / "tokenizers")
    for left in sandbox.state.glob("history.db*"):
        left.unlink()
    # Other models, so that what is remembered of these does not count.
    main, good = SMALL.main, SMALL.good
    sandbox.config.write_text(
        f'[[pair]]\nmain = "{good.identifier}"\ndraft = "{main.identifier}"\n'
    )
    seen = sandbox.status()["pairs"][0]["main"]

    def compared() -> bool:
        (pair,) = sandbox.status()["pairs"]
        return pair["main"] != seen and pair["verdict"] is not None

    until(compared, "the other pair is compared")
    assert (sandbox.state / "tokenizers" / "tokenizers.db").exists()
    # Work that met the files in the moment of their deletion may still have to succeed again.
    until(lambda: sandbox.condition("SpecdWorks")["status"] == "true", "nothing fails any more")


def test_locks_that_others_hold_keep_no_question_waiting(sandbox: Sandbox) -> None:
    sandbox.running()
    everything = [path for path in sandbox.root.rglob("*") if path.is_file() or path.is_dir()]
    with ExitStack() as held, sqlite3.connect(sandbox.state / "history.db") as holder:
        for path in everything:
            with suppress(FileNotFoundError):  # a temporary file goes meanwhile
                if path.name != "specd.lock":
                    descriptor = os.open(path, os.O_RDONLY)
                    held.callback(os.close, descriptor)
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
        holder.execute("BEGIN EXCLUSIVE")
        sandbox.save()

        def waiting(path: str) -> float:
            began = time.monotonic()
            assert ask.text(path, state=sandbox.state, timeout=DEADLINE_S)
            return time.monotonic() - began

        for path in ("/v1/status", "/v1/conditions", "/v1/journal", "/v1/history", "/metrics") * 4:
            assert quickest(partial(waiting, path), 0.5) < 0.5, path
        for _ in range(3):  # what the loop itself must answer waits for one try to write
            assert quickest(partial(waiting, "/v1/plan"), 2) < 2
    until(sandbox.applied, "a drift is restored")


def test_it_starts_and_answers_while_another_process_holds_the_journal(sandbox: Sandbox) -> None:
    sandbox.running()
    assert sandbox.stop() == 0
    with (sandbox.state / "journal" / "entries.jsonl").open("rb") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        sandbox.save()
        sandbox.start()
        until(
            lambda: "another specd" in sandbox.condition("SettingsApplied")["message"], "it says so"
        )
    until(sandbox.applied, "a drift is restored", 70)


@pytest.mark.parametrize("placed", [a_pipe, junk, a_link])
def test_what_replaces_the_directory_of_its_socket_is_set_aside(sandbox: Sandbox, placed) -> None:
    sandbox.running()
    run = sandbox.state / "run"
    run.rename(sandbox.root / "gone")
    placed(run)
    until((run / "specd.sock").exists, "it is made again")
    until(sandbox.answers, "it answers")
    assert list(sandbox.state.glob("run.broken-*"))
    assert sandbox.stop() == 0


@pytest.mark.parametrize("gone", ["the socket", "the directory", "all of it"])
def test_removed_under_it_they_are_made_again_and_no_second_daemon_starts(
    sandbox: Sandbox, gone: str
) -> None:
    pid = sandbox.running().status()["pid"]
    held = partial(lock.holder, sandbox.state / "run" / "specd.lock")
    if gone == "the socket":
        (sandbox.state / "run" / "specd.sock").unlink()
    else:
        directory = sandbox.state / "run" if gone == "the directory" else sandbox.state
        shutil.rmtree(directory.rename(sandbox.root / "gone"))
        until(lambda: held() == pid, "it has locked the new directory")

    def answers_and_keeps_its_lock() -> bool:
        assert held() == pid
        return sandbox.answers()

    until(answers_and_keeps_its_lock, "it answers")
    assert sandbox.status()["pid"] == pid
    second = sandbox.specd("run")
    assert second.returncode == 2
    assert f"process {pid}" in second.stderr
    sandbox.save()
    until(sandbox.applied, "a drift is restored")
    assert sandbox.stop() == 0


def test_while_paused_it_says_which_values_do_not_stand(sandbox: Sandbox) -> None:
    sandbox.running()
    assert sandbox.specd("pause").returncode == 0
    sandbox.save()
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "false", "it says so")
    assert "paused" in sandbox.condition("SettingsApplied")["message"]
    assert not sandbox.applied()
    assert sandbox.specd("status").returncode == 1
    assert sandbox.specd("resume").returncode == 0
    until(lambda: sandbox.condition("SettingsApplied")["status"] == "true", "it is restored")
    assert sandbox.applied()


def test_a_fault_turns_a_condition_false(sandbox: Sandbox) -> None:
    sandbox.running()
    (sandbox.root / "link").symlink_to("/proc")
    exchange(sandbox.root / "link", sandbox.state / "logs")  # in one step: it makes it anew
    sandbox.save()
    until(lambda: sandbox.condition("SpecdWorks")["status"] == "false", "it says so")
    assert sandbox.status()["state"] == "degraded"
    assert "Traceback" not in (sandbox.root / "daemon.out").read_text()
    (sandbox.state / "logs").unlink()
    sandbox.save()
    until(lambda: sandbox.condition("SpecdWorks")["status"] == "true", "and that it is over")


def test_whether_it_runs_the_lock_tells_and_not_a_number(sandbox: Sandbox) -> None:
    """The number in the file may be another program's by now, whatever that is called."""
    sandbox.save()
    lock = sandbox.state / "run" / "specd.lock"
    lock.parent.mkdir(parents=True)

    def applying() -> float:
        began = time.monotonic()
        assert sandbox.specd("apply").returncode == 0
        return time.monotonic() - began

    with subprocess.Popen(["sh", "-c", "sleep 600", "specd"]) as other:
        lock.write_text(f"{other.pid}\n")
        assert quickest(applying, 5) < 5
        other.kill()
    assert sandbox.applied()
