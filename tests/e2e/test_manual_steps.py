"""What a person had to do by hand in LM Studio's windows, done by the daemon, and seen to work.

By hand it was: switch the interface to its power-user level, choose the draft for the main model in
its default settings, switch the colouring of drafted tokens on, switch speculative decoding on in
the config presets, restart the app, and look whether the answers have draft statistics.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.seed_home import DRAFT, MAIN, seed_home
from tests.chats import answer, chat
from tests.daemon import Sandbox, until

CONFIG = """\
[speculation]
settings_key = "configPresetInclusiveness.speculativeDecoding"
{level}
[[pair]]
main = "josiefied-qwen3-8b-abliterated-v1"
draft = "josiefied-qwen2.5-0.5b-abliterated"
draft_tokens = 3

[agent]
resync_seconds = {resync_seconds}
"""

PREFIX = "llm.prediction.speculativeDecoding"


@pytest.fixture
def seed(sandbox: Sandbox) -> Sandbox:
    sandbox.home.rmdir()
    seed_home(sandbox.home)
    return sandbox


def start(seed: Sandbox, level: str = "", resync_seconds: int = 1) -> Sandbox:
    seed.config.write_text(CONFIG.format(level=level, resync_seconds=resync_seconds))
    seed.start()
    until(lambda: seed.condition("PairsConfigured")["status"] == "true", "the pair stands")
    until(lambda: seed.condition("SettingsApplied")["status"] == "true", "the settings stand")
    return seed


def defaults(seed: Sandbox) -> Path:
    folder = seed.home / ".internal" / "user-concrete-model-default-config"
    return folder / f"{MAIN}.json"


def fields(document: dict[str, Any], section: str) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in document[section]["fields"]}


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in leaves(inner, f"{path}.{name}".lstrip(".")).items()
    }


def test_every_step_but_the_level_is_done_unasked_and_nothing_else(seed: Sandbox) -> None:
    before, model_before = leaves(seed.read()), seed.read(defaults(seed))
    start(seed)
    after = leaves(seed.read())
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed == {
        "chat.visualizeSpeculativeDecoding",
        "configPresetInclusiveness.speculativeDecoding",
    }
    assert all(after[key] is True for key in changed)
    model = seed.read(defaults(seed))
    assert fields(model, "operation") == {
        **fields(model_before, "operation"),
        f"{PREFIX}.draftModel": DRAFT,
        f"{PREFIX}.numDraftTokensExact": 3,
    }
    # More than one request at a time, LM Studio's default, would switch speculation off.
    assert fields(model, "load") == {
        **fields(model_before, "load"),
        "llm.load.numParallelSessions": 1,
    }


@pytest.mark.parametrize(("before", "asked", "after"), [(0, 2, 2), (1, 2, 2), (3, 2, 3)])
def test_the_power_user_level_is_raised_when_asked_for_and_never_lowered(
    seed: Sandbox, before: int, asked: int, after: int
) -> None:
    settings = seed.read()
    del settings["developerMode"]  # which an older LM Studio does not have
    seed.settings.write_text(json.dumps({**settings, "userInterfaceComplexityLevel": before}))
    start(seed, level=f"ui_level = {asked}\n")
    assert seed.read()["userInterfaceComplexityLevel"] == after


@pytest.fixture
def lm_studio(seed: Sandbox) -> Iterator[Any]:
    """Starts, and restarts, a program that the home names as the installed app."""
    program = seed.root / "lmstudio-of-this-test"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    location = seed.home / ".internal" / "app-install-location.json"
    location.write_text(json.dumps({"path": str(program), "argv": [], "cwd": str(seed.root)}))
    running: list[subprocess.Popen[bytes]] = []

    def restart() -> None:
        while running:
            ended = running.pop()
            ended.kill()
            ended.wait(10)
        running.append(subprocess.Popen([program, "600"]))

    yield restart
    while running:
        ended = running.pop()
        ended.kill()
        ended.wait(10)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS runs no copies of its own programs")
def test_it_is_told_when_the_app_must_be_restarted_and_when_it_has_been(
    seed: Sandbox, lm_studio: Any
) -> None:
    lm_studio()
    start(seed)
    until(lambda: seed.condition("AppUpToDate")["status"] == "false", "the old app is seen")
    assert seed.condition("AppUpToDate")["reason"] == "RestartNeeded"
    assert "→ restart LM Studio" in seed.specd("status").stdout
    lm_studio()
    # Between the old one and the new one, none may have been seen to run.
    until(lambda: seed.condition("AppUpToDate")["reason"] == "StartedAfter", "the new app is seen")
    assert seed.condition("AppUpToDate")["status"] == "true"
    seed.save()
    until(lambda: seed.condition("AppUpToDate")["reason"] == "RestartNeeded", "it saved")
    assert seed.specd("restore", "--all").returncode == 0
    until(lambda: seed.condition("AppUpToDate")["status"] == "true", "nothing is wanted any more")


APP = """
const fs = require("fs"), path = process.argv[1];
process.stdin.on("data", () => {
  const settings = JSON.parse(fs.readFileSync(path));
  settings.chat = {...settings.chat, visualizeSpeculativeDecoding: false};
  fs.writeFileSync(path, JSON.stringify(settings, null, 2));
});
"""
"""Saves its settings, without what specd wrote, for every line on its standard input."""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS runs no copies of other programs")
@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_an_app_that_starts_and_saves_under_the_running_daemon_is_seen_at_once(
    seed: Sandbox,
) -> None:
    program = seed.root / "lmstudio-in-node"
    shutil.copy(shutil.which("node") or "", program)
    location = seed.home / ".internal" / "app-install-location.json"
    location.write_text(json.dumps({"path": str(program), "argv": [], "cwd": str(seed.root)}))
    start(seed, resync_seconds=3_600)
    until(lambda: seed.condition("AppUpToDate")["reason"] == "NotRunning", "that it does not run")
    # No resync comes to help: it is seen because somebody looks.
    with subprocess.Popen([program, "-e", APP, seed.settings], stdin=subprocess.PIPE) as app:
        try:
            until(lambda: seed.condition("AppUpToDate")["reason"] == "StartedAfter", "it runs")
            assert app.stdin is not None
            app.stdin.write(b"save\n")
            app.stdin.flush()
            until(lambda: seed.condition("AppUpToDate")["reason"] == "RestartNeeded", "it saved")
            assert seed.applied()
        finally:
            app.kill()
    until(lambda: seed.condition("AppUpToDate")["reason"] == "NotRunning", "that it has ended")


def test_then_the_answers_prove_that_drafts_are_at_work(seed: Sandbox) -> None:
    start(seed)
    assert seed.condition("SpeculationObserved")["status"] == "unknown"
    step = answer()
    information = step["genInfo"]
    information["indexedModelIdentifier"] = MAIN
    information["identifier"] = MAIN.rpartition("/")[2].lower()
    information["stats"]["usedDraftModelKey"] = DRAFT
    for field in information["predictionConfig"]["fields"]:
        if field["key"] == f"{PREFIX}.draftModel":
            field["value"] = DRAFT
    conversation = seed.home / "conversations" / "1764000000000.conversation.json"
    conversation.parent.mkdir(exist_ok=True)
    conversation.write_text(json.dumps(chat(step)))
    assert seed.specd("observe").returncode == 0
    until(lambda: seed.condition("SpeculationObserved")["status"] == "true", "the proof is seen")
    assert "25 of 40 draft tokens accepted" in seed.condition("SpeculationObserved")["message"]
    # Both models were there before and after; how they are named is LM Studio's affair.
    told = seed.status()["pairs"][0]
    assert told["observed"]["drafted"] == 40


def test_the_servers_own_log_proves_it_too_without_a_word_of_what_was_said(seed: Sandbox) -> None:
    start(seed)
    said = "the-answer-is-nobodys-business"
    statistics = {
        "draft_model": DRAFT,
        "total_draft_tokens_count": 40,
        "accepted_draft_tokens_count": 25,
    }
    body = {"model": MAIN, "choices": [{"message": {"content": said}}], "stats": statistics}
    log = seed.home / "server-logs" / "2026-11" / "2026-11-24.1.log"
    log.parent.mkdir(parents=True)
    log.write_text(
        f"[2026-11-24 13:00:02][INFO] Generated prediction: {json.dumps(body, indent=2)}\n"
    )
    until(lambda: seed.condition("SpeculationObserved")["status"] == "true", "the proof is seen")
    told = seed.condition("SpeculationObserved")["message"]
    assert "25 of 40 draft tokens accepted" in told
    assert "LM Studio's server log" in told
    seed.stop()
    kept = [path.read_bytes() for path in seed.state.rglob("*") if path.is_file()]
    assert not any(said.encode() in content for content in kept)
    # What was read once is still known after a restart, although the log is gone.
    log.unlink()
    seed.start()
    until(lambda: seed.condition("SpeculationObserved")["status"] == "true", "it is still known")
