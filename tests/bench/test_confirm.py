"""Real runs: which answers are compared, in which order they are given, and when they end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from specd.bench.confirm import Runs, answer_alone, confirm, cut_down
from specd.bench.prompts import STANDARD, Prompt
from tests.bench.simulated import Setting, SimulatedEngine

QUIET = Setting(lambda k: 1.02 + 0.01 * (k - 1), 0.03, 0.95, noise=0.01, disturbed=0.0)


def run(engine: SimulatedEngine, seconds: float = 1e6) -> Runs:
    _, alone = answer_alone(engine, STANDARD, seconds=1e6)
    promised = {0: 1.0, 5: 3.0}
    found = confirm(
        engine,
        STANDARD,
        promised,
        alone=alone,
        weights={},
        seconds=seconds,
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("seconds", "asked", "shortest"),
    [(1e6, len(STANDARD), 50), (10.0, len(STANDARD), 42), (3.0, 3, 32), (0.0, 1, 50)],
)
def test_a_slow_main_gives_shorter_answers_and_a_slower_one_fewer(
    seconds: float, asked: int, shortest: int
) -> None:
    engine = SimulatedEngine(QUIET, STANDARD)
    prompts, answers = answer_alone(engine, STANDARD, seconds=seconds)
    assert len(prompts) == len(answers) == asked
    assert min(each.max_tokens for each in prompts) == shortest
    assert [each.tokens for each in answers] == [each.max_tokens for each in prompts]
    assert all(
        each.max_tokens <= whole.max_tokens for each, whole in zip(prompts, STANDARD, strict=False)
    )
    if asked > 1:
        assert engine.now < seconds * 1.1


def test_what_was_left_out_is_told() -> None:
    short = tuple(replace(each, max_tokens=each.max_tokens // 2) for each in STANDARD)
    assert cut_down(STANDARD, STANDARD) is None
    assert "answers were cut to 50% of their length" in str(cut_down(STANDARD, short))
    assert "only 2 of 7 prompts were asked" in str(cut_down(STANDARD, short[:2]))


def test_only_answers_of_the_same_pass_are_compared() -> None:
    @dataclass
    class Throttled(SimulatedEngine):
        """Slower once it has answered every prompt: the first answers say nothing of the rest."""

        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            warm = len(self.asked) > len(self.prompts)
            return super().seconds(prompt, draft_tokens) * (1.3 if warm else 1.0)

    engine = Throttled(QUIET, STANDARD)
    runs = run(engine)
    assert runs.speedup(0, 5) == pytest.approx(engine.truth(5) / engine.truth(0), rel=0.02)
    assert all(len(each) == runs.passes for of in runs.answers.values() for each in of)
    alone = sum(length == 0 for _, length in engine.asked)
    assert alone == (1 + runs.passes) * len(STANDARD)


def test_the_second_pass_answers_in_the_opposite_order() -> None:
    engine = SimulatedEngine(QUIET, STANDARD)
    run(engine)
    of_pass = [engine.asked[at : at + 14] for at in (7, 21)]
    assert [each[0] for each in of_pass[0]] == [each[0] for each in of_pass[1]]
    for at in range(0, 14, 2):
        assert of_pass[0][at : at + 2] == of_pass[1][at : at + 2][::-1]
    assert (
        len({tuple(length for _, length in of_pass[0][at : at + 2]) for at in range(0, 14, 2)}) == 2
    )


def test_without_time_for_a_second_pass_there_is_no_interval() -> None:
    engine = SimulatedEngine(QUIET, STANDARD)
    pass_s = sum(engine.seconds(p, each) for p in STANDARD for each in (0, 5))
    runs = run(engine, seconds=1.5 * pass_s)
    assert (runs.passes, runs.ended) == (1, "time")
    assert runs.interval(0, 5) is None


def test_one_disturbed_answer_is_named_and_counts() -> None:
    @dataclass
    class Disturbed(SimulatedEngine):
        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            return super().seconds(prompt, draft_tokens) * (3.0 if len(self.asked) == 9 else 1.0)

    assert [each.times for each in run(Disturbed(QUIET, STANDARD)).outliers()]


def test_the_progress_rises_steadily_to_the_end() -> None:
    engine = SimulatedEngine(QUIET, STANDARD)
    pass_s = sum(engine.seconds(p, each) for p in STANDARD for each in (0, 5))
    said: list[float] = []
    _, alone = answer_alone(engine, STANDARD, seconds=1e6)
    confirm(
        engine,
        STANDARD,
        {0: 1.0, 5: 3.0},
        alone=alone,
        weights={},
        seconds=2.5 * pass_s,
        say=said.append,
    )
    assert said == sorted(said)
    assert max(b - a for a, b in pairwise([0.0, *said])) < 0.1
    assert said[-1] == pytest.approx(1.0)


def test_texts_that_differ_are_told_by_their_prompts() -> None:
    runs = run(SimulatedEngine(QUIET, STANDARD, differs=True))
    assert set(runs.unequal()) == set(range(len(STANDARD)))
    assert run(SimulatedEngine(QUIET, STANDARD)).unequal() == ()
