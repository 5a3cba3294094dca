"""A randomised trial: whether a draft makes the user's own work faster (pure).

In each block of two loads of the main, one at random has the draft. The figures that LM Studio
stores with the user's answers give the speed-up. The unit is the load: answers of one load share
its state, chat and day, so a load counts once, with the mean over its answers. The trial is
evaluated after fixed numbers of loads, each time with an equal part of the error, so that ending
early keeps the level.
"""

from __future__ import annotations

import math
import random
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from specd.bench.statistics import LEVEL, students_t

LOOKS: Final = (6, 8, 10, 14, 20, 28, 40, 56, 80, 112)
"""Loads with answers after which the trial is evaluated; after the last one it ends."""

LEVEL_OF_A_LOOK: Final = 1 - (1 - LEVEL) / len(LOOKS)

ENOUGH_BLOCKS: Final = 2
"""From so many blocks of two loads on, their differences bound the interval too."""

SHORT_CONTEXT: Final = 2_000
SHORT_ANSWER: Final = 200
"""Tokens: a context or an answer of at least this length is called long."""

DAY_S: Final = 86_400.0

Ending = Literal["decided", "time", "loads", "stopped", "restored", "gone"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm from ``since`` on (seconds since 1970); ``loaded``: the main was loaded in it."""

    since: float
    with_draft: bool
    loaded: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial of one pair, by the models' keys. Times are seconds since 1970.

    ``seed`` seeds the random arms. ``before``: the main has been loaded since before the trial, so
    with or without the draft; that load does not count. ``ended`` is when and ``ending`` why the
    trial ended.
    """

    main: str
    draft: str
    started: float
    days: float
    seed: int
    arms: tuple[Arm, ...] = ()
    before: bool = False
    ended: float | None = None
    ending: Ending | None = None

    @property
    def until(self) -> float:
        """The latest end, in seconds since 1970."""
        return self.started + self.days * DAY_S

    @property
    def with_draft(self) -> bool | None:
        """Whether the main should have the draft now; None once the trial has ended."""
        return None if self.ended is not None or not self.arms else self.arms[-1].with_draft


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """One answer of the main: its time, tokens, prompt tokens, and seconds of generating."""

    at: float
    tokens: int
    prompt_tokens: int | None
    seconds: float
    drafted: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate so far. ``loads`` and ``answers`` are (without, with) the draft.

    ``interval`` contains the true speed-up at 95 %, at every evaluation together; None with fewer
    than two loads of either kind. ``parts`` are speed-ups by length of context and of answer.
    ``needed`` is about how many loads the decision takes in all, None if unknown.
    """

    loads: tuple[int, int]
    answers: tuple[int, int]
    speedup: float | None = None
    interval: tuple[float, float] | None = None
    decided: bool = False
    parts: tuple[tuple[str, float], ...] = ()
    needed: int | None = None


def begin(main: str, draft: str, *, now: float, days: float, seed: int) -> Trial:
    """A trial with its first arm drawn, of a main that is not loaded."""
    return _drawn(Trial(main, draft, now, days, seed), now)


def step(trial: Trial, *, loaded: bool | None, now: float) -> Trial:
    """The trial after one observation; ``loaded``: the main is loaded, None if unknown.

    The next arm begins when the main is unloaded: a value that is written while the main is loaded
    takes effect only at the next load.
    """
    if trial.ended is not None:
        return trial
    if now >= trial.until:
        return stop(trial, trial.until, "time")
    *before, current = trial.arms
    if trial.before:
        first = replace(current, since=now)
        return replace(trial, arms=(first,), before=False) if loaded is False else trial
    if loaded and not current.loaded:
        seen = Arm(current.since, current.with_draft, loaded=True)
        return replace(trial, arms=(*before, seen))
    if loaded is False and current.loaded:
        return _drawn(trial, now)
    return trial


def judged(trial: Trial, found: Estimate, now: float) -> Trial:
    """The trial, ended if the estimate decides it or no further load is planned."""
    if found.decided:
        return stop(trial, now, "decided")
    return stop(trial, now, "loads") if sum(found.loads) >= LOOKS[-1] else trial


def stop(trial: Trial, now: float, why: Ending = "stopped") -> Trial:
    """The trial, ended if it had not."""
    return trial if trial.ended is not None else replace(trial, ended=now, ending=why)


def estimate(trial: Trial, answers: Iterable[ChatAnswer]) -> Estimate:
    """The speed-up over the loads of a trial.

    An answer counts for the arm in which it was generated. An answer whose figures contradict the
    arm is left out: the user chose another draft by hand.
    """
    if trial.before:
        return Estimate((0, 0), (0, 0))
    loads: list[list[ChatAnswer]] = [[] for _ in trial.arms]
    end = trial.until if trial.ended is None else trial.ended
    starts = [each.since for each in trial.arms]
    for answer in answers:
        at = bisect_right(starts, answer.at) - 1
        if at >= 0 and answer.at < end and answer.drafted <= trial.arms[at].with_draft:
            loads[at].append(answer)
    sides = tuple(
        [
            (number, of_load)
            for number, (arm, of_load) in enumerate(zip(trial.arms, loads, strict=True))
            if of_load and arm.with_draft is with_draft
        ]
        for with_draft in (False, True)
    )
    counts = (len(sides[0]), len(sides[1]))
    answer_counts = (sum(len(each) for _, each in sides[0]), sum(len(each) for _, each in sides[1]))
    found = Estimate(counts, answer_counts)
    if min(counts) < 1:
        return found
    values = tuple({number: _log_pace(each) for number, each in side} for side in sides)
    middle = _difference(values)
    found = replace(found, speedup=math.exp(middle), parts=_parts(sides))
    if min(counts) < 2:
        return found
    reach, spread = _reach(values)
    return replace(
        found,
        interval=(math.exp(middle - reach), math.exp(middle + reach)),
        # Between two planned evaluations the last one stands: only those may decide.
        decided=_decided(values),
        needed=_needed(middle, spread, sum(counts)),
    )


def _difference(values: Sequence[Mapping[int, float]]) -> float:
    """Mean of the loads without the draft less that of those with it; loads by their number."""
    return statistics.fmean(values[0].values()) - statistics.fmean(values[1].values())


def _decided(values: Sequence[Mapping[int, float]]) -> bool:
    """Whether any planned evaluation so far, with its loads, excluded 1."""
    order = sorted(number for of_side in values for number in of_side)
    for look in LOOKS:
        if look > len(order):
            return False
        seen = [{n: of_side[n] for n in order[:look] if n in of_side} for of_side in values]
        if min(map(len, seen)) >= 2 and abs(_difference(seen)) > _reach(seen)[0]:
            return True
    return False


def _reach(values: Sequence[Mapping[int, float]]) -> tuple[float, float]:
    """Half-width of the interval of two means' difference, and one load's deviation.

    The larger of two: the loads taken as independent (Welch), and as blocks of two. If a user's
    loads alternate between two kinds, the blocks differ more than independent loads.
    """
    variances = [statistics.variance(each.values()) for each in values]
    parts = [each / len(of) for each, of in zip(variances, values, strict=True)]
    total = sum(parts)
    smaller = sum(part**2 / (len(of) - 1) for part, of in zip(parts, values, strict=True))
    spread = math.sqrt(sum(variances) / 2)
    reach = _width(total, total**2 / smaller) if smaller else 0.0
    # Every two loads have the draft once (``_drawn``); one of them may have no answers.
    sides = [{number // 2: value for number, value in of_side.items()} for of_side in values]
    blocks = [sides[0][each] - sides[1][each] for each in sides[0].keys() & sides[1].keys()]
    if len(blocks) >= ENOUGH_BLOCKS:
        reach = max(reach, _width(statistics.variance(blocks) / len(blocks), len(blocks) - 1))
    return reach, spread


def _width(variance: float, freedom: float) -> float:
    return students_t((1 + LEVEL_OF_A_LOOK) / 2, freedom) * math.sqrt(variance)


def _needed(middle: float, spread: float, loads: int) -> int | None:
    """The loads at the first evaluation that would decide such a difference; None: none would."""
    for look in LOOKS:
        reach = students_t((1 + LEVEL_OF_A_LOOK) / 2, look - 2) * spread * math.sqrt(4 / look)
        if look >= loads and reach < abs(middle):
            return look
    return None


def _log_pace(answers: Sequence[ChatAnswer]) -> float:
    """Mean logarithm of seconds per token over a load's answers, each with weight 1."""
    return statistics.fmean(math.log(each.seconds / each.tokens) for each in answers)


def _parts(
    sides: Sequence[Sequence[tuple[int, list[ChatAnswer]]]],
) -> tuple[tuple[str, float], ...]:
    def speedup(kept: Sequence[Sequence[ChatAnswer]]) -> float | None:
        return math.exp(_log_pace(kept[0]) - _log_pace(kept[1])) if all(kept) else None

    answers = [[each for _, of_load in side for each in of_load] for side in sides]
    named = {
        "short contexts": lambda each: (each.prompt_tokens or 0) < SHORT_CONTEXT,
        "long contexts": lambda each: (each.prompt_tokens or 0) >= SHORT_CONTEXT,
        "short answers": lambda each: each.tokens < SHORT_ANSWER,
        "long answers": lambda each: each.tokens >= SHORT_ANSWER,
    }
    found = {
        name: speedup([list(filter(kept, side)) for side in answers])
        for name, kept in named.items()
    }
    return tuple((name, value) for name, value in found.items() if value is not None)


def _drawn(trial: Trial, now: float) -> Trial:
    """The trial with its next arm: every two loads have the draft once, in a random order."""
    number = len(trial.arms)
    first = random.Random(f"{trial.seed}:{number // 2}").random() < 0.5  # noqa: S311 - no secret
    return replace(trial, arms=(*trial.arms, Arm(now, first == (number % 2 == 0))))
