from __future__ import annotations

import time
from pathlib import Path

from specd.bench.history import History
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
