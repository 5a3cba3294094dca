"""A program that saves settings.json 200 times a second while specd restores it loses no update."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Figures
from tests.daemon import SETTINGS, Sandbox, switch, until

RATE = 200

WRITER = """
import json, os, sys, time

path, rounds, rate, ways = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4].split()
settings = json.loads(sys.argv[5])
counters = {"in place": 0, "by rename": 0}

def stands():
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read())
    except ValueError:
        return False
    return all(document.get(way) == count for way, count in counters.items())

lost = 0
began = time.monotonic()
for number in range(rounds):
    way = ways[number % len(ways)].replace("_", " ")
    counters[way] += 1
    content = json.dumps({**settings, **counters}, indent=2).encode()
    if way == "in place":
        with open(path, "r+b") as file:
            file.truncate()
            file.write(content)
    else:
        with open(path + ".theirs", "wb") as file:
            file.write(content)
        os.replace(path + ".theirs", path)
    deadline = time.monotonic() + 60
    while not stands():
        if time.monotonic() > deadline:
            lost += 1
            break
    time.sleep(max(0.0, began + number / rate - time.monotonic()))
print(json.dumps({"lost": lost, "seconds": time.monotonic() - began, **counters}))
"""

RESTORER = """
import sys
from pathlib import Path
from specd.config import Speculation
from specd.reconcile.journal import Journal
from specd.reconcile.reconciler import Reconciler, DesiredState

home, state, stop = map(Path, sys.argv[1:])
reconciler = Reconciler(Journal(state), by="test")
reconciler.set_desired(DesiredState(home, Speculation(), ()))
restored = 0
while not stop.exists():
    restored += len([each for each in reconciler.run(None, force=True).applied if each.journal_id])
# At rest: one more look at what the last writer left.
for _ in range(3):
    restored += len([each for each in reconciler.run(None, force=True).applied if each.journal_id])
print(restored)
"""


def writer(settings: Path, rounds: int, ways: str) -> subprocess.Popen[str]:
    words = [str(settings), str(rounds), str(RATE), ways, json.dumps(SETTINGS)]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *words], stdout=subprocess.PIPE, text=True
    )


def race(home: Path, figures: Figures, *, rounds: int, ways: str, specds: int) -> None:
    """Let ``specds`` processes restore as fast as they can while the other program saves."""
    home.mkdir()
    settings, stop = home / "settings.json", home.parent / "stop"
    settings.write_text(json.dumps(SETTINGS))
    restorers = [
        subprocess.Popen(
            [sys.executable, "-c", RESTORER, str(home), str(home.parent / f"state-{n}"), str(stop)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(specds)
    ]
    until(lambda: switch(json.loads(settings.read_bytes())), "they are at work")
    said = json.loads(writer(settings, rounds, ways).communicate(timeout=250)[0])
    stop.touch()
    restored = [int(each.communicate(timeout=120)[0]) for each in restorers]
    document = json.loads(settings.read_bytes())
    updates = said["in place"] + said["by rename"]
    figures(updates=updates, lost=said["lost"], restores=sum(restored), seconds=said["seconds"])
    assert said["lost"] == 0
    assert (document["in place"], document["by rename"]) == (said["in place"], said["by rename"])
    assert updates == rounds
    assert switch(document) is True
    assert document["chat"]["visualizeSpeculativeDecoding"] is True
    assert sum(restored) > rounds / 100, "specd took part"
    assert [each.name for each in home.iterdir()] == ["settings.json"]


CASES = [
    pytest.param("in_place", 1, id="in place"),
    pytest.param("by_rename", 1, id="by rename"),
    pytest.param("in_place by_rename", 2, id="both ways, two specds"),
]


@pytest.mark.parametrize(("ways", "specds"), CASES)
def test_no_update_is_lost(root: Path, figures: Figures, ways: str, specds: int):
    race(root / "home", figures, rounds=600, ways=ways, specds=specds)


@pytest.mark.nightly
@pytest.mark.parametrize(("ways", "specds"), CASES)
def test_no_update_of_ten_thousand_is_lost(root: Path, figures: Figures, ways: str, specds: int):
    race(root / "home", figures, rounds=10_000, ways=ways, specds=specds)


def test_two_daemons_on_one_home_lose_nothing_and_come_to_rest(tmp_path: Path, figures: Figures):
    one = Sandbox(tmp_path)
    one.home.mkdir()
    one.config.write_text("")
    other = Sandbox(tmp_path)
    other.env["SPECD_STATE_DIR"] = str(tmp_path / "other state")
    try:
        one.running()
        other.start(wait=False)
        until(lambda: "ready" in log_of(tmp_path / "other state"), "the other daemon is ready")
        said = json.loads(
            writer(one.settings, 400, "in_place by_rename").communicate(timeout=250)[0]
        )
        until(one.applied, "specd's values stand at rest")
        rests = one.settings.stat().st_mtime_ns
        time.sleep(0.5)
        assert one.settings.stat().st_mtime_ns == rests, "two daemons do not undo each other"
        document = one.read()
        figures(updates=400, lost=said["lost"])
        assert said["lost"] == 0
        assert (document["in place"], document["by rename"]) == (200, 200)
    finally:
        one.kill()
        other.kill()


def log_of(state: Path) -> str:
    log = state / "logs" / "specd.log"
    return log.read_text() if log.exists() else ""
