from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench import observed
from specd.bench.observed import ObservedStore, Sort
from specd.bench.use import WEEK_S, Observed, Probe, in_use
from specd.lmstudio.conversations import AnswerStats
from specd.lmstudio.model import OWN_HEADS
from specd.worker.client import Limits, run_task
from tests.chats import PRIVATE, answer, chat, keep
from tests.conftest import Figures

MAIN = "mlx-community/Qwen3-8B-4bit"
DRAFT = "mlx-community/Qwen3-0.6B-4bit"
START = 1764000000.0


def stats(number: int, **more: Any) -> AnswerStats:
    made: dict[str, Any] = {
        "id": f"{number:024x}",
        "at": START + number,
        "model": MAIN,
        "tokens": 100,
        "tokens_per_second": 20.0,
    }
    return AnswerStats(**{**made, **more})


def drafted(number: int, **more: Any) -> AnswerStats:
    made: dict[str, Any] = {
        "configured_draft": DRAFT,
        "draft": "qwen3-0.6b",
        "draft_tokens": 3,
        "tokens_per_second": 30.0,
        "drafted": 100,
        "accepted": 60,
    }
    return stats(number, **{**made, **more})


@pytest.fixture
def store(tmp_path: Path) -> ObservedStore:
    return ObservedStore(tmp_path / "history.db")


def observe(folder: Path, history: Path, seconds: float = 60) -> dict[str, Any]:
    request = {"conversations": str(folder), "history": str(history), "seconds": seconds}
    return run_task("observe", request, limits=Limits(120))


# -- reading, in a real worker --------------------------------------------------------------------


def test_figures_per_main_draft_and_length_are_added_up_by_the_worker(tmp_path: Path) -> None:
    plain = answer(1764000002000, draft=False)
    plain["genInfo"]["predictionConfig"] = {"fields": []}
    plain["genInfo"]["stats"]["tokensPerSecond"] = 10.0
    keep(tmp_path / "chats", "a", chat(answer(), plain))
    result = observe(tmp_path / "chats", tmp_path / "history.db")
    assert result == {"files": 1, "answers": 2, "unreadable": 0, "done": True}
    without, with_draft = ObservedStore(tmp_path / "history.db").sums().uses
    assert (without.main, without.draft, without.tps) == (MAIN, None, pytest.approx(10.0))
    assert (with_draft.draft, with_draft.draft_tokens, with_draft.answers) == ("qwen3-0.6b", 3, 1)
    assert with_draft.tps == pytest.approx(18.2)
    assert with_draft.acceptance == 25 / 40
    assert with_draft.rounds == (1, 0, 0, 1)


def test_a_chats_preset_and_what_is_seen_later_give_its_sampling(tmp_path: Path) -> None:
    document = chat(*(answer(1764000000000 + n) for n in range(30)))
    keep(tmp_path / "conversations", "a", document)
    observe(tmp_path / "conversations", tmp_path / "history.db")
    assert ObservedStore(tmp_path / "history.db").sampling([MAIN]) is None
    fields = [{"key": "llm.prediction.temperature", "value": 0.1}]
    (tmp_path / "config-presets").mkdir()
    preset = {"identifier": "@local:cool", "name": "Cool", "operation": {"fields": fields}}
    (tmp_path / "config-presets" / "Cool.preset.json").write_text(json.dumps(preset))
    keep(tmp_path / "conversations", "a", {**document, "preset": "@local:cool"})
    observe(tmp_path / "conversations", tmp_path / "history.db")
    assert ObservedStore(tmp_path / "history.db").sampling([MAIN]) == {"temperature": 0.1}


def test_a_growing_chat_read_again_and_again_counts_every_answer_once(tmp_path: Path) -> None:
    steps = [answer(1764000000000 + n) for n in range(4)]
    new = 0
    for count in range(1, 5):
        keep(tmp_path / "chats", "a", chat(*steps[:count]))
        new += observe(tmp_path / "chats", tmp_path / "history.db")["answers"]
    assert new == 4
    assert observe(tmp_path / "chats", tmp_path / "history.db")["answers"] == 0
    (use,) = ObservedStore(tmp_path / "history.db").sums().uses
    assert use.answers == 4


def test_a_reader_out_of_time_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for n in range(5):
        keep(tmp_path / "chats", str(n), chat(answer(1764000000000 + n)))
    first = observe(tmp_path / "chats", tmp_path / "history.db", seconds=0)
    assert first["done"] is False
    last = observe(tmp_path / "chats", tmp_path / "history.db")
    assert last["done"] is True
    assert first["answers"] + last["answers"] == 5


def test_neither_words_nor_the_names_of_folders_reach_the_disk(tmp_path: Path) -> None:
    keep(tmp_path / "chats" / PRIVATE, "a", chat(answer()))
    keep(tmp_path / "chats" / PRIVATE, "half", '{"messages": [{"versions": [' + PRIVATE)
    assert observe(tmp_path / "chats", tmp_path / "history.db")["unreadable"] == 1
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("history.db*"))
    assert len(kept) > 1000
    assert PRIVATE.encode() not in kept


def test_answers_that_an_older_specd_stored_gain_their_kind_and_count_once(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.touch()
    keep(tmp_path / "chats", "a", chat(answer()))
    observe(tmp_path / "chats", path)
    with sqlite3.connect(path) as older:
        for column in ("kind", "sampling"):
            older.execute(f"ALTER TABLE answers DROP COLUMN {column}")
        older.execute("PRAGMA user_version = 2")
    older.close()
    step = answer()
    step["genInfo"]["stats"]["stopReason"] = "toolCalls"
    keep(tmp_path / "chats", "a", chat(step))
    assert observe(tmp_path / "chats", path)["answers"] == 1
    store = ObservedStore(path)
    assert store.sorts(()) == (Sort(0, "tools", 1, 102),)
    (use,) = store.sums().uses
    assert use.answers == 1
    store.close()


# -- keeping --------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=8))
def test_whatever_is_handed_in_again_each_answer_counts_once(
    tmp_path_factory: pytest.TempPathFactory, batches: list[list[int]]
) -> None:
    store = ObservedStore(tmp_path_factory.mktemp("kept") / "history.db")
    new = sum(store.add([stats(number) for number in batch]) for batch in batches)
    assert new == len({number for batch in batches for number in batch})
    sums = store.finish(START)
    assert sum(use.answers for use in sums.uses) == new
    store.close()


def test_speed_is_tokens_over_time_so_that_a_long_answer_weighs_more(store: ObservedStore) -> None:
    store.add([stats(1, tokens=900, tokens_per_second=30.0), stats(2, tokens=100)])
    (use,) = store.finish(START).uses
    assert use.tps == pytest.approx(1000 / (900 / 30 + 100 / 20))


def test_answers_of_the_mains_own_heads_are_no_baseline(tmp_path: Path) -> None:
    steps = []
    for n in range(10):
        step = answer(int(START * 1000) + n, draft=False)
        step["genInfo"]["predictionConfig"] = {"fields": []}
        step["genInfo"]["stats"]["tokensPerSecond"] = 20
        if n >= 5:
            counts = {"totalDraftTokensCount": 100, "acceptedDraftTokensCount": 80}
            step["genInfo"]["stats"] |= {"tokensPerSecond": 41, **counts}
        steps.append(step)
    keep(tmp_path / "chats", "a", chat(*steps))
    assert observe(tmp_path / "chats", tmp_path / "history.db")["answers"] == 10
    plain, heads = ObservedStore(tmp_path / "history.db").sums().uses
    assert (plain.draft, plain.answers, plain.tps) == (None, 5, pytest.approx(20))
    assert (heads.draft, heads.answers, heads.tps) == (OWN_HEADS, 5, pytest.approx(41))
    assert heads.acceptance == pytest.approx(0.8)


def test_without_a_told_speed_the_time_after_the_first_token_counts(store: ObservedStore) -> None:
    told = {"tokens_per_second": None, "seconds": 11.0, "time_to_first_token": 1.0}
    store.add([stats(1, **told), stats(2, tokens_per_second=None)])
    (use,) = store.finish(START).uses
    assert use.tps == pytest.approx(10.0)
    assert use.answers == 2


def test_weeks_show_how_it_went_over_time(store: ObservedStore) -> None:
    week = WEEK_S
    store.add(
        [stats(1), stats(2, at=START + week, tokens_per_second=40.0), stats(3, at=START + week)]
    )
    (use,) = store.finish(START).uses
    assert [(each.answers, each.tps) for each in use.weeks] == [
        (1, pytest.approx(20.0)),
        (2, pytest.approx(200 / 7.5)),
    ]


def test_the_oldest_make_room_and_are_not_taken_again(store: ObservedStore) -> None:
    everything = [stats(number) for number in range(100)]
    store.add(everything)
    assert sum(use.answers for use in store.finish(START, kept=50).uses) <= 50
    assert store.add(everything[:40]) == 0
    (use,) = store.finish(START, kept=50).uses
    assert use.last == START + 99


def test_a_draft_asked_for_that_never_ran_can_be_told(store: ObservedStore) -> None:
    silent = {"draft": None, "drafted": None, "accepted": None}
    store.add([drafted(n) for n in range(20)] + [drafted(n, **silent) for n in range(20, 40)])
    (asked,) = store.finish(START).asked
    assert (asked.draft, asked.answers, asked.ran) == (DRAFT, observed.RECENT, 0)
    store.add([drafted(41)])
    (asked,) = store.finish(START).asked
    assert (asked.ran, asked.drafted, asked.accepted) == (1, 100, 60)


def test_another_process_s_sums_and_probes_are_seen(tmp_path: Path) -> None:
    mine, theirs = (ObservedStore(tmp_path / "history.db") for _ in range(2))
    assert mine.sums() == Observed()
    theirs.add([stats(1)])
    theirs.finish(START)
    assert mine.sums().uses[0].answers == 1
    probe = Probe("main", "draft", START, 4, 40, 20)
    theirs.keep_probe(probe)
    theirs.keep_probe(Probe("main", "other", START, 4, 0, 0, "why"))
    assert probe in mine.probes()
    theirs.keep_probe(Probe("main", "draft", START + 1, 1, 10, 2))
    assert [p.at for p in mine.probes() if p.draft == "draft"] == [START + 1]


# -- with and without ---------------------------------------------------------------------------


def test_a_pair_in_use_is_put_beside_no_draft(store: ObservedStore) -> None:
    store.add([drafted(n) for n in range(10)] + [stats(n) for n in range(10, 30)])
    without, with_draft = store.finish(START).uses
    used = in_use([with_draft], [without])
    assert (used.answers, used.baseline_answers, used.draft_tokens) == (10, 20, 3)
    assert used.speedup == pytest.approx(1.5)
    assert used.acceptance == pytest.approx(0.6)
    assert used.caution is None


def test_few_answers_and_other_kinds_of_prompts_call_for_caution(store: ObservedStore) -> None:
    store.add([drafted(n, prompt_tokens=40) for n in range(10)])
    store.add([stats(n, prompt_tokens=500) for n in range(10, 15)])
    without, with_draft = store.finish(START).uses
    assert "too few" in (in_use([with_draft], [without]).caution or "")
    store.add([stats(n, prompt_tokens=500) for n in range(15, 30)])
    without, with_draft = store.finish(START).uses
    assert in_use([with_draft], [without]).caution == (
        "prompts differ in kind: typically 40 tokens with the draft and 500 without"
    )


@pytest.mark.parametrize("answers", [20_000, pytest.param(200_000, marks=pytest.mark.nightly)])
def test_years_of_answers_are_added_up_in_seconds_and_shown_at_once(
    store: ObservedStore, tmp_path: Path, answers: int, figures: Figures
) -> None:
    for start in range(0, answers, 1000):
        store.add([(drafted if n % 3 else stats)(n) for n in range(start, start + 1000)])
    began = time.process_time()
    store.finish(START)
    added = time.process_time() - began
    fresh = ObservedStore(tmp_path / "history.db")
    began = time.process_time()
    assert sum(use.answers for use in fresh.sums().uses) == answers
    shown = time.process_time() - began
    size = (tmp_path / "history.db").stat().st_size
    figures(answers=answers, added_up_s=added, shown_ms=shown * 1000, bytes_each=size / answers)
    assert added < 20
    assert shown < 0.2


def test_the_kept_sums_hold_no_names_but_the_models_and_the_apps(
    store: ObservedStore, tmp_path: Path
) -> None:
    store.add([drafted(1)])
    store.finish(START)
    rows = sqlite3.connect(tmp_path / "history.db").execute("SELECT value FROM kept").fetchall()
    names = {str(v) for v in _strings(json.loads(rows[-1][0]))}
    assert names <= {MAIN, DRAFT, "qwen3-0.6b", "LM Studio"}


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [s for each in value.values() for s in _strings(each)]
    if isinstance(value, list):
        return [s for each in value for s in _strings(each)]
    return [value] if isinstance(value, str) else []
