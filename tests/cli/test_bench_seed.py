from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from specd.bench.result import BenchResult, Best, Confirmation, LengthResult, Outlier
from specd.cli.models import bench, bench_seed

MEASURED = {
    "short": {"baseline_tps": 17.0, "measured_tps": 20.4, "predicted_tps": 21.0},
    "long": {
        "baseline_tps": 18.5,
        "measured_tps": 25.9,
        "baseline_first_token_s": 0.41,
        "first_token_s": 0.52,
    },
}


def result(**more: Any) -> BenchResult:
    made = BenchResult(
        main="qwen3-8b",
        draft="qwen3-0.6b",
        engine="mlx",
        suite="seed",
        started_at="2026-11-24T04:30:00+00:00",
        baseline_tps=18.0,
        lengths=(
            LengthResult(0, 0.0, 0, 250, 18.0, 1.0),
            LengthResult(3, 0.6, 150, 100, 24.0, 1.33),
        ),
        best=Best(3, 1.33, 1.35, (1.3, 1.4), 3),
        text_equal=True,
        model_seconds=30.0,
        by_class=MEASURED,
        confirmation=Confirmation(3, "decided", 1.05, (1.01, 1.09), (Outlier("long", 2, 1.9),)),
    )
    return replace(made, **more)


def rows(made: BenchResult) -> dict[str, str]:
    listed = [line.strip() for line in bench_seed.table(made).splitlines()]
    return {line.split("  ")[0]: " ".join(line.split()) for line in listed}


def test_before_and_after_of_each_test_stand_beside_what_was_hoped_for() -> None:
    told = rows(result())
    assert told["Test 1/2: up to 50 tokens"].endswith("17.0 20.4 +20%")
    assert told["Test 3: up to 200 tokens, streamed"].endswith("18.5 25.9 +40%")
    assert told["seconds to the first token"].endswith("0.41 0.52")
    assert told["expected on the seed machine"].endswith("18 22-27 +20% to +50%")
    assert told["both tests here"].endswith("17.7 23.9 +35%, within the expectation")


@pytest.mark.parametrize(
    ("speedup", "word"), [(0.62, "-38%, less than"), (1.0, "less than"), (1.8, "+80%, more than")]
)
def test_what_misses_the_expectation_is_said_to(speedup: float, word: str) -> None:
    best = Best(0, speedup, speedup, (speedup - 0.01, speedup + 0.01), 1)
    assert word in rows(result(best=best))["both tests here"]


def test_what_was_only_predicted_is_called_so() -> None:
    predicted = {"short": {"predicted_tps": 24.0, "predicted_speedup": 1.5}}
    told = bench_seed.table(
        result(best=Best(3, 1.33, None, None, 3), by_class=predicted, confirmation=None)
    )
    assert "predicted  (3 draft tokens)" in told
    assert "16.0       24.0  +50%" in told
    assert "what was run here, predicted" in told
    assert "Test 3: up to 200 tokens, streamed    time was up before it" in told


def test_the_suite_ends_with_its_table_and_the_last_line_says_what_is_known() -> None:
    shown = bench.render(asdict(result()), 100)
    *_, last = shown.splitlines()
    assert last.startswith("  With ")
    assert "answers 1.35 ± 0.05 times as fast as alone" in last
    assert "expected on the seed machine" in shown
    assert "expected" not in bench.render(asdict(result(suite="standard")), 100)


def test_how_it_was_confirmed_is_shown_with_the_outliers_that_were_kept() -> None:
    shown = bench.render(asdict(result()), 100)
    assert "1.35× [1.30, 1.40] with 3 draft tokens in 3 passes; it was decided" in shown
    assert "over the usual 2  1.05× [1.01, 1.09]" in shown
    assert "long, pass 2: 1.9× its usual time; it counts all the same" in shown


def test_an_interval_that_holds_one_is_no_verdict_for_a_draft() -> None:
    best = Best(3, 1.1, 1.02, (0.97, 1.06), 3)
    shown = " ".join(bench.render(asdict(result(best=best)), 100).split())
    assert "1.02 ± 0.05 times as fast as alone, which may be no gain at all" in shown
