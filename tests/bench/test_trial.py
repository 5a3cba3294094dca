"""A trial's interval holds a known effect on simulated chats, and it decides within its loads."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from specd.bench import trial
from specd.bench.trial import ChatAnswer, Estimate, Trial
from tests.conftest import Figures

HOUR = 3600.0


def lived(
    effect: float,
    seed: int,
    *,
    loads: int = 112,
    chats: float = 0.15,
    answers: float = 0.1,
    turns: float = 0.0,
) -> tuple[Trial, Estimate, int]:
    """A user's loads one after another until the trial ends: (trial, estimate, loads it took).

    ``chats`` is how much loads differ, ``answers`` how much answers within one do, and ``turns``
    how much slower every second load is.
    """
    chance = random.Random(seed)  # noqa: S311 - for a test
    now = 0.0
    of = trial.begin("main", "draft", now=now, days=1e6, seed=seed)
    given: list[ChatAnswer] = []
    found = Estimate((0, 0), (0, 0))
    for number in range(loads):
        now += HOUR
        of = trial.step(of, loaded=True, now=now)
        drafted = bool(of.with_draft)
        chat = chance.gauss(0, chats) + turns * (number % 2)
        for _ in range(chance.randint(1, 12)):
            now += 60
            tokens = chance.randint(20, 900)
            pace = 0.05 / (effect if drafted else 1.0)
            seconds = tokens * pace * math.exp(chat + chance.gauss(0, answers))
            given.append(ChatAnswer(now, tokens, chance.randint(10, 9000), seconds, drafted))
        now += HOUR
        of = trial.step(of, loaded=False, now=now)
        found = trial.estimate(of, given)
        of = trial.judged(of, found, now)
        if of.ended is not None:
            return of, found, number + 1
    return of, found, loads


def coverage(
    effect: float, trials: int, *, chats: float = 0.15, turns: float = 0.0
) -> tuple[float, float, float]:
    """Shares of trials whose interval holds the effect, and that call it faster; mean loads."""
    covered = faster = taken = 0
    for seed in range(trials):
        _, found, loads = lived(effect, seed, chats=chats, turns=turns)
        assert found.interval is not None
        low, high = found.interval
        covered += low <= effect <= high
        faster += found.decided and low > 1
        taken += loads
    return covered / trials, faster / trials, taken / trials


@pytest.mark.parametrize("effect", [0.8, 1.0, 1.15, 1.4])
def test_known_effects_are_held_by_the_interval(effect: float, figures: Figures) -> None:
    covered, faster, loads = coverage(effect, 60)
    figures(effect=effect, covered=covered, called_faster=faster, loads=loads)
    assert covered >= 0.95 - 3 * (0.95 * 0.05 / 60) ** 0.5
    assert effect > 1 or faster <= 0.025 + 3 * (0.025 / 60) ** 0.5
    assert effect < 1.4 or loads < 30


def test_loads_that_differ_by_turns_are_not_taken_for_an_effect(figures: Figures) -> None:
    covered, faster, loads = coverage(1.0, 60, chats=0.05, turns=0.3)
    figures(covered=covered, called_faster=faster, loads=loads)
    assert covered >= 0.95 - 3 * (0.95 * 0.05 / 60) ** 0.5


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("effect", [0.8, 0.95, 1.0, 1.1, 1.2, 1.4, 2.0])
def test_known_effects_are_held_by_the_interval_in_many_trials(
    effect: float, figures: Figures
) -> None:
    covered, faster, loads = coverage(effect, 1500)
    figures(effect=effect, covered=covered, called_faster=faster, loads=loads)
    assert covered >= 0.94
    assert effect > 1 or faster <= 0.025 + 2 * (0.025 / 1500) ** 0.5


def test_every_two_loads_have_the_draft_once_in_an_order_nobody_can_tell() -> None:
    of = trial.begin("main", "draft", now=0.0, days=7, seed=3)
    for hour in range(1, 40):
        of = trial.step(of, loaded=hour % 2 == 1, now=hour * HOUR)
    arms = [each.with_draft for each in of.arms]
    assert all(arms[at] != arms[at + 1] for at in range(0, len(arms) - 1, 2))
    assert {*arms[0::2]} == {True, False}


def test_nothing_changes_while_the_main_is_loaded_or_nobody_can_see_it() -> None:
    of = trial.begin("main", "draft", now=0.0, days=7, seed=3)
    assert trial.step(of, loaded=False, now=1.0) == of
    assert trial.step(of, loaded=None, now=1.0) == of
    loaded = trial.step(of, loaded=True, now=2.0)
    assert loaded.arms[-1].loaded
    assert trial.step(loaded, loaded=True, now=3.0) == loaded
    assert trial.step(loaded, loaded=None, now=3.0) == loaded
    assert len(trial.step(loaded, loaded=False, now=4.0).arms) == 2


def test_a_load_from_before_the_trial_is_no_arm() -> None:
    of = trial.begin("main", "draft", now=0.0, days=7, seed=3)
    of = replace(of, before=True)
    assert trial.step(of, loaded=True, now=1.0) == of
    assert trial.step(of, loaded=None, now=1.0) == of
    early = [ChatAnswer(2.0, 100, 50, 5.0, drafted=False)]
    assert trial.estimate(of, early).answers == (0, 0)
    begun = trial.step(of, loaded=False, now=3.0)
    assert (len(begun.arms), begun.before, begun.with_draft) == (1, False, of.with_draft)
    assert trial.estimate(begun, early).answers == (0, 0)
    counted = ChatAnswer(4.0, 100, 50, 5.0, drafted=of.with_draft is True)
    loaded = trial.step(begun, loaded=True, now=3.5)
    assert loaded.arms[0].loaded
    assert sum(trial.estimate(loaded, [*early, counted]).answers) == 1
    assert trial.step(of, loaded=True, now=7 * trial.DAY_S).ending == "time"


def test_it_ends_by_itself_and_then_wants_nothing() -> None:
    of = trial.begin("main", "draft", now=0.0, days=7, seed=3)
    assert of.with_draft is not None
    over = trial.step(of, loaded=True, now=7 * trial.DAY_S)
    assert (over.ending, over.with_draft) == ("time", None)
    assert trial.step(over, loaded=False, now=8 * trial.DAY_S) == over
    assert trial.stop(of, 5.0).ending == "stopped"
    assert trial.stop(over, 5.0) == over


def test_answers_that_contradict_their_arm_do_not_count() -> None:
    of = trial.begin("main", "draft", now=0.0, days=7, seed=3)
    without = replace(of, arms=(trial.Arm(0.0, with_draft=False),))
    answers = [
        ChatAnswer(1.0, 100, 50, 5.0, drafted=False),
        ChatAnswer(2.0, 100, 50, 1.0, drafted=True),
        ChatAnswer(-1.0, 100, 50, 5.0, drafted=False),
    ]
    assert trial.estimate(without, answers) == Estimate((1, 0), (1, 0))


def test_it_says_how_many_loads_it_takes() -> None:
    _, found, loads = lived(1.4, 5, loads=8)
    assert found.needed is not None
    assert found.needed >= loads
    assert {name for name, _ in found.parts} == {
        "short contexts", "long contexts", "short answers", "long answers",
    }  # fmt: skip
