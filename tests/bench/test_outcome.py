from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench.outcome import costs, outcome, sentence
from specd.bench.result import AtTemperature, BenchResult, Best, Confirmation


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
            Best(0, 0.3, None, None, 4),
            "none",
            "no gain predicted, not confirmed: no speculation is fastest (0.30× with 4 draft tokens)",
        ),
        (
            Best(0, 0.3, 0.4, None, 4),
            "none",
            "far slower than none: 0.40× with 4 draft tokens, measured once",
        ),
        (
            Best(4, 1.3, None, None, 4),
            "unconfirmed",
            "predicted, not confirmed: 1.30× with 4 draft tokens",
        ),
        (
            Best(4, 1.3, 1.4, None, 4),
            "unconfirmed",
            "not confirmed: 1.40× with 4 draft tokens, in too few runs to say how sure that is",
        ),
    ],
)
def test_the_words_claim_what_was_shown_and_no_more(best: Best, kind: str, words: str) -> None:
    told = outcome(result(best))
    assert (told.kind, told.words) == (kind, words)


def test_a_draft_that_was_tried_once_on_a_server_may_be_far_slower() -> None:
    told = outcome(result(Best(0, 0.3, None, None, 4), "llama.cpp"))
    assert told.words == "far slower than none: 0.30× with 4 draft tokens, tried once"


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


def by_class(**speedups: float) -> dict[str, dict[str, float]]:
    return {kind.strip("_"): {"measured_speedup": each} for kind, each in speedups.items()}


def test_the_sentence_tells_the_gain_by_kind_and_from_where_on_there_is_none() -> None:
    found = replace(
        result(Best(4, 1.5, 1.42, (1.36, 1.48), 4)),
        main="qwen3-8b",
        draft="qwen3-0.6b",
        by_class=by_class(code=1.9, short=1.4, creative=1.02, _2k=1.3, _8k=1.01),
        at_temperature=AtTemperature(0.7, 4, 0.5, 1.2, 1.21, (1.15, 1.28)),
    )
    assert sentence(found) == (
        "With qwen3-0.6b at 4 tokens, qwen3-8b answers 1.21 ± 0.07 times as fast as alone at "
        "temperature 0.7; code 1.9, short 1.4, creative 1.0; 1.3 at 2k, nothing gained at 8k tokens "
        "of context; 1.42 at temperature 0"
    )
    longest = replace(found, by_class=by_class(_2k=1.3), at_temperature=None)
    assert sentence(longest).endswith("as alone; 1.3 at 2k tokens of context")


@pytest.mark.parametrize(
    ("best", "ending"),
    [
        (Best(3, 1.1, 1.02, (0.97, 1.07), 3), "1.02 ± 0.05 times as fast as alone, which may be no gain at all"),
        (Best(0, 1.1, 0.62, (0.6, 0.64), 1), "0.62 ± 0.02 times as fast as alone: it is faster without"),
        (Best(0, 1.1, 1.0, (0.98, 1.02), 1), "1.00 ± 0.02 times as fast as alone, which is no gain"),
        (Best(4, 1.9, 1.82, (1.05, 3.2), 4), "1.82 [1.05, 3.20] times as fast as alone"),
        (Best(0, 0.3, 0.3, None, 4), "main is far slower than none: 0.30× with 4 draft tokens, measured once"),
        (Best(4, 1.3, None, None, 4), "not decided: predicted, not confirmed: 1.30× with 4 draft tokens"),
    ],
)  # fmt: skip
def test_the_sentence_promises_nothing_that_was_not_shown(best: Best, ending: str) -> None:
    assert sentence(result(best)).endswith(ending)


def test_what_it_costs_is_said_where_it_is_known() -> None:
    known = result(Best(3, 1.3, 1.31, (1.22, 1.4), 3))
    assert costs(known) == ()
    confirmation = Confirmation(3, "decided", None, None, energy=0.8)
    memory, energy = costs(replace(known, draft_bytes=300 << 20, confirmation=confirmation))
    assert memory == "0.29 GiB of memory for the draft's weights"
    assert energy == "0.80 times the processor's energy per token"
