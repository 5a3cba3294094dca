"""The request of a benchmark is the same for the daemon and the command line."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from specd import config
from specd.bench.observed import ObservedStore
from specd.bench.prompts import CONTEXTS
from specd.lmstudio import model_defaults
from specd.lmstudio.chat_settings import ChatSettings
from specd.lmstudio.conversations import AnswerStats
from specd.reconcile import measuring
from specd.reconcile.engine import BenchmarkPlan, LocalPair
from specd.reconcile.measuring import SHARE, Benchmark, tasks, weights
from tests.reconcile.test_engine import DRAFT, GGUF, MAIN

HISTORY = Path("/state/history.db")


def test_every_pair_gets_an_equal_part_of_the_time() -> None:
    plan = BenchmarkPlan(((MAIN, DRAFT), (MAIN, GGUF)), (LocalPair(GGUF, "ngram", "ngram-simple"),))
    mlx, gguf = tasks(plan, None, Benchmark(HISTORY, 3.0))
    assert (mlx.name, mlx.seconds, gguf.name, gguf.seconds) == ("bench", 120, "bench-gguf", 60)
    assert mlx.request["seconds"] == pytest.approx(120 * SHARE)
    (main,) = mlx.request["mains"]
    assert [each["name"] for each in main["drafts"]] == [DRAFT.key, GGUF.key]
    (pair,) = gguf.request["pairs"]
    assert (pair["name"], pair["draft"]) == ("ngram", None)
    assert main["settings"] == pair["settings"] == asdict(ChatSettings())


@pytest.mark.parametrize(
    ("own", "preset", "found"),
    [(None, None, 0.8), (0.3, None, 0.3), (0.3, 1.1, 1.1), ("hot", None, 0.8)],
)
def test_a_main_is_measured_at_the_temperature_its_chats_begin_with(
    own: object, preset: float | None, found: float, tmp_path: Path
) -> None:
    def document(value: object) -> dict[str, object]:
        return {"operation": {"fields": [{"key": "llm.prediction.temperature", "value": value}]}}

    path = model_defaults.config_path(tmp_path, MAIN)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"preset": "@local:Mine", **document(own)}))
    if preset is not None:
        folder = tmp_path / "config-presets"
        folder.mkdir()
        told = {"identifier": "@local:Mine", "name": "Mine", **document(preset)}
        (folder / "Mine.preset.json").write_text(json.dumps(told))
    asked = Benchmark(HISTORY, 1.0, home=tmp_path)
    assert asked.settings(MAIN).temperature == found
    assert replace(asked, quick=True).settings(MAIN).temperature == found
    assert replace(asked, temperature=0.5).settings(MAIN).temperature == 0.5
    assert Benchmark(HISTORY, 1.0).settings(MAIN).temperature == 0.8


def answers(count: int, prompt_tokens: int, first: int, **more: Any) -> list[AnswerStats]:
    made: dict[str, Any] = {
        "model": "main",
        "tokens": 100,
        "prompt_tokens": prompt_tokens,
        "tokens_per_second": 20.0,
        **more,
    }
    return [
        AnswerStats(f"{first + number:024x}", 1e9 + first + number, **made)
        for number in range(count)
    ]


def test_the_sampling_of_the_latest_chats_wins(tmp_path: Path) -> None:
    store = ObservedStore(tmp_path / "history.db")
    hot = {"temperature": 1.0, "top_k": 0}
    store.add(answers(20, 200, 0, model=MAIN.identifier, sampling=hot))
    store.finish(1e9)
    assert measuring.sampling(store, [MAIN]) == {}
    store.add(answers(10, 200, 100, model=MAIN.key, sampling=hot))
    store.add(answers(10, 200, 200, model=MAIN.key, sampling={"temperature": 0.1}))
    store.finish(1e9)
    found = measuring.sampling(store, [MAIN])
    assert found == {MAIN.key: hot}
    asked = Benchmark(HISTORY, 1.0, sampling=found)
    assert asked.settings(MAIN) == ChatSettings(temperature=1.0, top_k=0)
    assert replace(asked, temperature=0.5).settings(MAIN) == ChatSettings(temperature=0.5, top_k=0)
    assert asked.settings(DRAFT) == ChatSettings()
    store.add(answers(20, 200, 300, model=MAIN.key, sampling={"temperature": 0.1}))
    store.finish(1e9)
    assert measuring.sampling(store, [MAIN]) == {MAIN.key: {"temperature": 0.1}}
    store.add(answers(50, 200, 400, model=MAIN.key))
    store.finish(1e9)
    assert measuring.sampling(store, [MAIN]) == {}, "the latest answers are at LM Studio's own"
    store.add(answers(50, 200, 400, model=MAIN.key, sampling={"temperature": 0.1}))
    store.finish(1e9)
    assert measuring.sampling(store, [MAIN]) == {MAIN.key: {"temperature": 0.1}}
    wanted = config.Benchmark(mix="code=3")
    assert measuring.of_chats(wanted, store, [MAIN])[1] == measuring.sampling(store, [MAIN])
    unseen = replace(wanted, observe_conversations=False)
    assert measuring.of_chats(unseen, store, [MAIN]) == ({"code": 3.0}, {})
    store.close()


def test_the_kinds_of_the_users_answers_weigh_the_suites(tmp_path: Path) -> None:
    store = ObservedStore(tmp_path / "history.db")
    store.add(answers(100, 200, 0))  # of an older specd, without kinds
    store.add(answers(40, 200, 100, kind="plain"))
    store.add(answers(9, 200, 200, kind="tools"))
    assert set(weights({}, store)) == set(CONTEXTS)
    store.add(answers(21, 200, 300, kind="tools"))
    store.add(answers(60, 9_000, 400, kind="thinking"))
    found = weights({"prose": 5.0}, store)
    # Half of the thinking counts for its context: 30 of 100 known short answers; 30 to 200.
    assert found["8k"] == pytest.approx(10 * 30 / 200)
    assert (found["tools"], found["thinking"]) == (pytest.approx(3.0), pytest.approx(3.0))
    assert found["code"] == found["rewrite"] == pytest.approx(4.0 / 8)
    assert found["prose"] == 5.0
    assert sum(found[kind] for kind in measuring.SHORT) == pytest.approx(10.0)
    store.close()


def test_the_users_own_contexts_weigh_the_suites(tmp_path: Path) -> None:
    store = ObservedStore(tmp_path / "history.db")
    store.add(answers(20, 200, 0))
    assert weights({"code": 3.0}, store) == {"code": 3.0}
    store.add([*answers(20, 3_000, 100), *answers(20, 9_000, 200)])
    found = weights({"code": 3.0, "8k": 0.5}, store)
    # As many tokens at 2k as in all ten short classes; what specd.toml says wins.
    assert found == {"2k": 10.0, "8k": 0.5, "32k": 0.0, "code": 3.0}
    store.close()


def test_a_user_of_long_contexts_alone_weighs_those_alone(tmp_path: Path) -> None:
    store = ObservedStore(tmp_path / "history.db")
    store.add(answers(60, 9_000, 200))
    found = weights({}, store)
    assert found["8k"] == 10.0
    assert sum(found.values()) == 10.0
    store.close()
