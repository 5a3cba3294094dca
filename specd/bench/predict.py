"""Predict tokens per second of every draft length from counts and costs; find the best (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from specd.bench.costs import Costs
from specd.bench.replay import Replay, replay
from specd.bench.result import LengthResult

LONGEST = 16
"""The longest draft length considered; LM Studio's own list ends at 10."""

TIE = 0.01
"""Predictions this close are a tie; the shorter draft length wins."""


@dataclass(frozen=True, slots=True)
class StudiedAnswer:
    """One generated answer. ``chances`` as in ``replay``: which tokens the draft predicts.

    ``max_tokens`` is the limit it was generated with. ``left_behind``: the chances after refused
    tokens have stayed in the draft's cache; () where they are taken back.
    """

    kind: str
    prompt_tokens: int
    chances: tuple[float, ...]
    max_tokens: int
    left_behind: tuple[float, ...] = ()

    def counts(self, draft_tokens: int) -> Replay:
        """The counts with this draft length."""
        # A draft of one token leaves no refused token behind, and one of two at most one.
        left = self.left_behind if draft_tokens > 2 else ()
        return replay(left or self.chances, draft_tokens, self.max_tokens)


def seconds(answer: StudiedAnswer, counts: Replay, draft_tokens: int, costs: Costs) -> float:
    """Predicted seconds of ``answer`` with this draft length; 0 is without a draft."""
    # A step's cost is nearly linear in the context, so its cost in the middle is the average.
    context = answer.prompt_tokens + counts.tokens / 2
    steps, reading = costs.at(context), costs.at(answer.prompt_tokens)
    if draft_tokens == 0:
        return reading.main_prefill + counts.tokens * steps.plain
    return (
        reading.main_prefill
        + reading.draft_prefill
        + counts.drafted * steps.draft
        + counts.caught_up * steps.catch_up
        + counts.rounds * steps.verify_cost(draft_tokens + 1)
    )


def lengths(
    answers: Sequence[StudiedAnswer], costs: Costs, weights: Mapping[str, float]
) -> tuple[LengthResult, ...]:
    """Every draft length from 0 to ``LONGEST``.

    ``weights`` are the classes' shares of the tokens that the user generates; a class that is
    missing has the weight 1. The counts are not weighted.
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
            [(a.kind, len(a.chances), s) for a, s in zip(answers, taken, strict=True)], weights
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

    Weights are shares of tokens, so this averages seconds per token.
    """
    shares = token_shares([(kind, tokens) for kind, tokens, _ in taken], weights)
    return 1 / sum(share * seconds for share, (_, _, seconds) in zip(shares, taken, strict=True))


def token_shares(
    answers: Sequence[tuple[str, int]], weights: Mapping[str, float]
) -> tuple[float, ...]:
    """For each (class, tokens) answer, the weight of its seconds in the mix's seconds per token.

    If all classes present have the weight 0, they get equal weights.
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
    """The predictions scaled so that the speed without a draft is the measured ``baseline``.

    Costs and answers are measured at different moments, so only the ratios of predictions count.
    """
    factor = baseline / found[0].predicted_tps
    return tuple(replace(each, predicted_tps=each.predicted_tps * factor) for each in found)


def best(found: Sequence[LengthResult]) -> LengthResult:
    """The fastest length; among lengths within ``TIE`` of it, the shortest (possibly 0)."""
    fastest = max(each.predicted_tps for each in found)
    return next(each for each in found if each.predicted_tps >= fastest * (1 - TIE))


def by_class(answers: Sequence[StudiedAnswer], costs: Costs) -> dict[str, tuple[LengthResult, ...]]:
    """As ``lengths``, for each class separately."""
    kinds = dict.fromkeys(answer.kind for answer in answers)
    return {
        kind: lengths([each for each in answers if each.kind == kind], costs, {}) for kind in kinds
    }
