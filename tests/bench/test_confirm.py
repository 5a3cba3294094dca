"""Real runs: which answers are compared, in which order they are given, and when they end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest

from specd.bench import choice
from specd.bench import confirm as confirming
from specd.bench.confirm import Runs, answer_alone, confirm, cut_down, of_mix
from specd.bench.engine import Timed
from specd.bench.measure import Candidate, benchmark
from specd.bench.prompts import BASIC, STANDARD, Prompt
from specd.bench.result import BenchRequest
from specd.config import Benchmark
from tests.bench.simulated import Setting, SimulatedEngine

QUIET = Setting(lambda k: 1.02 + 0.01 * (k - 1), 0.03, 0.95, noise=0.01, disturbed=0.0)


WARM = 2
"""Answers before the first pass that do not count: one of each length."""


def run(engine: SimulatedEngine, seconds: float = 1e6) -> Runs:
    _, alone = answer_alone(engine, BASIC, seconds=1e6)
    promised = {0: 1.0, 5: 3.0}
    found = confirm(
        engine,
        BASIC,
        promised,
        alone=alone,
        weights={},
        seconds=seconds,
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("seconds", "asked", "shortest"),
    [(1e6, len(BASIC), 50), (10.0, len(BASIC), 42), (3.0, 3, 32), (0.0, 1, 50)],
)
def test_a_slow_main_gives_shorter_answers_and_a_slower_one_fewer(
    seconds: float, asked: int, shortest: int
) -> None:
    engine = SimulatedEngine(QUIET, BASIC)
    prompts, answers = answer_alone(engine, BASIC, seconds=seconds)
    assert len(prompts) == len(answers) == asked
    assert min(each.max_tokens for each in prompts) == shortest
    assert [each.tokens for each in answers] == [each.max_tokens for each in prompts]
    assert all(
        each.max_tokens <= whole.max_tokens for each, whole in zip(prompts, BASIC, strict=False)
    )
    if asked > 1:
        assert engine.now < seconds * 1.1


def test_what_was_left_out_is_told() -> None:
    short = tuple(replace(each, max_tokens=each.max_tokens // 2) for each in BASIC)
    assert cut_down(BASIC, BASIC) == ()
    assert "answers were cut to 50% of their length" in str(cut_down(BASIC, short))
    assert "only 2 of 7 prompts were asked" in str(cut_down(BASIC, short[:2]))
    assert "contexts of 2k, 8k, 32k tokens were left out" in str(cut_down(STANDARD, BASIC))


@pytest.mark.parametrize(
    ("longest", "seconds", "asked"),
    [(1_000, 1e6, []), (3_000, 1e6, ["2k"]), (50_000, 1e6, ["2k", "8k", "32k"]), (50_000, 60, [])],
)
def test_long_contexts_are_asked_as_the_model_and_the_time_allow(
    longest: int, seconds: float, asked: list[str]
) -> None:
    class Long(SimulatedEngine):
        def fits(self, prompt: Prompt) -> bool:
            return prompt.context + prompt.max_tokens <= longest

        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            return super().seconds(prompt, draft_tokens) + prompt.context / 200

    prompts, answers = answer_alone(Long(QUIET, STANDARD), STANDARD, seconds=seconds)
    assert [each.kind for each in prompts if each.context] == asked
    assert len(prompts) == len(answers) == len(STANDARD) - 3 + len(asked)


class Reading(SimulatedEngine):
    """It has room for every prompt, reads 250 tokens a second, and more slowly with a draft."""

    def fits(self, prompt: Prompt) -> bool:
        return prompt.context + prompt.max_tokens <= 50_000

    def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
        reading = prompt.context / 250 * (1.1 if draft_tokens else 1.0)
        return super().seconds(prompt, draft_tokens) + reading


NOTHING = {each.kind: 0.0 for each in STANDARD}


@pytest.mark.parametrize(
    ("mix", "seconds", "asked"),
    [
        ({}, 45.0, []),
        (NOTHING, 45.0, []),
        (NOTHING | {"2k": 10.0}, 45.0, ["2k"]),
        (NOTHING | {"8k": 10.0}, 45.0, ["8k"]),
        (NOTHING | {"32k": 10.0}, 45.0, []),
        (NOTHING | {"code": 10.0}, 45.0, []),
    ],
)
def test_the_context_that_carries_the_users_mix_gets_the_time(
    mix: dict[str, float], seconds: float, asked: list[str]
) -> None:
    engine = Reading(replace(QUIET, step=1 / 60), STANDARD)
    prompts, answers = answer_alone(engine, STANDARD, seconds=seconds, weights=mix)
    assert [each.kind for each in prompts if each.context] == asked
    assert len(prompts) == len(answers) == len(STANDARD) - 3 + len(asked)
    assert engine.now <= 2 * seconds
    cut = "answers were cut" in str(cut_down(STANDARD, prompts, mix))
    assert not (asked and cut), "prompts without weight are shorter on purpose"


def test_a_slow_main_answers_the_kinds_with_the_most_weight() -> None:
    engine = SimulatedEngine(replace(QUIET, step=0.5), STANDARD)
    mix = {"tools": 10.0}
    prompts, _ = answer_alone(engine, STANDARD, seconds=60.0, weights=mix)
    assert len(prompts) < len(BASIC)
    assert "tools" in {each.kind for each in prompts}


@pytest.mark.parametrize(
    ("mix", "asked", "share"),
    [
        ({}, BASIC[:1], 1.0),
        (NOTHING, BASIC, 1.0),
        (NOTHING | {"2k": 10.0}, BASIC, 0.0),
        (NOTHING | {"2k": 10.0}, STANDARD, 1.0),
        (NOTHING | {"8k": 6.0, "code": 4.0}, BASIC[:1], 0.4),
        (NOTHING | {"tools": 6.0, "code": 4.0}, BASIC, 0.4),
        (dict.fromkeys(NOTHING, 1.0) | dict.fromkeys(("2k", "8k", "32k"), 0.0), BASIC, 0.8),
    ],
)
def test_the_measured_share_of_the_users_mix(
    mix: dict[str, float], asked: tuple[Prompt, ...], share: float
) -> None:
    assert of_mix(STANDARD, asked, mix) == pytest.approx(share)


def test_short_prompts_confirm_nothing_for_a_user_of_long_contexts() -> None:
    engine = Reading(replace(QUIET, step=1 / 60), STANDARD)
    request = BenchRequest("main", BASIC, "basic", NOTHING | {"8k": 10.0}, 540.0, "now")
    (found,) = benchmark(request, [Candidate("draft", 1, lambda: engine)])
    assert found.used.interval is not None
    assert found.of_mix == 0.0
    assert not choice.decisive(found)
    chosen = choice.decide([found], Benchmark())
    assert chosen is not None
    assert not chosen.confirmed
    assert "0% of your mix, without contexts of 2k, 8k, 32k tokens" in chosen.reason
    assert "standard suite and more time" in chosen.reason
    assert choice.decisive(replace(found, other_text=1))


def test_only_answers_of_the_same_pass_are_compared() -> None:
    @dataclass
    class Throttled(SimulatedEngine):
        """Slower once it has answered every prompt: the first answers say nothing of the rest."""

        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            warm = len(self.asked) > len(self.prompts)
            return super().seconds(prompt, draft_tokens) * (1.3 if warm else 1.0)

    engine = Throttled(QUIET, BASIC)
    runs = run(engine)
    assert runs.speedup(0, 5) == pytest.approx(engine.truth(5) / engine.truth(0), rel=0.02)
    assert all(len(each) == runs.passes for of in runs.answers.values() for each in of)
    alone = sum(length == 0 for _, length in engine.asked)
    assert alone == (1 + runs.passes) * len(BASIC) + WARM // 2


def test_every_pass_has_its_own_random_order_in_which_the_answers_of_a_prompt_stay_together() -> (
    None
):
    engine = SimulatedEngine(QUIET, BASIC)
    run(engine)
    passes = [engine.asked[at + WARM : at + WARM + 14] for at in (7, 21)]
    for each in passes:
        assert [one[0] for one in each[::2]] == [other[0] for other in each[1::2]]
        assert {length for _, length in each[::2]} == {0, 5}
    assert [kind for kind, _ in passes[0]] != [kind for kind, _ in passes[1]]


def test_without_time_for_a_second_pass_there_is_no_interval() -> None:
    engine = SimulatedEngine(QUIET, BASIC)
    pass_s = sum(engine.seconds(p, each) for p in BASIC for each in (0, 5))
    runs = run(engine, seconds=1.5 * pass_s)
    assert (runs.passes, runs.ended) == (1, "time")
    assert runs.interval(0, 5) is None


def test_a_pass_that_outlasts_the_time_is_broken_off_and_left_out() -> None:
    class Stuck(SimulatedEngine):
        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            busy = len(self.asked) > len(BASIC) * 5  # answers alone, warm-up, two passes
            return super().seconds(prompt, draft_tokens) * (10 if busy else 1)

    engine = Stuck(QUIET, BASIC)
    pass_s = sum(engine.seconds(p, each) for p in BASIC for each in (0, 5))
    runs = run(engine, seconds=4.5 * pass_s)
    assert (runs.passes, runs.ended) == (2, "time")
    longest = max(engine.seconds(each, 0) for each in BASIC)
    assert engine.now < 6 * pass_s + 2 * longest


def test_one_disturbed_answer_is_named_and_counts() -> None:
    @dataclass
    class Disturbed(SimulatedEngine):
        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            return super().seconds(prompt, draft_tokens) * (
                3.0 if len(self.asked) == 9 + WARM else 1.0
            )

    assert [each.times for each in run(Disturbed(QUIET, BASIC)).outliers()]


def test_the_progress_rises_steadily_to_the_end() -> None:
    engine = SimulatedEngine(QUIET, BASIC)
    pass_s = sum(engine.seconds(p, each) for p in BASIC for each in (0, 5))
    said: list[float] = []
    _, alone = answer_alone(engine, BASIC, seconds=1e6)
    confirm(
        engine,
        BASIC,
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
    runs = run(SimulatedEngine(QUIET, BASIC, differs=True))
    assert {at for at, _ in runs.unequal()} == set(range(len(BASIC)))
    assert runs.other_text() == len(runs.unequal())
    same = run(SimulatedEngine(QUIET, BASIC))
    assert (same.unequal(), same.other_text()) == ((), 0)


def parting(parted: int, of: int, after: int) -> Runs:
    """Greedy answers of 100 tokens to ``of`` prompts; ``parted`` with a draft part ``after``."""
    own = tuple(range(100))
    other = (*own[:after], -1, *own[after + 1 :])
    alone = tuple((Timed(own, 100, 1.0),) for _ in range(of))
    drafted = tuple((Timed(other if at < parted else own, 100, 1.0),) for at in range(of))
    return Runs(BASIC[:of], {0: alone, 4: drafted}, "time", {})


@pytest.mark.parametrize(
    ("parted", "of", "after", "other"),
    [(1, 1, 0, 0), (1, 7, 3, 0), (7, 7, 60, 0), (2, 2, 0, 2), (5, 7, 10, 0), (7, 7, 5, 7)],
)
def test_answers_that_part_as_seldom_as_rounding_does_are_no_other_text(
    parted: int, of: int, after: int, other: int
) -> None:
    runs = parting(parted, of, after)
    assert len(runs.unequal()) == parted
    assert runs.other_text() == other


def test_the_energy_of_a_token_is_compared_where_the_machine_counts_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = SimulatedEngine(QUIET, BASIC)
    # A processor that takes 30 watts whatever it does.
    monkeypatch.setattr(confirming.energy, "rapl", lambda: 30 * engine.now)
    runs = run(engine)
    assert runs.energy(5) == pytest.approx(engine.truth(0) / engine.truth(5), rel=0.1)
    monkeypatch.setattr(confirming.energy, "rapl", lambda: None)
    assert run(engine).energy(5) is None
