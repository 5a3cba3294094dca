"""Real runs: which answers count, and when the first ones no longer do."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from specd.bench.confirm import Runs, answer_alone, confirm, cut_down
from specd.bench.prompts import STANDARD, Prompt
from tests.bench.simulated import Setting, SimulatedEngine

QUIET = Setting(lambda k: 1.02 + 0.01 * (k - 1), 0.03, 0.95, noise=0.01, disturbed=0.0)


def run(engine: SimulatedEngine, seconds: float = 1e6) -> Runs:
    _, alone = answer_alone(engine, STANDARD, seconds=1e6)
    promised = {0: 1.0, 5: 3.0}
    found = confirm(engine, STANDARD, promised, alone=alone, weights={}, seconds=seconds)
    assert found is not None
    assert [each[0] is first for each, first in zip(found.answers[0], alone, strict=True)].count(
        True
    ) in (0, len(STANDARD))
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


def alone_asked(engine: SimulatedEngine) -> int:
    return sum(length == 0 for _, length in engine.asked)


def test_the_first_answers_count_as_a_pass_without_a_draft() -> None:
    engine = SimulatedEngine(QUIET, STANDARD)
    runs = run(engine)
    assert alone_asked(engine) == runs.passes * len(STANDARD)
    assert all(len(each) == runs.passes for of in runs.answers.values() for each in of)


@dataclass
class Throttled(SimulatedEngine):
    """Slower by ``throttled`` once it has answered every prompt."""

    throttled: float = 1.0

    def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
        warm = len(self.asked) > len(self.prompts)
        return super().seconds(prompt, draft_tokens) * (self.throttled if warm else 1.0)


@pytest.mark.parametrize("throttled", [1.3, 0.7])
def test_they_do_not_where_the_machine_has_become_another_since(throttled: float) -> None:
    engine = Throttled(QUIET, STANDARD, throttled=throttled)
    runs = run(engine)
    assert alone_asked(engine) == (runs.passes + 1) * len(STANDARD)
    truth = engine.truth(5) / engine.truth(0)
    assert runs.speedup(0, 5) == pytest.approx(truth, rel=0.03)


def test_without_the_time_to_answer_anew_the_pass_they_began_does_not_count() -> None:
    engine = Throttled(QUIET, STANDARD, throttled=1.3)
    with_draft, without = (sum(engine.seconds(p, each) for p in STANDARD) for each in (5, 0))
    two_passes = 1.3 * (2 * with_draft + without)
    runs = run(engine, seconds=two_passes + without / 2)
    assert runs.passes == 1
    assert runs.interval(0, 5) is None
    truth = engine.truth(5) / engine.truth(0)
    assert runs.speedup(0, 5) == pytest.approx(truth, rel=0.03)
    assert alone_asked(engine) == 2 * len(STANDARD)


def test_one_disturbed_answer_does_not_make_it_another_machine() -> None:
    @dataclass
    class Disturbed(SimulatedEngine):
        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            return super().seconds(prompt, draft_tokens) * (3.0 if len(self.asked) == 2 else 1.0)

    engine = Disturbed(QUIET, STANDARD)
    runs = run(engine)
    assert alone_asked(engine) == runs.passes * len(STANDARD)
    assert [each.times for each in runs.outliers()]


def test_texts_that_differ_are_told_by_their_prompts() -> None:
    runs = run(SimulatedEngine(QUIET, STANDARD, differs=True))
    assert set(runs.unequal()) == set(range(len(STANDARD)))
    assert run(SimulatedEngine(QUIET, STANDARD)).unequal() == ()
