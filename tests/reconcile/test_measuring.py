"""The request of a benchmark is the same for the daemon and the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from specd.bench.observed import ObservedStore
from specd.lmstudio import model_defaults
from specd.lmstudio.conversations import AnswerStats
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
    assert main["narrowed"] == pair["narrowed"] == {"top_k": 40, "top_p": 0.95, "min_p": 0.05}


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
    assert asked.at(MAIN) == found
    assert replace(asked, quick=True).at(MAIN) == found
    assert replace(asked, temperature=0.5).at(MAIN) == 0.5
    assert Benchmark(HISTORY, 1.0).at(MAIN) == 0.8


def answers(count: int, prompt_tokens: int, first: int) -> list[AnswerStats]:
    return [
        AnswerStats(
            f"{first + number:024x}", 1e9, "main",
            tokens=100, prompt_tokens=prompt_tokens, tokens_per_second=20.0,
        )
        for number in range(count)
    ]  # fmt: skip


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
