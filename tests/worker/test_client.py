"""A worker may die, hang, grow, babble or lie: its task fails in words, and nothing of it is left."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from specd.worker import client
from specd.worker.client import Limits, WorkerError, run_task
from tests.conftest import Figures
from tests.daemon import until

Ask = Callable[..., dict[str, Any]]

HEAD = """
import json, os, signal, subprocess, sys, time
request = json.loads(sys.stdin.readline())
def say(message):
    print(json.dumps(message), flush=True)
"""


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ask:
    """Run a program as the worker: real processes and pipes, a task that is written here."""
    started = client.subprocess.Popen

    def ask(program: str, seconds: float = 120, memory: int | None = None, **more: Any) -> Any:
        path = tmp_path / "worker.py"
        path.write_text(HEAD + program)

        def start(_: list[str], **options: Any) -> Any:
            return started([sys.executable, str(path)], **options)

        monkeypatch.setattr(client.subprocess, "Popen", start)
        return run_task("task", {"asked": 1}, limits=Limits(seconds, memory), **more)

    return ask


def test_a_result_and_the_steps_before_it_come_through(ask: Ask):
    steps: list[dict[str, Any]] = []
    result = ask(
        'say({"progress": {"n": 1}}); say({"progress": {"n": 2}}); say({"result": request})',
        on_progress=steps.append,
    )
    assert result == {"asked": 1}
    assert steps == [{"n": 1}, {"n": 2}]


FAILURES = {
    "its own error": ('say({"error": "no such model"})', "no such model"),
    "exit 0 without a result": ("pass", "exit code 0 and no result"),
    "another exit code": ('print("why", file=sys.stderr); sys.exit(3)', "exit code 3.*why"),
    "killed": ("os.kill(os.getpid(), 9)", r"SIGKILL \(out of memory\?\)"),
    "crashed": ("os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
    "an orphan that goes on talking": (
        "subprocess.Popen(['sh', '-c', 'while sleep 0.02; do echo z >&2; done']); sys.exit(3)",
        "exit code 3",
    ),
    "garbage": ('print("Downloading… 10%")', "printed what is no message"),
    "bytes": (r"os.write(1, b'\xff\xfe\x00\n')", "printed what is no message"),
    "half a message": ("print('{\"result\": ')", "printed what is no message"),
    "no object": ("print('[1, 2]')", "printed what is no message"),
    "deep": ("print('[' * 100000)", "printed what is no message"),
    "a result that is none": ('say({"result": 7})', "no result"),
    "an exception": ("raise ValueError('nonsense')", "ValueError: nonsense"),
    "closed output": ("os.close(1); os.close(2); time.sleep(600)", "without a result"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_worker_that_fails_says_why_in_words(ask: Ask, name: str):
    program, words = FAILURES[name]
    with pytest.raises(WorkerError, match=words):
        ask(program)


def test_a_worker_that_hangs_is_stopped_in_time(ask: Ask):
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"time limit of 0\.5 s"):
        ask("time.sleep(600)", seconds=0.5)
    assert time.monotonic() - began < 60


def test_a_worker_that_will_not_end_is_ended(ask: Ask):
    before = children()
    with pytest.raises(WorkerError, match="time limit"):
        ask("signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)", seconds=0.5)
    until(lambda: children() <= before, "it is gone")


def test_a_worker_that_grows_is_stopped_before_the_machine_is(ask: Ask):
    with pytest.raises(WorkerError, match="over its limit"):
        ask("held = b'x' * (300 << 20); time.sleep(600)", memory=150 << 20)


def test_a_worker_whose_children_grow_is_stopped_too(ask: Ask):
    program = "subprocess.run([sys.executable, '-c', 'b = b\"x\" * (300 << 20); import time; time.sleep(600)'])"
    with pytest.raises(WorkerError, match="over its limit"):
        ask(program, memory=150 << 20)


def test_a_cancelled_worker_is_gone_at_once(ask: Ask):
    cancelled = threading.Event()
    threading.Timer(0.3, cancelled.set).start()
    began = time.monotonic()
    with pytest.raises(WorkerError, match="cancelled"):
        ask("time.sleep(600)", cancelled=cancelled)
    assert time.monotonic() - began < 60


def test_orphans_do_not_outlive_their_worker(ask: Ask, tmp_path: Path):
    mark = tmp_path / "orphan"
    program = f"""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(mark)!r}, "w").write(str(child.pid))
say({{"result": {{}}}})
time.sleep(600)
"""
    assert ask(program) == {}
    orphan = int(mark.read_text())
    until(lambda: not alive(orphan), "its child is gone")


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def babbling(megabytes: int, to: int, *, lines: bool) -> str:
    end = "b'\\n'" if lines else "b''"
    return f"""
block = b'x' * (1 << 20)
for _ in range({megabytes}):
    os.write({to}, block + {end})
say({{"result": {{}}}})
"""


def babble(ask: Ask, megabytes: int) -> float:
    """The most that this process grew by, in MB, while the worker printed that much."""
    before = psutil.Process().memory_info().rss
    highest = before

    def watch() -> None:
        nonlocal highest
        while not done.wait(0.02):
            highest = max(highest, psutil.Process().memory_info().rss)

    done = threading.Event()
    watching = threading.Thread(target=watch)
    watching.start()
    try:
        assert ask(babbling(megabytes, 2, lines=True), seconds=200) == {}
        with pytest.raises(WorkerError, match="printed a line of over 64 MB"):
            ask(babbling(megabytes, 1, lines=False), seconds=200)
    finally:
        done.set()
        watching.join()
    return (highest - before) / 2**20


def test_megabytes_of_output_cost_bounded_memory(ask: Ask, figures: Figures):
    grown = babble(ask, 200)
    figures(printed_mb=400, grown_mb=grown)
    assert grown < 200


@pytest.mark.nightly
def test_gigabytes_of_output_cost_bounded_memory(ask: Ask, figures: Figures):
    grown = babble(ask, 4_096)
    figures(printed_mb=8_192, grown_mb=grown)
    assert grown < 200


def test_nothing_is_left_of_many_workers(ask: Ask, figures: Figures):
    ask('say({"result": {}})')
    before = descriptors(), threading.active_count(), children()
    for number in range(20):
        program = 'say({"result": {}})' if number % 2 else "os.kill(os.getpid(), 9)"
        try:
            ask(program)
        except WorkerError as error:
            assert number % 2 == 0, error  # noqa: PT017 - both ends are wanted here
    until(lambda: threading.active_count() <= before[1], "their threads have ended")
    until(lambda: descriptors() <= before[0], "their descriptors are closed")
    until(lambda: children() <= before[2], "they are gone")
    figures(workers=20)


def children() -> set[psutil.Process]:
    """The processes below this one; servers of other tests may be among them."""
    return set(psutil.Process().children(recursive=True))


def descriptors() -> int:
    return psutil.Process().num_fds()


def test_a_worker_that_cannot_be_started_is_a_failure_in_words(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/not/there/python")
    with pytest.raises(WorkerError, match="could not be started"):
        run_task("verdicts", {}, limits=Limits(5))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the end of standard input tells")
def test_a_worker_does_not_outlive_whoever_started_it(tmp_path: Path):
    program = f"""
import os, subprocess, sys
from specd.worker import client
worker = client._start("verdicts")
open({str(tmp_path / "pid")!r}, "w").write(str(worker.pid))
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    worker = int((tmp_path / "pid").read_text())
    until(lambda: not alive(worker), "the worker is gone")


def test_the_real_worker_answers(tmp_path: Path):
    result = run_task("verdicts", {"cache": str(tmp_path), "pairs": []}, limits=Limits(60))
    assert json.dumps(result)
