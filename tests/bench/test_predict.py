"""Predictions follow from counts and costs; the best is the fastest, and of equals the shortest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specd.bench import predict
from specd.bench.costs import Costs, Steps
from specd.bench.predict import LONGEST, StudiedAnswer
from specd.bench.result import LengthResult


def free(verifying: float = 1.0, draft: float = 0.1, prefill: float = 0.0) -> Costs:
    """A main's step of one second whatever it reads at once, and a cheaper draft."""

    def at(context: int) -> Steps:
        main = dict.fromkeys(range(1, LONGEST + 2), verifying)
        return Steps(context, 1.0, main, draft, 0.0, prefill, prefill)

    return Costs(at(10), at(1000))


def answer(kind: str, agrees: list[bool]) -> StudiedAnswer:
    return StudiedAnswer(kind, 10, tuple(agrees), len(agrees))


def test_a_draft_that_is_always_right_is_worth_a_round_of_tokens() -> None:
    found = predict.lengths([answer("x", [True] * 170)], free(draft=0.1), {})
    for each in found[1:]:
        assert each.acceptance == 1.0
        assert each.predicted_speedup == pytest.approx(
            (each.draft_tokens + 1) / (each.draft_tokens * 0.1 + 1), rel=0.1
        )


def test_a_draft_that_is_never_right_only_costs() -> None:
    found = predict.lengths([answer("x", [False] * 50)], free(draft=0.1), {})
    assert [each.predicted_tps for each in found] == sorted(
        (each.predicted_tps for each in found), reverse=True
    )
    assert predict.best(found).draft_tokens == 0


def test_reading_the_prompt_twice_counts_against_the_draft() -> None:
    cheap, dear = (
        predict.lengths([answer("x", [True] * 20)], free(prefill=seconds), {})
        for seconds in (0.0, 10.0)
    )
    assert dear[4].predicted_speedup < cheap[4].predicted_speedup


def test_weights_are_shares_of_tokens() -> None:
    answers = [answer("easy", [True] * 30), answer("hard", [False] * 300)]
    easy, hard = (predict.lengths([each], free(), {})[4].predicted_tps for each in answers)
    mixed = predict.lengths(answers, free(), {"easy": 3, "hard": 1})[4].predicted_tps
    assert 1 / mixed == pytest.approx(0.75 / easy + 0.25 / hard)


def test_a_class_counts_alike_however_many_prompts_it_has() -> None:
    one = [answer("easy", [True] * 30), answer("hard", [False] * 30)]
    many = [one[0], *[one[1]] * 5]
    for length in (0, 4):
        assert predict.lengths(one, free(), {})[length].predicted_tps == pytest.approx(
            predict.lengths(many, free(), {})[length].predicted_tps
        )


def test_when_nothing_has_weight_all_classes_count_alike() -> None:
    answers = [answer("easy", [True] * 30), answer("hard", [False] * 30)]
    nothing = predict.lengths(answers, free(), {"easy": 0, "hard": 0})
    assert nothing == predict.lengths(answers, free(), {})


@given(
    kinds=st.lists(st.sampled_from("abc"), min_size=1, max_size=8),
    weights=st.dictionaries(st.sampled_from("abcd"), st.floats(0, 10)),
)
def test_shares_make_seconds_per_token_of_a_mix(
    kinds: list[str], weights: dict[str, float]
) -> None:
    answers = [(kind, 10 + number) for number, kind in enumerate(kinds)]
    shares = predict.token_shares(answers, weights)
    total = sum(share * tokens for share, (_, tokens) in zip(shares, answers, strict=True))
    assert total == pytest.approx(1.0)


def speeds(*found: float) -> list[LengthResult]:
    return [
        LengthResult(number, 0.5, 1, 1, speed, speed / found[0])
        for number, speed in enumerate(found)
    ]


def test_the_fastest_length_is_the_best() -> None:
    assert predict.best(speeds(10, 12, 15, 14)).draft_tokens == 2


def test_of_lengths_that_tie_the_shortest_is_the_best() -> None:
    assert predict.best(speeds(10, 14.95, 15, 14)).draft_tokens == 1
    assert predict.best(speeds(10, 10.05, 9)).draft_tokens == 0


def test_each_class_is_predicted_by_itself() -> None:
    answers = [answer("easy", [True] * 30), answer("hard", [False] * 30)]
    found = predict.by_class(answers, free())
    assert predict.best(found["easy"]).draft_tokens > 4
    assert predict.best(found["hard"]).draft_tokens == 0
    assert found["easy"] == predict.lengths([replace(answers[0], kind="other")], free(), {})
