from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from specd.bench.choice import decisive
from specd.bench.history import History
from specd.bench.result import BenchResult, Best
from specd.worker.session import Session


def test_what_has_too_little_time_left_is_not_begun_and_is_named(tmp_path: Path) -> None:
    request = {"seconds": 60.0, "suite": "brief", "quick": True, "weights": {}}
    entries = [
        {"main": {"name": f"main-{at}"}, "settings": {"temperature": 0.0}} for at in range(2)
    ]
    session = Session(request, lambda _: None, History(tmp_path / "history.db"))
    begun = session.requests(entries)
    _, first = next(begun)
    assert 25 < first.seconds <= 30
    session.begun = time.monotonic() - 57
    assert list(begun) == []
    assert session.troubles == ["main-1: the time was up before all its drafts were measured"]


@pytest.mark.parametrize(("load", "decides"), [(0.1, True), (4.0, False)])
def test_single_slow_answers_on_a_busy_machine_decide_nothing(
    tmp_path: Path, load: float, decides: bool
) -> None:
    with closing(History(tmp_path / "history.db")) as history:
        session = Session({}, lambda _: None, history)
        session.stood |= {"load_average": [2 * load, 9.0, 9.0], "cores": 2}
        best = Best(0, 0.2, None, None, 4)
        slow = BenchResult("a", "b", "llama.cpp", "seed", "now", 18.0, (), best, True, 1.0)
        session.keep(slow, {})
        found = history.latest("a", "b")
    assert found is not None
    assert decisive(found) is decides
    told = "the machine was busy before it began, load 4.0 per core"
    assert found.broken == (() if decides else (told,))
