"""The chosen length is as good as the best of exhaustive measuring, for a fraction of the time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from statistics import median
from typing import Any

import pytest

from specd.bench import costs
from specd.bench.best import decide
from specd.bench.confirm import Runs
from specd.bench.engine import Timed
from specd.bench.measure import Candidate, benchmark
from specd.bench.outcome import outcome, sentence
from specd.bench.predict import LONGEST
from specd.bench.prompts import BASIC, STANDARD, Prompt
from specd.bench.result import BenchRequest, BenchResult, LengthResult
from tests.bench.simulated import Setting, SimulatedEngine
from tests.conftest import Figures

ENOUGH = 1e6  # seconds: no time limit


def flat(k: int) -> float:
    """Reading the weights is all that costs."""
    return 1.02 + 0.01 * (k - 1)


def rising(k: int) -> float:
    """Every further token adds something."""
    return 1.05 + 0.12 * (k - 1)


def stepped(k: int) -> float:
    """Tokens are worked off eight at a time."""
    return 1.1 + 0.6 * ((k - 1) // 8)


def linear(k: int) -> float:
    """Many tokens are no cheaper than one by one: a processor without idle units."""
    return 0.95 * k


def asked(prompts: tuple[Prompt, ...] = BASIC, **changed: Any) -> BenchRequest:
    return replace(BenchRequest("main", prompts, "standard", {}, ENOUGH, "now"), **changed)


def measure(engine: SimulatedEngine, **changed: Any) -> BenchResult:
    (result,) = benchmark(
        asked(tuple(engine.prompts), **changed), [Candidate("draft", 1, lambda: engine)]
    )
    return result


@dataclass(frozen=True)
class Tuned:
    """How good the choice was, and what it and exhaustive measuring cost, in model-seconds."""

    quality: float
    spent: float
    exhaustive: float
    covered: bool | None
    chosen: int


def tune(setting: Setting, seed: int) -> Tuned:
    engine = SimulatedEngine(setting, BASIC, seed)
    result = measure(engine)
    speeds = [engine.truth(length) for length in range(LONGEST + 1)]
    spent = engine.now
    assert result.confirmation is not None
    # Every length as often as the chosen one was run: the same certainty about each.
    for _ in range(result.confirmation.passes):
        for length in range(LONGEST + 1):
            for prompt in BASIC:
                engine.answer(prompt, length)
    bounds, tried = result.best.interval, result.best.tried
    assert bounds is not None
    assert tried is not None
    truth = speeds[tried] / speeds[0]
    return Tuned(
        speeds[result.best.draft_tokens] / max(speeds),
        spent,
        engine.now - spent,
        bounds[0] <= truth <= bounds[1],
        result.best.draft_tokens,
    )


CURVES = (flat, rising, stepped, linear)
SHORT = tuple(product(CURVES, (0.03, 0.1, 0.3), (0.98, 0.9, 0.75, 0.5, 0.2), (0.0, 0.4), (0, 1)))
FULL = tuple(
    product(
        CURVES,
        (0.02, 0.05, 0.1, 0.2, 0.4, 0.8),
        (0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.4, 0.2, 0.0),
        (0.0, 0.4, 0.7),
        range(6),
    )
)


def hold(settings: tuple[Any, ...], figures: Figures) -> None:
    found = [
        tune(Setting(curve, cost, acceptance, sticky=sticky), seed)
        for curve, cost, acceptance, sticky, seed in settings
    ]
    saved = sum(each.exhaustive for each in found) / sum(each.spent for each in found)
    coverage = sum(bool(each.covered) for each in found) / len(found)
    figures(
        settings=len(found),
        worst_quality=min(each.quality for each in found),
        saved=saved,
        median_saved=median(each.exhaustive / each.spent for each in found),
        least_saved=min(each.exhaustive / each.spent for each in found),
        coverage=coverage,
        lengths_chosen=len({each.chosen for each in found}),
        no_speculation=sum(each.chosen == 0 for each in found),
    )
    assert len(found) >= 200
    assert min(each.quality for each in found) >= 0.97
    assert saved >= 5
    assert coverage >= 0.95 - 3 * (0.95 * 0.05 / len(found)) ** 0.5
    assert len({each.chosen for each in found}) > 5


def test_the_choice_is_within_3_percent_of_the_best_for_a_fifth_of_the_time(
    figures: Figures,
) -> None:
    hold(SHORT, figures)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_it_is_so_over_thousands_of_settings(figures: Figures) -> None:
    hold(FULL, figures)


def test_two_disturbed_answers_do_not_take_a_small_gain_for_none() -> None:
    alone = ((Timed((), 10, 1.0),) * 8,) * len(BASIC)
    gain = Timed((), 10, 0.97)
    disturbed = (gain,) * 6 + (replace(gain, seconds=3.0),) * 2
    drafted = (disturbed, *((gain,) * 8 for _ in BASIC[1:]))
    runs = Runs(BASIC, {0: alone, 1: drafted}, "enough", {})
    promised = [LengthResult(each, 0.5, 5, 5, tps, tps / 10) for each, tps in ((0, 10), (1, 9.9))]
    found = decide(promised, runs)
    assert found.measured_speedup is not None
    assert found.measured_speedup < 1
    assert found.draft_tokens == 1


FAST = Setting(flat, 0.03, 0.95)
SLOW = Setting(linear, 0.3, 0.5)
TWO = BASIC[:2]


def test_the_result_tells_every_length_the_best_and_how_it_was_confirmed() -> None:
    engine = SimulatedEngine(FAST, BASIC)
    result = measure(engine)
    assert [each.draft_tokens for each in result.lengths] == list(range(LONGEST + 1))
    assert result.lengths[0].predicted_speedup == 1.0
    assert result.baseline_tps == pytest.approx(engine.truth(0), rel=0.1)
    assert result.best.measured_speedup == pytest.approx(result.best.predicted_speedup, rel=0.1)
    assert result.best.interval is not None
    assert result.best.interval[0] > 1
    assert result.text_equal
    assert result.confirmation is not None
    assert result.confirmation.ended == "decided"
    assert set(result.by_class) == {each.kind for each in BASIC}
    assert result.model_seconds == pytest.approx(engine.now)


def test_where_nothing_is_faster_no_speculation_is_chosen_and_the_loss_is_measured() -> None:
    result = measure(SimulatedEngine(SLOW, BASIC))
    assert result.best.draft_tokens == 0
    assert result.best.tried == 1
    assert result.best.interval is not None
    assert result.best.interval[1] < 1


CLOSE = replace(FAST, acceptance=0.85, spread=0.45, disturbed=0.0)
"""A pair with which the usual length is nearly as fast as the best."""


def test_the_choice_is_run_against_no_draft_and_against_the_usual_length_where_that_can_win() -> (
    None
):
    engine = SimulatedEngine(CLOSE, TWO)
    result = measure(engine)
    confirmation = result.confirmation
    assert confirmation is not None
    assert {length for _, length in engine.asked} == {0, 2, result.best.tried}
    truth = engine.truth(result.best.tried or 0) / engine.truth(2)
    assert confirmation.over_default == pytest.approx(truth, rel=0.05)
    assert confirmation.over_default_interval is not None
    assert confirmation.over_default_interval[0] <= truth <= confirmation.over_default_interval[1]


def test_a_usual_length_that_cannot_win_is_not_run() -> None:
    engine = SimulatedEngine(FAST, TWO)
    result = measure(engine)
    assert {length for _, length in engine.asked} == {0, result.best.draft_tokens}
    assert result.confirmation is not None
    assert result.confirmation.over_default is None


def test_a_prediction_that_real_runs_contradict_is_not_chosen() -> None:
    class Hampered(SimulatedEngine):
        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            return super().seconds(prompt, draft_tokens) * (1 if draft_tokens == 0 else 5)

    result = measure(Hampered(FAST, TWO))
    assert result.best.predicted_speedup > 1.2
    assert result.best.draft_tokens == 0
    assert result.best.measured_speedup is not None
    assert result.best.measured_speedup < 1


def test_the_usual_length_is_taken_when_it_is_measured_faster_than_the_predicted_best() -> None:
    class Hampered(SimulatedEngine):
        def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
            return super().seconds(prompt, draft_tokens) * (1.4 if draft_tokens > 2 else 1)

    result = measure(Hampered(CLOSE, TWO))
    assert result.best.tried == result.best.draft_tokens == 2
    assert result.best.measured_speedup is not None
    assert result.best.measured_speedup > 1


def test_texts_that_differ_are_told() -> None:
    result = measure(SimulatedEngine(FAST, TWO, differs=True))
    assert not result.text_equal
    assert (result.near_ties, result.other_text) == (0, 2)
    assert "2 elsewhere" in result.notes[0]
    rounded = measure(SimulatedEngine(FAST, TWO, differs=True, rounds=True))
    assert (rounded.near_ties, rounded.other_text) == (2, 0)


def test_the_choice_is_measured_at_a_temperature_too() -> None:
    engine = SimulatedEngine(replace(FAST, disturbed=0.0), TWO)
    at = measure(engine, temperature=0.8).at_temperature
    assert at is not None
    assert at.measured_speedup == pytest.approx(at.predicted_speedup, rel=0.1)
    assert at.interval is not None
    assert at.interval[0] <= engine.truth(at.draft_tokens) / engine.truth(0) <= at.interval[1]
    assert set(at.by_class) == {each.kind for each in TWO}
    assert measure(SimulatedEngine(FAST, TWO)).at_temperature is None


def test_a_length_is_chosen_as_it_is_used_at_the_temperature() -> None:
    quiet = replace(FAST, disturbed=0.0, noise=0.01)
    greedy = measure(SimulatedEngine(quiet, TWO, hot=0.6))
    hot = measure(SimulatedEngine(quiet, TWO, hot=0.6), temperature=0.8)
    at = hot.at_temperature
    assert at is not None
    assert at.draft_tokens == hot.best.tried
    assert at.draft_tokens < (greedy.best.tried or 0)
    assert hot.best.draft_tokens == hot.best.tried


def test_a_draft_that_is_slower_at_the_temperature_is_not_chosen() -> None:
    setting = replace(FAST, draft=0.4, acceptance=1.0, spread=0.0, disturbed=0.0, noise=0.01)
    result = measure(SimulatedEngine(setting, TWO, hot=0.1), temperature=0.8)
    at = result.at_temperature
    assert at is not None
    assert at.interval is not None
    assert at.interval[1] < 1 < (result.best.measured_speedup or 0)
    assert result.best.draft_tokens == 0
    assert outcome(result).kind == "none"
    assert outcome(result).words.endswith("draft token at temperature 0.8")
    assert "at temperature 0.8: it is faster without" in sentence(result)


@pytest.mark.parametrize("tokens_per_second", [50, 18, 5])
def test_a_slow_main_is_confirmed_at_the_temperature_in_ten_minutes(
    tokens_per_second: float,
) -> None:
    setting = replace(FAST, step=1 / tokens_per_second, disturbed=0.0)
    engine = SimulatedEngine(setting, STANDARD)
    result = measure(engine, temperature=0.8, seconds=540.0)
    assert engine.now <= 600
    assert result.used.interval is not None
    assert outcome(result).kind == "faster"


def test_costs_that_were_measured_earlier_stand_while_they_predict_the_main() -> None:
    quiet = replace(FAST, disturbed=0.0, noise=0.001)
    first = measure(SimulatedEngine(quiet, TWO))
    known = costs.from_json(first.costs)
    assert known is not None
    assert costs.to_json(known) == first.costs

    def again(step: float) -> tuple[BenchResult, float]:
        engine = SimulatedEngine(replace(quiet, step=step), TWO)
        (result,) = benchmark(asked(TWO), [Candidate("draft", 1, lambda: engine, known)])
        return result, engine.now / step

    same, cheap = again(quiet.step)
    other, dear = again(quiet.step * 1.5)
    assert same.costs == first.costs
    assert other.costs != first.costs
    assert cheap < dear
    assert same.best.tried == first.best.tried


def test_a_class_without_weight_has_no_say() -> None:
    setting = replace(FAST, spread=0.8)
    both = measure(SimulatedEngine(setting, TWO))
    easy = measure(SimulatedEngine(setting, TWO), weights={"long": 0})
    hard = measure(SimulatedEngine(setting, TWO), weights={"short": 0})
    assert easy.best.draft_tokens > both.best.draft_tokens > hard.best.draft_tokens
    assert easy.by_class["short"]["best_draft_tokens"] == easy.best.draft_tokens


def test_without_time_for_real_runs_the_prediction_says_that_it_is_one() -> None:
    result = measure(SimulatedEngine(FAST, TWO), seconds=4.0)
    assert result.best.measured_speedup is None
    assert result.best.interval is None
    assert result.best.draft_tokens > 2
    assert any("not confirmed" in note for note in result.notes)


def test_a_slow_main_answers_every_class_shorter() -> None:
    engine = SimulatedEngine(replace(FAST, step=0.2), BASIC)
    result = measure(engine, seconds=600.0)
    assert len(result.by_class) == len(BASIC)
    assert any("answers were cut to" in note for note in result.notes)
    assert result.best.interval is not None
    assert engine.now < 600


def test_a_slower_main_is_asked_only_what_there_is_time_for() -> None:
    engine = SimulatedEngine(replace(FAST, step=1.0), BASIC)
    result = measure(engine, seconds=1000.0)
    assert len(result.by_class) < len(BASIC)
    assert any("prompts were asked" in note for note in result.notes)
    # So that there was time to confirm what was predicted of those.
    assert result.best.interval is not None
    assert engine.now < 1000


def drafts(*settings: Setting) -> tuple[list[SimulatedEngine], list[Candidate]]:
    engines = [SimulatedEngine(each, TWO) for each in settings]
    return engines, [
        Candidate(f"draft-{number}", number, lambda engine=engine: engine)  # type: ignore[misc]
        for number, engine in enumerate(engines)
    ]


def test_only_a_draft_that_could_be_the_best_is_run() -> None:
    good, poor = FAST, replace(FAST, acceptance=0.3)
    engines, candidates = drafts(poor, good)
    first, second = benchmark(asked(TWO), candidates)
    assert first.draft == "draft-1"
    assert first.best.measured_speedup is not None
    assert second.draft == "draft-0"
    assert second.best.measured_speedup is None
    # The main's own answers are the first draft's; nothing else of it was run.
    assert engines[0].asked == [(each.kind, 0) for each in TWO]


def test_of_drafts_that_promise_the_same_the_smaller_is_run_first() -> None:
    _, candidates = drafts(replace(FAST, noise=0.0, disturbed=0.0), FAST)
    engines = [each.open() for each in candidates]
    same = [Candidate("big", 9, lambda: engines[0]), Candidate("small", 1, lambda: engines[0])]
    first, *_ = benchmark(asked(TWO), same)
    assert first.draft == "small"


def test_progress_only_rises_and_ends() -> None:
    said: list[float] = []
    measure(SimulatedEngine(FAST, TWO), progress=lambda step: said.append(step["done"]))
    assert said == sorted(said)
    assert 0 <= said[0] <= said[-1] <= 1
