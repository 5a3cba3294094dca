from __future__ import annotations

import pytest

from specd.cli import alive
from tests.daemon import Sandbox, until

from .conftest import measured


def test_what_was_measured_in_a_terminal_is_configured_at_once(
    seed: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``specd bench`` ends with this, so that its result need not wait for the next resync."""
    seed.start()
    until(lambda: seed.condition("PairsConfigured")["status"] == "true", "the pair stands")
    assert seed.status()["pairs"][0]["draft_tokens"] is None
    measured(seed, 3, 1.31, (1.22, 1.4))
    monkeypatch.setenv("SPECD_STATE_DIR", str(seed.state))
    alive.request_look()
    until(lambda: seed.status()["pairs"][0]["draft_tokens"] == 3, "the measured length counts")
    until(lambda: seed.condition("Faster")["status"] == "true", "the measurement is believed")


def test_without_a_daemon_nobody_is_told(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECD_STATE_DIR", str(sandbox.state))
    alive.request_look()
    assert not sandbox.state.exists()
