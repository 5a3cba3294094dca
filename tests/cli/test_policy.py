"""A fleet's policy: under the user's own file, locked where it says so, followed while it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.daemon import Sandbox, switch, until


@pytest.fixture
def policy(sandbox: Sandbox) -> Path:
    """Where the machine's policy would be; neither it nor its directory is there yet."""
    path = sandbox.root / "managed" / "specd.toml"
    sandbox.env["SPECD_MANAGED_CONFIG"] = str(path)
    return path


def put(policy: Path, text: str) -> None:
    """As an MDM does it: whole, by rename."""
    policy.parent.mkdir(exist_ok=True)
    beside = policy.with_name("new")
    beside.write_text(text)
    beside.replace(policy)


LOCKED = '[speculation]\nvisualize = false\n\n[policy]\nlocked = ["speculation.visualize"]\n'


def shows_tokens(sandbox: Sandbox) -> object:
    document = sandbox.read()
    return document["chat"]["visualizeSpeculativeDecoding"] if document else None


def test_it_is_followed_as_soon_as_it_is_rolled_out(sandbox: Sandbox, policy: Path) -> None:
    sandbox.config.write_text("[speculation]\nvisualize = true\n")
    sandbox.running()
    put(policy, LOCKED)
    until(lambda: shows_tokens(sandbox) is False, "the policy is applied")
    put(policy, "[speculation]\nvisualize = false\n")
    until(lambda: shows_tokens(sandbox) is True, "without the lock, the user's file counts")


def test_it_lies_under_the_users_file_and_its_locks_over_it(sandbox: Sandbox, policy: Path) -> None:
    put(policy, LOCKED + '\n[agent]\nlog_level = "debug"\nnotify = true\n')
    sandbox.config.write_text('[speculation]\nvisualize = true\n\n[agent]\nlog_level = "error"\n')
    shown = {
        row.split(" = ")[0]: row for row in sandbox.specd("config", "show").stdout.splitlines()
    }
    assert shown["visualize"].split() == ["visualize", "=", "false", "#", "locked"]
    assert shown["log_level"].split() == ["log_level", "=", '"error"', "#", "user"]
    assert shown["notify"].split() == ["notify", "=", "true", "#", "managed"]
    assert shown["enabled"].split() == ["enabled", "=", "true", "#", "default"]
    assert "overrules speculation.visualize" in " ".join(sandbox.specd("doctor").stdout.split())


def test_a_broken_one_leaves_the_last_good_one_in_force(sandbox: Sandbox, policy: Path) -> None:
    put(policy, LOCKED)
    sandbox.save()
    sandbox.start()
    until(lambda: switch(sandbox.read()) is True, "it is applied")
    put(policy, "[speculation\n")
    until(lambda: sandbox.condition("ConfigValid")["status"] == "false", "the mistake is seen")
    assert str(policy) in sandbox.condition("ConfigValid")["message"]
    sandbox.save(chat={"visualizeSpeculativeDecoding": True})
    until(lambda: shows_tokens(sandbox) is False, "what was locked still holds")
    assert os.access(policy, os.R_OK)
