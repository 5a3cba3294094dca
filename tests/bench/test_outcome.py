from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench.outcome import outcome
from specd.bench.result import BenchResult, Best


def result(best: Best, engine: str = "mlx") -> BenchResult:
    made = BenchResult("main", "draft", "mlx", "seed", "now", 18.0, (), best, True, 1.0)
    return replace(made, engine=engine)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("best", "kind", "words"),
    [
        (
            Best(3, 1.3, 1.31, (1.22, 1.4), 3),
            "faster",
            "1.31× faster [1.22, 1.40] with 3 draft tokens",
        ),
        (
            Best(3, 1.1, 1.02, (0.97, 1.06), 3),
            "noise",
            "within the noise: 1.02× [0.97, 1.06] with 3 draft tokens",
        ),
        (
            Best(0, 0.7, 0.62, (0.6, 0.65), 1),
            "none",
            "no gain: no speculation is fastest; 0.62× [0.60, 0.65] with 1 draft token",
        ),
        (
            Best(0, 0.99, 1.0, (0.98, 1.02), 1),
            "none",
            "no gain: no speculation is fastest; 1.00× [0.98, 1.02] with 1 draft token",
        ),
        (
            Best(0, 0.8, None, None, 1),
            "none",
            "no gain predicted, not confirmed: no speculation is fastest (0.80× with 1 draft token)",
        ),
        (
            Best(4, 1.3, None, None, 4),
            "unconfirmed",
            "predicted, not confirmed: 1.30× with 4 draft tokens",
        ),
        (
            Best(4, 1.3, 1.4, None, 4),
            "unconfirmed",
            "not confirmed: 1.40× with 4 draft tokens, measured once, which tells no interval",
        ),
    ],
)
def test_the_words_claim_what_was_shown_and_no_more(best: Best, kind: str, words: str) -> None:
    told = outcome(result(best))
    assert (told.kind, told.words) == (kind, words)


def test_on_a_server_nothing_is_predicted() -> None:
    told = outcome(result(Best(4, 1.3, None, None, 4), "server"))
    assert told.words.startswith("tried once, not confirmed")


SPEEDS = st.floats(0.1, 5)


@given(st.integers(0, 16), SPEEDS, st.none() | st.tuples(SPEEDS, SPEEDS, SPEEDS))
def test_faster_is_said_only_of_a_draft_whose_whole_interval_is_above_one(
    tokens: int, promised: float, measured: tuple[float, float, float] | None
) -> None:
    best = Best(tokens, promised, None, None, tokens or 1)
    if measured is not None:
        low, middle, high = sorted(measured)
        best = replace(best, measured_speedup=middle, interval=(low, high))
    told = outcome(result(best))
    sure = best.interval is not None and best.interval[0] > 1 and tokens > 0
    assert (told.kind == "faster") == sure
    assert ("faster" in told.words) == sure
