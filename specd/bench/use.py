"""Sums over answers in real use: speed and acceptance, with and without a draft (pure).

Tokens per second are the sum of tokens over the sum of LM Studio's times, so a long answer weighs
more than a short one.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from specd.lmstudio.conversations import TokenRun

WEEK_S: Final = 7 * 86400

LONGEST_ROUND: Final = 64
"""More draft tokens in a row are not one round: structural text between them is missing."""

DIFFERENT: Final = 2.0
"""If typical lengths with and without the draft differ by this factor, the prompts differ."""

FEW: Final = 10
"""With fewer answers on either side the speeds are not compared."""


@dataclass(frozen=True, slots=True)
class Week:
    """One week of a ``Use``; ``start`` is seconds since 1970, ``tps`` tokens per second."""

    start: float
    answers: int
    tps: float | None
    drafted: int
    accepted: int


@dataclass(frozen=True, slots=True)
class Use:
    """The answers of one main with one draft at one draft length.

    Models have LM Studio's names. ``draft`` is None without a draft, and ``OWN_HEADS`` if the main
    drafts for itself. ``draft_tokens`` is None if unknown. ``tps``: tokens per second over
    ``seconds`` of generating, None if unknown. ``prompt_tokens`` and ``tokens`` are medians,
    ``rounds[n]`` how many rounds accepted n draft tokens, ``first`` and ``last`` seconds since
    1970.
    """

    main: str
    draft: str | None
    draft_tokens: int | None
    answers: int
    tps: float | None
    seconds: float
    prompt_tokens: float | None
    tokens: float | None
    drafted: int
    accepted: int
    first: float | None
    last: float | None
    rounds: tuple[int, ...] = ()
    weeks: tuple[Week, ...] = ()

    @property
    def acceptance(self) -> float | None:
        """Share of the drafted tokens that were accepted; None if none was drafted."""
        return self.accepted / self.drafted if self.drafted else None


@dataclass(frozen=True, slots=True)
class DraftRequests:
    """The latest answers whose request named a draft; it drafted in ``ran`` of them.

    Names as in ``Use``. ``bare``: how many answers after them have no draft counts at all.
    ``app`` logged them.
    """

    main: str
    draft: str
    answers: int
    ran: int
    drafted: int
    accepted: int
    last: float | None
    bare: int = 0
    app: str = "LM Studio"


@dataclass(frozen=True, slots=True)
class Observed:
    """The sums over all conversations; ``at``: when they were last read."""

    at: float | None = None
    uses: tuple[Use, ...] = ()
    asked: tuple[DraftRequests, ...] = ()


@dataclass(frozen=True, slots=True)
class Probe:
    """A benchmark's last answers from a server with a draft requested.

    ``finding``: the likely cause if no draft tokens were counted, else None.
    """

    main: str
    draft: str
    at: float
    answers: int
    drafted: int
    accepted: int
    finding: str | None = None


@dataclass(frozen=True, slots=True)
class Figures:
    """The stored figures of one answer; the units are those of ``Use``."""

    at: float | None
    tokens: int | None
    prompt_tokens: int | None
    seconds: float | None
    drafted: int | None
    accepted: int | None
    rounds: str | None


def rounds_of(runs: Sequence[TokenRun]) -> tuple[int, ...]:
    """How many rounds accepted 0, 1, 2 … draft tokens; () if no draft token was accepted.

    A round is a possibly empty run of the draft's tokens, then one token of the main.
    """
    if not any(run.from_draft for run in runs):
        return ()
    counts = [0] * (LONGEST_ROUND + 1)
    accepted = 0
    for run in runs:
        if run.from_draft:
            accepted += run.tokens
            if accepted > LONGEST_ROUND:
                return ()
        else:
            counts[accepted] += 1
            counts[0] += run.tokens - 1
            accepted = 0
    if accepted:
        counts[accepted] += 1
    while counts[-1] == 0:
        counts.pop()
    return tuple(counts)


def accepted_per_round(rounds: Sequence[int], draft_tokens: int) -> float | None:
    """Mean draft tokens that a round accepts with at most ``draft_tokens`` at a time.

    Σₖ P(a round accepts at least k), k = 1 … ``draft_tokens``: exact for the length of these
    rounds, approximate for a shorter one, whose rounds begin elsewhere. None for a longer one.
    """
    total = sum(rounds)
    if not total or draft_tokens >= len(rounds):
        return None
    return sum(sum(rounds[k:]) for k in range(1, draft_tokens + 1)) / total


def use_of(main: str, draft: str | None, draft_tokens: int | None, group: Sequence[Figures]) -> Use:
    """The sums over the answers of one main with one draft at one length, oldest first."""
    times = [each.at for each in group if each.at is not None]
    return Use(
        main=main,
        draft=draft,
        draft_tokens=draft_tokens,
        answers=len(group),
        tps=_tps(group),
        seconds=sum(each.seconds or 0.0 for each in group),
        prompt_tokens=_median([each.prompt_tokens for each in group]),
        tokens=_median([each.tokens for each in group]),
        drafted=sum(each.drafted or 0 for each in group),
        accepted=sum(each.accepted or 0 for each in group),
        first=min(times, default=None),
        last=max(times, default=None),
        rounds=_added(json.loads(each.rounds) for each in group if each.rounds),
        weeks=_weeks(group),
    )


def _tps(group: Iterable[Figures]) -> float | None:
    tokens, seconds = 0, 0.0
    for each in group:
        if each.seconds and each.tokens:
            tokens += each.tokens
            seconds += each.seconds
    return tokens / seconds if seconds else None


def _median(values: Iterable[int | None]) -> float | None:
    from statistics import median  # noqa: PLC0415 - 10 ms that only the worker needs to pay

    known = [value for value in values if value is not None]
    return float(median(known)) if known else None


def _added(counts: Iterable[Sequence[int]]) -> tuple[int, ...]:
    total: list[int] = []
    for each in counts:
        total += [0] * (len(each) - len(total))
        for number, count in enumerate(each):
            total[number] += count
    return tuple(total)


def _weeks(group: Iterable[Figures]) -> tuple[Week, ...]:
    by_week: dict[int, list[Figures]] = defaultdict(list)
    for each in group:
        if each.at is not None:
            by_week[int(each.at // WEEK_S)].append(each)
    return tuple(
        Week(
            float(week * WEEK_S),
            len(answers),
            _tps(answers),
            sum(each.drafted or 0 for each in answers),
            sum(each.accepted or 0 for each in answers),
        )
        for week, answers in sorted(by_week.items())
    )


# -- with and without -------------------------------------------------------------------------


def by_pair(uses: Sequence[Use]) -> list[tuple[str, str, list[Use], list[Use]]]:
    """For every pair: (main, draft, uses with the draft, the main's uses without a draft)."""
    named = dict.fromkeys((use.main, use.draft) for use in uses)
    return [
        (
            main,
            draft,
            [use for use in uses if (use.main, use.draft) == (main, draft)],
            [use for use in uses if use.main == main and use.draft is None],
        )
        for main, draft in named
        if draft is not None
    ]


@dataclass(frozen=True, slots=True)
class InUse:
    """A pair in real use, with and without its draft. Speeds are tokens per second.

    ``draft_tokens``: the length of most answers. ``caution``: why the two speeds should not be
    compared, None if they may.
    """

    answers: int
    tps: float | None
    draft_tokens: int | None
    acceptance: float | None
    baseline_answers: int
    baseline_tps: float | None
    speedup: float | None
    caution: str | None


def in_use(with_draft: Sequence[Use], without: Sequence[Use]) -> InUse:
    """Compare the uses of one main with one draft, at any length, with those without a draft."""
    answers, tps = _together(with_draft)
    baseline_answers, baseline_tps = _together(without)
    drafted = sum(use.drafted for use in with_draft)
    longest = max(with_draft, key=lambda use: use.answers, default=None)
    return InUse(
        answers=answers,
        tps=tps,
        draft_tokens=longest.draft_tokens if longest else None,
        acceptance=sum(use.accepted for use in with_draft) / drafted if drafted else None,
        baseline_answers=baseline_answers,
        baseline_tps=baseline_tps,
        speedup=tps / baseline_tps if tps and baseline_tps else None,
        caution=_caution(with_draft, without) if answers and baseline_answers else None,
    )


def _together(uses: Sequence[Use]) -> tuple[int, float | None]:
    """(answers, tokens per second) over all uses."""
    answers = sum(use.answers for use in uses)
    seconds = sum(use.seconds for use in uses if use.tps)
    tokens = sum(use.tps * use.seconds for use in uses if use.tps)
    return answers, tokens / seconds if seconds else None


def _caution(with_draft: Sequence[Use], without: Sequence[Use]) -> str | None:
    few = min(sum(use.answers for use in uses) for uses in (with_draft, without))
    if few < FEW:
        return f"only {few} answer{'s'[: few != 1]} on one side: too few to compare"
    for what, name in (("prompt_tokens", "prompts"), ("tokens", "answers")):
        one, other = (_typical(uses, what) for uses in (with_draft, without))
        if one and other and abs(math.log(one / other)) > math.log(DIFFERENT):
            return (
                f"{name} differ in kind: typically {one:.0f} tokens with the draft and "
                f"{other:.0f} without"
            )
    return None


def _typical(uses: Sequence[Use], what: str) -> float | None:
    """The median ``what`` of the use with most answers."""
    most = max(uses, key=lambda use: use.answers)
    value: float | None = getattr(most, what)
    return value
