"""From counts and costs to tokens per second of every draft length, and the best of them (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from specd.bench.costs import Costs
from specd.bench.replay import Replay, replay
from specd.bench.result import LengthResult
from specd.bench.sampling import Expected, expected

LONGEST = 16
"""The longest draft looked at; the app's own list ends at 10."""

TIE = 0.01
"""Predictions this close are a tie, and the shorter draft wins it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One generated answer: which of its tokens the draft guesses, under which limit.

    ``chances`` is, for an answer at a temperature, how likely the draft draws each of its tokens.
    """

    kind: str
    prompt_tokens: int
    agrees: tuple[bool, ...]
    max_tokens: int
    chances: tuple[float, ...] = ()

    def counts(self, draft_tokens: int) -> Replay | Expected:
        """What a draft of this length does with it, or is expected to do."""
        if self.chances and draft_tokens:
            return expected(self.chances, draft_tokens, self.max_tokens)
        return replay(self.agrees, draft_tokens, self.max_tokens)


def seconds(answer: Answer, counts: Replay | Expected, draft_tokens: int, costs: Costs) -> float:
    """How long ``answer`` takes with this draft length and these counts; 0 is without a draft."""
    # What a step costs is all but linear in the context, so the middle stands for the whole.
    context = answer.prompt_tokens + counts.tokens / 2
    if draft_tokens == 0:
        prefill = costs.prefill(answer.prompt_tokens, draft=False)
        return prefill + counts.tokens * costs.plain(context)
    return (
        costs.prefill(answer.prompt_tokens, draft=True)
        + counts.drafted * costs.draft(context)
        + counts.caught_up * costs.catch_up(context)
        + counts.rounds * costs.checking(draft_tokens + 1, context)
    )


def lengths(
    answers: Sequence[Answer], costs: Costs, weights: Mapping[str, float]
) -> tuple[LengthResult, ...]:
    """Every draft length from 0 to ``LONGEST``.

    ``weights`` says what share of the tokens a user has generated is of each class; a class it does
    not name has the weight 1. Counts are over all answers alike.
    """
    found: list[LengthResult] = []
    baseline = 0.0
    for draft_tokens in range(LONGEST + 1):
        counts = [each.counts(draft_tokens) for each in answers]
        taken = [
            seconds(answer, count, draft_tokens, costs)
            for answer, count in zip(answers, counts, strict=True)
        ]
        speed = tokens_per_second(
            [(a.kind, len(a.agrees), s) for a, s in zip(answers, taken, strict=True)], weights
        )
        baseline = baseline or speed
        drafted = sum(each.drafted for each in counts)
        accepted = sum(each.accepted for each in counts)
        found.append(
            LengthResult(
                draft_tokens=draft_tokens,
                acceptance=accepted / drafted if drafted else 0.0,
                accepted=round(accepted),
                rounds=round(sum(each.rounds for each in counts)),
                predicted_tps=speed,
                predicted_speedup=speed / baseline,
            )
        )
    return tuple(found)


def tokens_per_second(
    taken: Sequence[tuple[str, int, float]], weights: Mapping[str, float]
) -> float:
    """The speed of a weighted mix of classes, from (class, tokens, seconds) of each answer.

    Weights are shares of tokens, so seconds per token are what is averaged.
    """
    shares = token_shares([(kind, tokens) for kind, tokens, _ in taken], weights)
    return 1 / sum(share * seconds for share, (_, _, seconds) in zip(shares, taken, strict=True))


def token_shares(
    answers: Sequence[tuple[str, int]], weights: Mapping[str, float]
) -> tuple[float, ...]:
    """How much a second of each (class, tokens) answer counts in seconds per token of the mix.

    When all classes present have the weight 0, they count alike.
    """
    of_class: dict[str, int] = {}
    for kind, tokens in answers:
        of_class[kind] = of_class.get(kind, 0) + tokens
    weight = {kind: weights.get(kind, 1.0) for kind in of_class}
    if not any(weight.values()):
        weight = dict.fromkeys(of_class, 1.0)
    total = sum(weight.values())
    return tuple(weight[kind] / total / of_class[kind] for kind, _ in answers)


def over(found: Sequence[LengthResult], baseline: float) -> tuple[LengthResult, ...]:
    """The predictions in terms of the main's measured speed, which takes the predicted one's place.

    The costs are measured at another moment than the answers, so what they promise is a ratio.
    """
    factor = baseline / found[0].predicted_tps
    return tuple(replace(each, predicted_tps=each.predicted_tps * factor) for each in found)


def best(found: Sequence[LengthResult]) -> LengthResult:
    """The fastest length; of those within a hundredth of it, the shortest, which may be 0."""
    fastest = max(each.predicted_tps for each in found)
    return next(each for each in found if each.predicted_tps >= fastest * (1 - TIE))


def by_class(answers: Sequence[Answer], costs: Costs) -> dict[str, tuple[LengthResult, ...]]:
    """Every draft length for each class by itself."""
    kinds = dict.fromkeys(answer.kind for answer in answers)
    return {
        kind: lengths([each for each in answers if each.kind == kind], costs, {}) for kind in kinds
    }
