"""A real daemon on a real home: started as a user's service manager would start it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from specd.cli import ask
from specd.demo.place import Place

DEADLINE_S = 90.0
"""Long on purpose: what a condition is waited for on a busy machine says nothing of specd."""

SETTINGS = {
    "language": "en",
    "chat": {"visualizeSpeculativeDecoding": False, "fontSize": 14},
    "downloadsFolder": "",
    "hfDownloadToken": "hf_secret_token",
    "übersicht": "schön",
}
"""A settings.json in which nothing is as specd wants it."""


def switch(document: Any) -> Any:
    """The switch that `settings_key` names by default; None where it does not stand."""
    held = document.get("configPresetInclusiveness") if isinstance(document, dict) else None
    return held.get("speculativeDecoding") if isinstance(held, dict) else None


def until(
    true: Callable[[], Any], what: str, seconds: float = DEADLINE_S, *, pause_s: float = 0.002
) -> Any:
    """Poll until ``true()`` is truthy and return it; fail with ``what`` when it never is."""
    end = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(pause_s)


def quickest(measure: Callable[[], float], bound: float, tries: int = 5) -> float:
    """The first measurement below ``bound``, else the smallest of ``tries``, in seconds.

    What else the machine does makes any one of them long, and none of them short.
    """
    took: list[float] = []
    while len(took) < tries and (not took or took[-1] >= bound):
        took.append(measure())
    return min(took)


@dataclass
class Sandbox(Place):
    """One home, one state directory, one specd.toml, and at most one daemon."""

    root: Path
    process: subprocess.Popen[bytes] | None = None
    env: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.env

    def specd(self, *words: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "specd", *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def on_a_terminal(self, *words: str, columns: int = 80) -> str:
        """What a command prints on a terminal of its own."""
        ours, theirs = pty.openpty()
        environment = {**self.environment, "COLUMNS": str(columns), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "specd", *words]
        with subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs):
            os.close(theirs)
            shown = b""
            with contextlib.suppress(OSError):  # Linux's answer once the other side is closed
                while chunk := os.read(ours, 1 << 16):
                    shown += chunk
        os.close(ours)
        return shown.decode().replace("\r\n", "\n")

    def start(
        self, *, wait: bool = True, within: Sequence[str] = (), **popen: Any
    ) -> subprocess.Popen[bytes]:
        """Start the daemon; ``within`` is a command that runs it (``unshare …``)."""
        with (self.root / "daemon.out").open("ab") as log:
            self.process = subprocess.Popen(
                [*within, sys.executable, "-m", "specd", "run"],
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                **popen,
            )
        if wait:
            until(self.answers, "the daemon answers")
        return self.process

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End whatever is left of the daemon and its children."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(DEADLINE_S)

    def answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"the daemon ended with {self.process.returncode}:\n{self.said()}")
        try:
            ask.ask("GET", "/v1/status", state=self.state)
        except ask.CannotAsk:
            return False
        return True

    def status(self) -> dict[str, Any]:
        answer: dict[str, Any] = ask.ask("GET", "/v1/status", state=self.state, timeout=DEADLINE_S)
        return answer

    def condition(self, kind: str) -> dict[str, Any]:
        return next(each for each in self.status()["conditions"] if each["type"] == kind)

    def said(self) -> str:
        parts = [self.root / "daemon.out", self.state / "logs" / "specd.log"]
        return "\n".join(part.read_text(errors="replace") for part in parts if part.exists())

    def read(self, path: Path | None = None) -> Any:
        """The JSON document at ``path`` (settings.json), None while it cannot be parsed."""
        try:
            return json.loads((path or self.settings).read_bytes())
        except (OSError, ValueError):
            return None

    def save(self, *, rename: bool = False, **more: Any) -> None:
        """Save settings.json as the app would, with nothing as specd wants it, and ``more``."""
        content = json.dumps({**SETTINGS, **more}, indent=2, ensure_ascii=False)
        if rename:
            beside = self.home / "settings.json.tmp"
            beside.write_text(content)
            beside.replace(self.settings)
        else:
            self.settings.write_text(content)

    def applied(self) -> bool:
        """Whether settings.json holds what specd wants by default."""
        document = self.read()
        return (
            isinstance(document, dict)
            and switch(document) is True
            and document["chat"]["visualizeSpeculativeDecoding"] is True
        )

    def forgive(self) -> None:
        """Have the daemon forget how often its writes were undone, as `specd apply` does."""
        ask.ask("POST", "/v1/apply", state=self.state, timeout=DEADLINE_S)

    def running(self) -> Sandbox:
        """Start on the usual settings and wait until they are applied."""
        self.save()
        self.start()
        until(self.applied, "the first reconcile")
        return self

    def resident(self) -> int:
        """Bytes of resident memory of the daemon."""
        assert self.process is not None
        return int(psutil.Process(self.process.pid).memory_info().rss)

    def descriptors(self) -> int:
        """How many file descriptors the daemon has open."""
        assert self.process is not None
        return int(psutil.Process(self.process.pid).num_fds())

    def wakeups(self) -> int:
        """How often a thread of the daemon went to sleep and was woken (Linux)."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        lines = "\n".join((task / "status").read_text() for task in tasks).splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))

    def cpu_seconds(self) -> float:
        """Processor time that the daemon has used."""
        assert self.process is not None
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


def customize(sandbox: Sandbox, script: str, **env: str) -> None:
    """Have every Python of the sandbox run ``script`` first."""
    site = sandbox.root / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(script)
    sandbox.env |= {"PYTHONPATH": str(site), **env}


SHIFTED = """
import datetime, os, time
_time, _time_ns, _Real = time.time, time.time_ns, datetime.datetime

def ahead():
    try:
        with open(os.environ["CLOCK_AHEAD"]) as file:
            return float(file.read() or 0)
    except (OSError, ValueError):
        return 0.0

class Shifted(_Real):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(_time() + ahead(), tz)

time.time = lambda: _time() + ahead()
time.time_ns = lambda: _time_ns() + int(ahead() * 1e9)
datetime.datetime = Shifted
"""
"""Its clock is as many seconds ahead as the file at ``$CLOCK_AHEAD`` says."""
