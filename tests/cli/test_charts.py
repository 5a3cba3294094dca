from __future__ import annotations

import pytest

from specd.bench.result import BenchResult, Best, LengthResult
from specd.cli.models import charts


def benchmark(best: int) -> BenchResult:
    return BenchResult(
        main="main",
        draft="draft",
        engine="mlx",
        suite="standard",
        started_at="2026-11-24T04:30:00+00:00",
        baseline_tps=18.0,
        lengths=tuple(
            LengthResult(n, 0.9, 90, 100, 20.0 + (n == best), 1.1 + (n == best) / 20)
            for n in range(17)
        ),
        best=Best(best, 1.15, 1.2, (1.1, 1.3)),
        text_equal=True,
        model_seconds=30.0,
    )


@pytest.mark.parametrize("columns", [40, 60, 100])
@pytest.mark.parametrize("best", [1, 2, 8, 15, 16])
def test_the_best_length_is_named_wherever_it_stands(best: int, columns: int) -> None:
    drawn = charts.lengths(benchmark(best), columns)
    assert f"best: {best}" in drawn
    assert "●" in drawn


def test_where_nothing_gains_that_is_marked_too() -> None:
    assert "best: none" in charts.lengths(benchmark(0), 80)
