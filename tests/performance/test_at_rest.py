"""What a restorer costs at rest is counted by threads, of which some end meanwhile."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.at_rest import switched
from bench.homes import lay_out
from bench.running import Contender, Running
from tests.daemon import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are seen through /proc")

CHILD = (
    "import sys, time; [time.sleep(0) or time.sleep(1e-4) for _ in range(500)]; sys.stdin.read()"
)
SCRIPT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE)
while not __import__("pathlib").Path(sys.argv[1]).exists():
    time.sleep(0.01)
child.communicate()
time.sleep(600)
"""


def test_a_process_that_ends_between_two_counts_takes_no_wakeups_back(tmp_path: Path) -> None:
    enough = tmp_path / "enough"
    contender = Contender("parent", lambda _: [sys.executable, "-c", SCRIPT, str(enough)])
    with Running(contender, lay_out(tmp_path / "home")) as running:
        parent = running.process.pid
        until(
            lambda: any(n > 400 for pid, n in running.switches().items() if pid != parent),
            "the child's wakeups",
        )
        before = running.switches()
        enough.touch()
        until(lambda: len(running.switches()) < len(before), "the child's end")
        after = running.switches()
        assert after.total() - before.total() < 0
        assert switched(before, running) >= 0
