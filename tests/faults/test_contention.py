"""A program that keeps setting specd's value back: said, named, waited out, and outlived."""

from __future__ import annotations

import contextlib
import json
import math
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from specd.config import Speculation
from specd.lmstudio import settings
from specd.reconcile import contention
from specd.reconcile.journal import Journal
from specd.reconcile.reconciler import DesiredState, Reconciler
from tests.conftest import Figures
from tests.daemon import SETTINGS, Sandbox, switch, until

REVERTER = """
import json, os, sys, time
path, pause = sys.argv[1], float(sys.argv[2])
saved = open(sys.argv[3], "rb").read()
while True:
    try:
        with open(path, "rb") as file:
            current = file.read()
        if current != saved:
            with open(path, "wb") as file:
                file.write(saved)
    except OSError:
        pass
    time.sleep(pause)
"""

WATCHER = """
import ctypes, os, sys
path = sys.argv[1]
saved = open(sys.argv[2], "rb").read()
library = ctypes.CDLL(None)
events = library.inotify_init()
library.inotify_add_watch(events, os.fsencode(os.path.dirname(path)), 0x8 | 0x80)
open(path, "wb").write(saved)
while os.read(events, 65536):
    if open(path, "rb").read() != saved:
        with open(path, "wb") as file:
            file.write(saved)
"""


def kept(sandbox: Sandbox) -> Path:
    """What the other side wants settings.json to hold."""
    theirs = sandbox.root / "theirs.json"
    theirs.write_text(json.dumps(SETTINGS, indent=2))
    return theirs


@contextlib.contextmanager
def fight(program: str, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_fight_is_said_its_writes_are_bounded_and_other_files_are_unharmed(
    sandbox: Sandbox, figures: Figures
):
    sandbox.running()
    theirs = kept(sandbox)
    before, began = sandbox.status()["last_write"]["id"], time.monotonic()
    with fight(REVERTER, sandbox.settings, 0.0005, theirs):
        said = until(
            lambda: (c := sandbox.condition("Uncontended"))["status"] == "false" and c,
            "Uncontended is false",
        )
        assert said["reason"] == "Contended"
        assert str(sandbox.settings) in said["message"]
        assert "chat.visualizeSpeculativeDecoding" in said["message"]
        assert "(specd.toml: visualize" in said["message"]
        assert "if you set it yourself" in said["remedy"]
        until(
            lambda: "specd writes it every" in sandbox.condition("Uncontended")["message"],
            "it backs off",
        )
        writes = sandbox.status()["last_write"]["id"] - before
        assert writes <= contention.CONTENDED_AFTER + 3 + spaced(began)
        writes_more, again = sandbox.status()["last_write"]["id"], time.monotonic()
        sandbox.config.write_text("[speculation]\nvisualise = 1\n")
        until(lambda: sandbox.condition("ConfigValid")["status"] == "false", "the rest goes on")
        time.sleep(max(0.0, again + 4 - time.monotonic()))
        slow = sandbox.status()["last_write"]["id"] - writes_more
        assert slow <= time.monotonic() - again
    until(sandbox.applied, "the fight is won when the other side gives up")
    figures(writes_before_back_off=writes, writes_in_4_s_of_back_off=slow)


def spaced(began: float) -> float:
    """How many writes 1, 2, 4, … s apart there may have been since."""
    return math.log2(1 + time.monotonic() - began)


KEEPER = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
saved = open(sys.argv[2], "rb").read()
while True:
    if sys.argv[3] == "writes":
        os.pwrite(file, saved, 0)
        os.ftruncate(file, len(saved))
    time.sleep(0.01)
"""


def opened(process: subprocess.Popen[bytes], path: Path) -> bool:
    return str(path) in {each.path for each in psutil.Process(process.pid).open_files()}


def test_a_program_that_keeps_the_file_open_is_written_around_once(sandbox: Sandbox):
    sandbox.running()
    theirs = kept(sandbox)
    before = sandbox.status()["last_write"]["id"]
    with fight(KEEPER, sandbox.settings, theirs, "idle") as keeper:
        until(lambda: opened(keeper, sandbox.settings), "it has it open")
        sandbox.save()
        until(sandbox.applied, "applied although it is open")
        time.sleep(2)
        assert sandbox.applied()
    assert sandbox.status()["last_write"]["id"] == before + 1


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who has a file open")
def test_a_program_that_keeps_the_file_open_and_writes_is_backed_off_from_and_named(
    sandbox: Sandbox, figures: Figures
):
    sandbox.running()
    theirs = kept(sandbox)
    began = time.monotonic()
    before, size = sandbox.status()["last_write"]["id"], journal_size(sandbox)
    with fight(KEEPER, sandbox.settings, theirs, "writes") as keeper:
        named = f"process {keeper.pid})"
        until(lambda: named in sandbox.condition("Uncontended")["message"], "named")
        time.sleep(5)
        writes = sandbox.status()["last_write"]["id"] - before
        grown = journal_size(sandbox) - size
    figures(writes=writes, journal_grown_kb=grown / 1024)
    assert writes <= contention.CONTENDED_AFTER + 4 + spaced(began)
    assert grown < 200_000
    until(sandbox.applied, "the fight is won when the other side gives up")


def journal_size(sandbox: Sandbox) -> int:
    return sum(f.stat().st_size for f in (sandbox.state / "journal").rglob("*") if f.is_file())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who watches a directory")
def test_the_other_side_is_named(sandbox: Sandbox):
    sandbox.running()
    with fight(WATCHER, sandbox.settings, kept(sandbox)) as reverter:
        named = f"process {reverter.pid})"
        until(lambda: named in sandbox.condition("Uncontended")["message"], "who it is")
        name = psutil.Process(reverter.pid).name()
        assert sandbox.status()["restores"]["last"]["program"] == name
        assert f'program="{name}"' in sandbox.specd("metrics").stdout
    assert named in sandbox.said()


def test_what_is_contended_is_forgiven_once_a_write_has_lasted(root: Path):
    now = [1_000.0]
    path = settings.path(root)
    reconciler = Reconciler(Journal(root / "journal"), by="test", clock=lambda: now[0])
    reconciler.set_desired(DesiredState(root, Speculation(), ()))
    for _ in range(contention.CONTENDED_AFTER + 5):
        path.write_text(json.dumps(SETTINGS))
        done = reconciler.run({path})
        now[0] += 0.01
    assert reconciler.patience[path].contended
    assert reconciler.patience[path].backing_off
    while reconciler.patience:
        assert done.again_in is not None
        now[0] += done.again_in
        done = reconciler.run(frozenset())
        if not reconciler.patience[path].contended:
            break
    assert not reconciler.patience[path].backing_off
    assert switch(json.loads(path.read_text())) is True
    assert done.again_in is None


def test_writes_of_an_endless_fight_are_few(root: Path, figures: Figures):
    now = [1_000.0]
    path = settings.path(root)
    journal = Journal(root / "journal")
    reconciler = Reconciler(journal, by="test", clock=lambda: now[0])
    reconciler.set_desired(DesiredState(root, Speculation(), ()))
    day = now[0] + 86_400
    while now[0] < day:
        path.write_text(json.dumps(SETTINGS))
        done = reconciler.run({path})
        if not done.applied:
            assert done.again_in is not None
            now[0] += done.again_in
            done = reconciler.run(frozenset())
            assert done.applied
        now[0] += 0.05
    writes = len(journal.entries())
    figures(writes_a_day=writes)
    assert writes < contention.CONTENDED_AFTER + 20 + 86_400 / contention.LONGEST_DELAY_S * 1.2
