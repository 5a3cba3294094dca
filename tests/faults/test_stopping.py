"""SIGTERM ends the daemon within two seconds, whatever is slow."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import time

import pytest

from specd.agent.api import Api
from specd.agent.daemon import Daemon
from tests.daemon import DEADLINE_S, Sandbox, customize, quickest, until

AT_MOST_S = 2.0 + 0.5
"""What is promised, and what starting a process in a test may add."""

HANGS = {
    "the loop": "import specd.reconcile.survey as hung\nhung.look = forever\n",
    "a look at the server": "import specd.reconcile.survey as hung\nhung.ask_server = forever\n",
    "the watch": "import specd.agent.watch as hung\nhung.Watch.close = forever\n",
    "the log": "import specd.agent.events as hung\nhung.Events.close = forever\n",
    "a system call": (
        "import sqlite3, specd.reconcile.survey as hung\n"
        "def busy(*_):\n"
        "    one, other = (sqlite3.connect(path, timeout=600) for _ in range(2))\n"
        "    one.execute('BEGIN EXCLUSIVE')\n"
        "    began()\n"
        "    other.execute('BEGIN EXCLUSIVE')\n"
        "hung.look = busy\n"
    ),
}
"""What hangs, as a script that every Python of the sandbox runs first."""

SCRIPT = """
import os, sys, time
path = os.environ["HUNG"]
def began(): open(path + ".began", "w").close()
def forever(*_):
    began()
    while True: time.sleep(600)
if True:
    class Late:
        def find_spec(self, name, *_):
            if name == "specd.agent.api":
                sys.meta_path.remove(self)
                exec(os.environ["HANG"], globals())
    sys.meta_path.insert(0, Late())
"""


@pytest.mark.parametrize("what", HANGS)
def test_whatever_hangs_it_ends(sandbox: Sandbox, what: str) -> None:
    hung = sandbox.root / "hung"
    customize(sandbox, SCRIPT, HUNG=str(hung), HANG=HANGS[what])
    sandbox.save()
    hangs = hung.with_name("hung.began")

    def ending() -> float:
        hangs.unlink(missing_ok=True)
        process = sandbox.start(wait=False)
        if what in ("the watch", "the log"):
            until(sandbox.answers, "it answers")
        else:
            until(hangs.exists, "it hangs")
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)
        return time.monotonic() - began

    assert quickest(ending, AT_MOST_S, tries=3) < AT_MOST_S


def test_started_with_signals_blocked_it_ends_all_the_same(sandbox: Sandbox) -> None:
    script = (
        "import os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))\n"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    sandbox.start(within=(sys.executable, "-c", script))
    assert sandbox.stop() == 0


def test_without_descriptors_for_its_socket_it_ends_and_says_so(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(asyncio, "new_event_loop", full)
    with pytest.raises(OSError, match="Too many open files"):
        Api(Daemon(sandbox.config, sandbox.state))


def test_a_time_zone_that_python_cannot_calculate_with_stops_nothing(sandbox: Sandbox) -> None:
    sandbox.env = {"TZ": "UTC+99"}
    sandbox.running()
    assert "Traceback" not in sandbox.specd("status").stderr
    assert sandbox.stop() == 0
