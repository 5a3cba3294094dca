"""What the server's log told stays known, bounded, over restarts."""

from __future__ import annotations

import json
from pathlib import Path

from specd.bench.observed import RECENT
from specd.lmstudio.server_log import LoggedDraft, News, Place
from specd.reconcile.logged import KEPT, LoggedStore

PLACE = Place("/home/anna/.lmstudio/server-logs/2026-11/2026-11-24.1.log", 7, 4096, 5.0)


def told(count: int, *, drafted: int = 10, since: float = 1.0) -> News:
    return News((LoggedDraft("small", drafted, drafted // 2, "large"),) * count, since)


def test_it_is_kept_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "server-log.json"
    assert LoggedStore(path).place is None
    assert LoggedStore(path).add([told(2), told(1, since=9.0)], PLACE) == 3
    again = LoggedStore(path)
    assert again.place == PLACE
    (asked,) = again.asked()
    assert (asked.main, asked.draft, asked.answers, asked.ran) == ("large", "small", 3, 3)
    assert (asked.drafted, asked.accepted, asked.last) == (30, 15, 9.0)


def test_the_latest_answers_count_alone(tmp_path: Path) -> None:
    store = LoggedStore(tmp_path / "server-log.json")
    store.add([told(RECENT), told(RECENT, drafted=0)], PLACE)
    (asked,) = store.asked()
    assert (asked.answers, asked.ran) == (RECENT, 0)


def test_it_does_not_grow(tmp_path: Path) -> None:
    path = tmp_path / "server-log.json"
    store = LoggedStore(path)
    for _ in range(3):
        store.add([told(KEPT)], PLACE)
    assert len(json.loads(path.read_bytes())["answers"]) == KEPT


def test_an_answer_is_kept_where_it_names_its_main_or_its_draft(tmp_path: Path) -> None:
    store = LoggedStore(tmp_path / "server-log.json")
    assert store.add([News((LoggedDraft("", 10, 5, "large"),), 1.0)], PLACE) == 1
    assert store.add([News((LoggedDraft("", 10, 5, ""),), 1.0)], PLACE) == 0
    assert [(each.main, each.draft, each.ran) for each in store.asked()] == [("large", "", 1)]


def test_each_answer_has_the_app_that_logged_it(tmp_path: Path) -> None:
    store = LoggedStore(tmp_path / "bionic-log.json", "Bionic")
    store.add([told(1)], PLACE)
    assert {each.app for each in store.asked()} == {"Bionic"}


def test_the_answers_without_counts_behind_the_last_ones_are_known(tmp_path: Path) -> None:
    store = LoggedStore(tmp_path / "server-log.json")
    assert store.add([News((), 1.0, {"large": 7, "other": 7})], PLACE) == 14
    store.add([News(told(5).drafts, 1.0, {"large": 30, "other": 9})], PLACE)
    store.add([News((), 2.0, {"large": 10})], PLACE)
    store = LoggedStore(tmp_path / "server-log.json")
    assert [(each.main, each.answers, each.bare) for each in store.asked()] == [("large", 5, 40)]
    store.add([told(1)], PLACE)
    assert [each.bare for each in store.asked()] == [0]


def test_a_broken_file_is_as_none_and_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "server-log.json"
    contents = (b"", b"{", b"[]", b'{"answers": [1]}', b'{"place": {"log": 1}}')
    for content in contents:
        path.write_bytes(content)
        store = LoggedStore(path)
        assert store.asked() == ()
        assert store.place is None
        store.add([told(1)], PLACE)
        assert path.read_bytes() == content
        said = store.recover()
        assert said is not None
        assert said.startswith(f"{path} was broken")
        store.add([told(1)], PLACE)
        assert LoggedStore(path).recover() is None
    kept = [each.read_bytes() for each in tmp_path.glob("server-log.json.broken-*")]
    assert sorted(kept) == sorted(contents)
