"""``diff``, ``apply`` and ``restore``, with and without a daemon: shown, done, undone to the byte."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from specd import places
from specd.cli import ask, main
from specd.lmstudio.models import models_dir
from tests.daemon import DEADLINE_S, Sandbox, switch, until

from .conftest import DRAFT, MAIN

PREFIX = "llm.prediction.speculativeDecoding"
DEFAULTS = ".internal/user-concrete-model-default-config/mlx-community/"


def contents(sandbox: Sandbox) -> dict[Path, bytes]:
    """Every file of LM Studio's that is not a model."""
    return {
        path.relative_to(sandbox.home): path.read_bytes()
        for path in sandbox.home.rglob("*")
        if path.is_file() and "models" not in path.relative_to(sandbox.home).parts[:1]
    }


def as_json(sandbox: Sandbox, *words: str) -> Any:
    return json.loads(sandbox.specd(*words, "--json").stdout)


def test_diff_shows_what_apply_then_does_and_changes_nothing_itself(seed: Sandbox) -> None:
    before = contents(seed)
    shown = seed.specd("diff")
    assert shown.returncode == 1
    assert '+    "speculativeDecoding": true' in shown.stdout
    assert '+        "value": "mlx-community/Josiefied-Qwen2.5-0.5B-abliterated"' in shown.stdout
    planned = as_json(seed, "diff")
    assert seed.specd("apply", "--dry-run").stdout == shown.stdout
    assert contents(seed) == before

    done = seed.specd("apply")
    assert done.returncode == 0
    written = {path for path, content in contents(seed).items() if before.get(path) != content}
    assert written == {Path(edit["path"]).relative_to(seed.home) for edit in planned["edits"]}
    for edit in planned["edits"]:
        for change in edit["changes"]:
            assert f"{edit['path']}: {change['key']}: " in done.stdout
    assert "(undo: specd restore 1)" in done.stdout

    again = seed.specd("diff")
    assert (again.returncode, again.stdout) == (0, "")
    assert seed.specd("apply").stdout == "nothing to change\n"


def test_a_journal_that_cannot_be_read_is_not_called_empty(seed: Sandbox) -> None:
    seed.specd("apply")
    written = seed.settings.read_bytes()
    (journal,) = seed.state.glob("journal/entries.jsonl")
    lines = journal.read_bytes().splitlines()
    journal.write_bytes(b"".join(line[::-1] + b"\n" for line in lines))
    for option, code in (("--list", 0), ("--all", 2)):
        done = seed.specd("restore", option)
        assert (done.returncode, done.stdout) == (code, "")
        assert f"{len(lines)} lines of the journal cannot be read" in done.stderr
    assert seed.settings.read_bytes() == written


def test_restore_undoes_one_write_or_all_of_them_to_the_byte(seed: Sandbox) -> None:
    before = contents(seed)
    assert seed.specd("restore").stdout == "specd has written nothing yet\n"
    seed.specd("apply")
    listed = as_json(seed, "restore", "--list")
    assert [entry["id"] for entry in listed] == [1, 2]
    settings = next(each for each in listed if each["path"].endswith("settings.json"))
    done = seed.specd("restore", str(settings["id"]))
    assert done.returncode == 0
    assert "(the file is as it was)" in done.stdout
    assert seed.settings.read_bytes() == before[Path("settings.json")]
    assert "(undone)" in seed.specd("restore", "--list").stdout

    assert seed.specd("restore", "--all").returncode == 0
    assert contents(seed) == before
    assert seed.specd("restore", "--all").stdout.startswith(
        "nothing to undo\nspecd writes nothing from "
    )


def test_what_was_restored_is_left_alone_until_apply_asks_for_it(seed: Sandbox) -> None:
    seed.specd("apply")
    seed.specd("restore", "--all")
    shown = seed.specd("diff")
    assert (shown.returncode, shown.stdout) == (0, "")
    assert shown.stderr.startswith("specd: left alone since you restored it: ")
    assert " configPresetInclusiveness.speculativeDecoding, " in shown.stderr
    assert shown.stderr.endswith("; `specd apply` sets it again\n")
    assert seed.specd("apply").returncode == 0
    assert switch(seed.read()) is True


def test_what_cannot_be_restored_is_said(seed: Sandbox) -> None:
    seed.specd("apply")
    done = seed.specd("restore", "99")
    assert done.returncode == 2
    assert "99" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pair_that_may_not_be_is_said_and_the_rest_is_done(seed: Sandbox) -> None:
    folder = next(models_dir(seed.home, None).glob("*/Josiefied-Qwen2.5-0.5B*"))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["th"], vocabulary["in"] = vocabulary["in"], vocabulary["th"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    before = contents(seed)
    done = seed.specd("apply")
    assert done.returncode == 1
    assert f"{MAIN}-4bit ← {DRAFT}" in done.stderr
    assert switch(seed.read()) is True
    changed = {path for path, content in contents(seed).items() if before.get(path) != content}
    assert not any(DEFAULTS in str(path) for path in changed)


def test_a_broken_configuration_stops_it_with_the_line(seed: Sandbox) -> None:
    before = contents(seed)
    seed.config.write_text("[speculation]\nenabled = maybe\n")
    for command in ("diff", "apply"):
        done = seed.specd(command)
        assert done.returncode == 2
        assert "specd.toml:2" in done.stderr
    assert contents(seed) == before


def test_a_dry_run_shows_what_was_restored_too_because_apply_sets_it_again(seed: Sandbox) -> None:
    first = seed.specd("apply", "--dry-run").stdout
    seed.specd("apply")
    seed.specd("restore", "--all")
    assert seed.specd("apply", "--dry-run").stdout == first


@pytest.fixture
def restored(seed: Sandbox) -> Sandbox:
    """A running daemon that leaves alone what the user took back."""
    seed.start()
    until(lambda: switch(seed.read()) is True, "the settings stand")
    until(lambda: seed.condition("PairsConfigured")["status"] == "true", "the pair stands")
    assert seed.specd("restore", "--all").returncode == 0
    assert "configPresetInclusiveness.speculativeDecoding" in seed.status()["held"]
    return seed


def test_apply_has_the_running_daemon_take_back_what_was_restored(restored: Sandbox) -> None:
    done = restored.specd("apply")
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "settings.json: configPresetInclusiveness.speculativeDecoding: false → true ("
        in done.stdout
    )
    assert f"{PREFIX}.draftModel: " in done.stdout
    assert restored.status()["held"] == []
    # From now on it is kept again, without anybody's asking.
    document = restored.read()
    del document["configPresetInclusiveness"]
    restored.settings.write_text(json.dumps(document))
    until(lambda: switch(restored.read()) is True, "it is kept again")
    assert restored.specd("apply").stdout == "nothing to change\n"


def test_a_change_of_what_specd_toml_asks_for_releases_it_too(restored: Sandbox) -> None:
    assert restored.specd("config", "set", "agent.log_level", "debug").returncode == 0
    assert "configPresetInclusiveness.speculativeDecoding" in restored.status()["held"]
    assert restored.specd("config", "set", "speculation.visualize", "false").returncode == 0
    until(lambda: switch(restored.read()) is True, "it is set again")
    until(lambda: restored.status()["held"] == [], "and nothing is held any more")


def test_so_does_one_while_specd_was_not_running(restored: Sandbox) -> None:
    restored.stop()
    restored.start()
    assert "configPresetInclusiveness.speculativeDecoding" in restored.status()["held"]
    restored.stop()
    assert restored.specd("config", "set", "speculation.visualize", "false").returncode == 0
    restored.start()
    until(lambda: switch(restored.read()) is True, "it is set again")


def test_a_running_daemon_that_knows_no_such_write_says_so(restored: Sandbox) -> None:
    done = restored.specd("restore", "99")
    assert done.returncode == 2
    assert done.stderr == (
        "specd: there is no write number 99; `specd restore --list` lists them\n"
    )


@pytest.mark.parametrize("words", [["apply"], ["restore", "--all"]])
def test_a_daemon_that_hangs_is_not_gone_around(
    restored: Sandbox, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    before = contents(restored)
    monkeypatch.setattr(ask, "_exchange", _hung)
    for name, value in restored.environment.items():
        monkeypatch.setenv(name, value)
    assert main.main(words) == ask.Hung.exit_code
    assert contents(restored) == before


def _hung(*_: object) -> tuple[int, bytes]:
    raise ask.Hung("the specd daemon gave no answer")


def test_a_daemon_that_is_just_starting_is_waited_for(restored: Sandbox) -> None:
    assert restored.specd("apply").returncode == 0
    restored.stop()
    process = restored.start(wait=False)
    lock = places.lock_path(restored.state)
    until(lambda: lock.read_text().strip() == str(process.pid), "it has begun")
    process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor() as pool:
        undone = pool.submit(restored.specd, "restore", "--all")
        with pytest.raises(TimeoutError):
            undone.result(1.0)
        process.send_signal(signal.SIGCONT)
        done = undone.result(60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "configPresetInclusiveness.speculativeDecoding" in restored.status()["held"]
    assert switch(restored.read()) is False


def test_a_daemon_that_hangs_gets_no_order_that_it_carries_out_later(restored: Sandbox) -> None:
    assert restored.specd("apply").returncode == 0
    process = restored.process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    refused = restored.specd("restore", "--all")
    assert refused.returncode == 4
    assert "no answer within" in refused.stderr
    assert restored.specd("stop").stdout == f"stopped process {process.pid}\n"
    assert process.wait(DEADLINE_S) == 0
    restored.start()
    assert restored.status()["held"] == []
    assert switch(restored.read()) is True


def test_a_narrow_terminal_breaks_nothing_by_itself(seed: Sandbox) -> None:
    for words in (
        "diff",
        "apply",
        "restore --list",
        "restore --all",
        "restore 1",
        "config set on_slower disable",
        "config unset on_slower",
        "config set agent.notfy true",
        "status",
        "status --wach",
        "trial",
        "history",
    ):
        shown = seed.on_a_terminal(*words.split(), columns=40)
        assert shown, words
        assert [line for line in shown.splitlines() if len(line) > 40] == [], words
