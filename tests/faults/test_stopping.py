"""SIGTERM ends the daemon within two seconds, whatever is slow."""

from __future__ import annotations

import signal
import time

import pytest

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
