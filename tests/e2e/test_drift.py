"""The main job: what the app changes comes back, and nothing else of the file does."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.daemon import customize, switch

from .conftest import Sandbox, until

SETTINGS = {
    "language": "en",
    "chat": {"visualizeSpeculativeDecoding": False, "fontSize": 14},
    "downloadsFolder": "",
    "hfDownloadToken": "hf_secret_token",
    "übersicht": "schön",
}


def save_in_place(sandbox: Sandbox, document: dict) -> None:
    sandbox.settings.write_text(json.dumps(document, indent=2, ensure_ascii=False))


def save_by_rename(sandbox: Sandbox, document: dict) -> None:
    temporary = sandbox.home / "settings.json.tmp"
    temporary.write_text(json.dumps(document, indent=2, ensure_ascii=False))
    temporary.replace(sandbox.settings)


def wanted(sandbox: Sandbox) -> bool:
    document = sandbox.read()
    return (
        document is not None
        and switch(document) is True
        and document["chat"]["visualizeSpeculativeDecoding"] is True
    )


@pytest.fixture
def running(sandbox: Sandbox) -> Sandbox:
    save_in_place(sandbox, SETTINGS)
    sandbox.start()
    until(lambda: wanted(sandbox), "the first reconcile")
    return sandbox


@pytest.mark.parametrize("save", [save_in_place, save_by_rename])
def test_every_drift_is_restored_and_no_other_byte_changes(running: Sandbox, save):
    for count in range(20):
        running.forgive()
        save(running, {**SETTINGS, "counter": count})
        until(lambda: wanted(running), f"drift {count} is restored")
        document = running.read()
        assert document["counter"] == count
        assert document["hfDownloadToken"] == "hf_secret_token"
        assert document["übersicht"] == "schön"
        assert list(document)[: len(SETTINGS)] == list(SETTINGS)
    assert running.status()["last_write"]["surface"] == "settings"


def test_a_second_run_writes_nothing(running: Sandbox):
    before = running.status()["last_write"]["id"]
    content = running.settings.read_bytes()
    running.stop()
    running.start()
    assert running.status()["last_write"]["id"] == before
    assert running.settings.read_bytes() == content


def test_a_truncated_file_is_left_alone_until_it_is_whole(running: Sandbox):
    running.settings.write_bytes(b'{"chat": {"visual')
    until(lambda: running.condition("SettingsApplied")["status"] == "false", "Unreadable")
    assert running.condition("SettingsApplied")["reason"] == "Unreadable"
    assert running.settings.read_bytes() == b'{"chat": {"visual'
    save_in_place(running, SETTINGS)
    until(lambda: wanted(running), "restored once whole")
    until(lambda: running.condition("SettingsApplied")["status"] == "true", "condition recovers")


def test_the_home_may_go_and_come_back(running: Sandbox):
    away = running.root / "elsewhere"
    running.home.rename(away)
    until(lambda: running.condition("HomeFound")["status"] == "false", "HomeFound is false")
    running.home.mkdir()
    save_in_place(running, SETTINGS)
    until(lambda: wanted(running), "the new home is looked after")
    save_by_rename(running, {**SETTINGS, "again": 1})
    until(lambda: wanted(running), "and watched")
    assert running.condition("HomeFound")["status"] == "true"


def test_the_home_may_become_a_symlink(running: Sandbox):
    real = running.root / "real-home"
    running.home.rename(real)
    running.home.symlink_to(real)
    until(lambda: running.condition("HomeFound")["status"] == "true", "found behind the link")
    (real / "settings.json").write_text(json.dumps(SETTINGS))
    until(lambda: wanted(running), "a write behind the link is seen")


def test_settings_may_be_a_symlink_into_a_dotfiles_repository(sandbox: Sandbox):
    dotfiles = sandbox.root / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "lm.json").write_text(json.dumps(SETTINGS))
    sandbox.settings.symlink_to(dotfiles / "lm.json")
    sandbox.start()
    until(lambda: wanted(sandbox), "the target is edited")
    assert sandbox.settings.is_symlink()
    (dotfiles / "lm.json").write_text(json.dumps({**SETTINGS, "edited": True}))
    until(lambda: wanted(sandbox), "and watched")


def test_a_second_daemon_refuses_and_says_why(running: Sandbox):
    second = running.specd("run")
    assert second.returncode == 2
    assert str(running.process.pid) in second.stderr
    assert "another specd" in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(running: Sandbox, number):
    assert running.stop(number) == 0
    assert not (running.state / "run" / "specd.sock").exists()
    assert running.specd("status").returncode == 3


def test_a_killed_daemon_leaves_nothing_in_the_next_ones_way(running: Sandbox):
    running.stop(signal.SIGKILL)
    save_in_place(running, SETTINGS)
    running.start()
    until(lambda: wanted(running), "restored after a crash")


def test_a_broken_configuration_leaves_the_last_good_one_in_force(running: Sandbox):
    running.config.write_text("[speculation]\nvisualise = true\n")
    broken = until(
        lambda: (c := running.condition("ConfigValid"))["status"] == "false" and c, "ConfigValid"
    )
    assert "visualize" in broken["message"]
    assert "2" in broken["message"]
    until(lambda: "visualise" in running.said(), "the line in the log")
    assert running.said().count("visualise") == 1
    running.config.write_text("[speculation]\nenabled = 1\n")
    until(lambda: "must be true" in running.condition("ConfigValid")["message"], "another mistake")
    running.stop()
    running.start()
    until(lambda: running.condition("ConfigValid")["status"] == "false", "still wrong")
    assert running.said().count(":2: speculation.enabled") == 2
    save_in_place(running, SETTINGS)
    until(lambda: wanted(running), "the last good configuration still works")
    running.config.write_text("[speculation]\nvisualize = false\n")
    until(lambda: running.condition("ConfigValid")["status"] == "true", "valid again")
    until(lambda: running.read()["chat"]["visualizeSpeculativeDecoding"] is False, "and in force")


def test_every_start_without_a_home_says_so(sandbox: Sandbox):
    sandbox.home.rename(sandbox.home.with_name("away"))
    for starts in (1, 2):
        sandbox.start()
        until(lambda n=starts: sandbox.said().count("HomeFound is false") == n, "it is logged")
        sandbox.stop()


def test_a_configuration_that_is_being_written_is_not_taken_for_an_empty_one(sandbox: Sandbox):
    # On a busy machine this test may write for longer than specd waits.
    customize(sandbox, "import specd.agent.daemon as it\nit.CONFIG_UNFINISHED_S = 600.0\n")
    plain = "[speculation]\nvisualize = false\n"
    sandbox.config.write_text(plain)
    save_in_place(sandbox, SETTINGS)
    sandbox.start()
    until(lambda: switch(sandbox.read()) is True, "the first reconcile")
    with sandbox.config.open("w") as file:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            time.sleep(0.05)
            sandbox.process.send_signal(signal.SIGHUP)  # other reasons to look are none to read it
        file.write(f'[agent]\nlog_level = "debug"\n{plain}')
    until(lambda: "configuration read" in sandbox.said(), "what was written in the end")
    assert [each["id"] for each in sandbox.status()["last_writes"]] == [1]


def test_hup_reads_the_configuration_again(running: Sandbox):
    running.config.write_text('[agent]\nlog_level = "debug"\n')
    running.process.send_signal(signal.SIGHUP)
    until(lambda: "configuration read" in running.said(), "reloaded")
    assert running.process.poll() is None


def test_restore_undoes_a_write_and_it_stays_undone(running: Sandbox):
    written = running.status()["last_write"]["id"]
    undone = running.specd("restore", str(written))
    assert undone.returncode == 0, undone.stderr
    assert running.read()["chat"]["visualizeSpeculativeDecoding"] is False
    save_in_place(running, {**SETTINGS, "touched": 1})
    until(lambda: running.status()["held"], "the values are held")
    assert running.read()["chat"]["visualizeSpeculativeDecoding"] is False
