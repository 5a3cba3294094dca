"""Every promise of the demo holds with the small models; ``make demo`` tries the real ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from specd.cli.more import demo
from specd.demo import story
from specd.demo.models import SMALL
from specd.demo.story import run
from tests.daemon import DEADLINE_S, until

pytestmark = pytest.mark.mlx


def test_every_promise_holds_and_is_on_record(capsys: pytest.CaptureFixture[str]) -> None:
    code = run(keep=False, as_json=True, family=SMALL)
    printed = capsys.readouterr()
    assert code == 0, printed.err
    story = json.loads(printed.out)
    assert story["ok"] is True
    assert all(step["ok"] for step in story["steps"])
    facts = {name: fact for step in story["steps"] for name, fact in step["facts"].items()}
    assert max(facts["restored_ms"].values()) < 2000
    assert [each["verdict"] for each in facts["verdicts"]] == [
        "compatible",
        "compatible",
        "incompatible",
    ]
    assert len(facts["verdicts"][0]["missing_in_draft"]) == 4
    assert facts["accepted"] > 0
    assert facts["bench"]["text_equal"] is True
    assert facts["bench"]["baseline_tps"] > 0
    proofs = [step["says"] for step in story["steps"] if "proves" in step["name"]]
    assert "token for token" in proofs[0]


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM], ids=lambda each: each.name)
def test_it_leaves_nothing_where_its_terminal_is_closed(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "specd", "demo"]
    before = signal.signal(number, signal.SIG_DFL)  # under nohup the demo inherits it ignored
    with subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        signal.signal(number, before)
        until(lambda: any(tmp_path.glob("specd-demo-*/*")), "the sandbox is laid out")
        running.send_signal(number)
        assert running.wait(DEADLINE_S) == 130
    assert not list(tmp_path.glob("specd-demo-*"))


def test_under_nohup_it_outlives_its_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[object] = []

    def run_(**_: object) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        ran.append(signal.getsignal(signal.SIGHUP))
        return 0

    monkeypatch.setattr(story, "run", run_)
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert demo.run(demo.parser.parse_args([])) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert ran == [signal.SIG_IGN]
