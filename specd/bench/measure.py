"""One benchmark of a main and its drafts: generate, replay, predict, then confirm for real.

The main answers every prompt once. Each draft reads those answers once, which tells what every
draft length would do with them; with what steps cost that predicts the speed of each. Only the best
of the drafts is run, and the next best as long as it promises more than was measured so far.

Runs in the worker only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from specd.bench import best, costs, predict
from specd.bench.confirm import ANSWERING, Runs, answer_alone, confirm, cut_down
from specd.bench.costs import Costs
from specd.bench.engine import Replayable, Study, Timed
from specd.bench.predict import Answer
from specd.bench.prompts import Prompt
from specd.bench.result import DEFAULT_LENGTH, BenchResult, Best, LengthResult

STEPS = (1, 2, 3, 5, 9, 17)
"""The token counts that the main's step is measured for at first."""

PRICING = 0.4
"""Of the time that the main's own answers took, what measuring ``STEPS`` may take, about."""

FURTHER = 0.07
"""The same for each count that is measured because it could be the best …"""

PRICING_AT_MOST = 0.6
"""… and for all of them, with which it ends even if one more could be."""

FAR_OFF = 0.15
"""A prediction of the main's own speed this far from the measured one is worth a note."""

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A draft to be tried.

    ``bytes`` is the size of its weights; ``open`` loads it beside its main, and raises what the
    engine raises for models it refuses.
    """

    name: str
    bytes: int
    open: Callable[[], Replayable]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured: a main, with which prompts, in about how many ``seconds``.

    ``weights`` are the classes' shares of what the user generates (``predict.lengths``).
    """

    main: str
    prompts: tuple[Prompt, ...]
    suite: str
    weights: Mapping[str, float]
    seconds: float
    started_at: str
    progress: Progress = lambda _: None


@dataclass(frozen=True, slots=True)
class _Foretold:
    """What a draft promises, and the seconds it took to find out."""

    draft: Candidate
    studies: tuple[Study, ...]
    costs: Costs
    lengths: tuple[LengthResult, ...]
    by_class: dict[str, tuple[LengthResult, ...]]
    seconds: float

    @property
    def promise(self) -> float:
        """The predicted speed-up of the fastest length that drafts at all."""
        return best.fastest(self.lengths).predicted_speedup


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """Real runs, if there were any, and the seconds they took.

    ``near_ties`` counts the places of answers that came out otherwise with a draft, where the main
    all but ties between two tokens.
    """

    runs: Runs | None = None
    near_ties: int = 0
    seconds: float = 0.0


def benchmark(asked: Asked, drafts: Sequence[Candidate]) -> Iterator[BenchResult]:
    """Measure every draft; each result comes as soon as it is there, the most promising first."""
    asked.progress({"step": "loading", "done": 0.0})
    engine = drafts[0].open()
    begun = engine.clock()
    engine.warm_up()
    prompts, alone = answer_alone(
        engine,
        asked.prompts,
        seconds=asked.seconds * ANSWERING,
        say=lambda done: asked.progress({"step": "generating", "done": 0.05 + 0.25 * done}),
    )
    answered = replace(asked, prompts=prompts)
    shared = (engine.clock() - begun) / len(drafts)
    foretold: list[_Foretold] = []
    for number, draft in enumerate(drafts):
        asked.progress({"step": "replaying", "done": 0.3 + 0.2 * number / len(drafts)})
        if number:
            engine = draft.open()
            engine.warm_up()
        foretold.append(_foretell(engine, draft, answered, alone))
    measured = 0.0
    for number, each in enumerate(sorted(foretold, key=_promise)):
        confirmed = _Confirmed()
        if number == 0 or each.promise > max(1.0, measured):
            if len(drafts) > 1:
                engine = each.draft.open()
                engine.warm_up()
            left = asked.seconds - (engine.clock() - begun)
            confirmed = _run(engine, each, replace(answered, seconds=left), alone)
        found = _result(answered, each, confirmed, alone)
        measured = max(measured, found.best.measured_speedup or 0.0)
        yield replace(
            found,
            engine=engine.name,
            model_seconds=shared + each.seconds + confirmed.seconds,
            notes=(*found.notes, *filter(None, [cut_down(asked.prompts, prompts)])),
        )


def _foretell(
    engine: Replayable, draft: Candidate, asked: Asked, alone: Sequence[Timed]
) -> _Foretold:
    begun = engine.clock()
    studies = tuple(
        engine.study(prompt, answer) for prompt, answer in zip(asked.prompts, alone, strict=True)
    )
    answers = [each.answer for each in studies]
    once = sum(each.seconds for each in alone)
    until = engine.clock() + once * PRICING_AT_MOST
    measured = engine.costs(asked.prompts[0], checking=STEPS, seconds=once * PRICING)
    lengths = predict.lengths(answers, measured, asked.weights)
    while engine.clock() < until and (
        more := _worth_measuring(answers, measured, lengths, asked.weights)
    ):
        measured = engine.costs(
            asked.prompts[0], checking=more, seconds=once * FURTHER, known=measured
        )
        lengths = predict.lengths(answers, measured, asked.weights)
    return _Foretold(
        draft,
        studies,
        measured,
        lengths,
        predict.by_class(answers, measured),
        engine.clock() - begun,
    )


def _worth_measuring(
    answers: Sequence[Answer],
    measured: Costs,
    lengths: Sequence[LengthResult],
    weights: Mapping[str, float],
) -> tuple[int, ...]:
    """Which counts between the measured ones could still make another length the fastest.

    A pass over more tokens is never cheaper, but on many chips it rises in steps, not in a line: so
    each count is first taken to cost what the measured one below it does.
    """
    fastest = best.fastest(lengths)
    hoped = predict.lengths(answers, costs.at_least(measured, predict.LONGEST + 1), weights)
    hopeful = [
        each
        for each in hoped
        if each.draft_tokens > 0
        and each.draft_tokens + 1 not in measured.short.main
        and (
            each.draft_tokens == fastest.draft_tokens
            or each.predicted_tps > fastest.predicted_tps * (1 + predict.TIE)
        )
    ]
    first = sorted(hopeful, key=lambda each: -each.predicted_tps)[:1]
    return tuple(each.draft_tokens + 1 for each in first)


def _promise(foretold: _Foretold) -> tuple[float, int]:
    """What to sort drafts by: the fastest first, of those that tie the smallest."""
    step = predict.TIE
    return -round(foretold.promise / step) * step, foretold.draft.bytes


def _run(
    engine: Replayable, foretold: _Foretold, asked: Asked, alone: Sequence[Timed]
) -> _Confirmed:
    begun = engine.clock()
    runs = confirm(
        engine,
        asked.prompts,
        best.to_run(foretold.lengths),
        alone=alone,
        weights=asked.weights,
        seconds=asked.seconds,
        say=lambda done: asked.progress({"step": "confirming", "done": 0.5 + 0.5 * done}),
    )
    unequal = () if runs is None else runs.unequal()
    near_ties = sum(engine.near_ties(asked.prompts[at], alone[at]) for at in set(unequal))
    return _Confirmed(runs, near_ties, engine.clock() - begun)


def _result(
    asked: Asked, foretold: _Foretold, confirmed: _Confirmed, alone: Sequence[Timed]
) -> BenchResult:
    """Everything but the engine and the time it took, which whoever ran it knows."""
    runs = confirmed.runs
    chosen = best.decide(foretold.lengths, runs)
    baseline = predict.tokens_per_second(
        [(p.kind, a.tokens, a.seconds) for p, a in zip(asked.prompts, alone, strict=True)],
        asked.weights,
    )
    return BenchResult(
        main=asked.main,
        draft=foretold.draft.name,
        engine="mlx",
        suite=asked.suite,
        started_at=asked.started_at,
        baseline_tps=baseline,
        lengths=foretold.lengths,
        best=chosen,
        text_equal=runs is None or not runs.unequal(),
        model_seconds=0.0,
        by_class=_by_class(foretold, runs, chosen),
        notes=tuple(_notes(foretold, confirmed, baseline)),
        tps_by_class={
            kind: tuple(round(each.predicted_tps, 3) for each in found)
            for kind, found in foretold.by_class.items()
        },
        confirmation=None if runs is None else best.confirmation(runs),
        costs=costs.to_json(foretold.costs),
        sampled=_sampled(foretold.studies),
        near_ties=confirmed.near_ties,
        draft_bytes=foretold.draft.bytes,
    )


def _by_class(foretold: _Foretold, runs: Runs | None, chosen: Best) -> dict[str, dict[str, float]]:
    """Each class at the length that was tried, and the length that would be best for it alone."""
    length = chosen.tried or DEFAULT_LENGTH
    measured = best.by_class(runs, length) if runs is not None else {}
    return {
        kind: {
            **measured.get(kind, {}),
            "acceptance": found[length].acceptance or 0.0,
            "predicted_tps": found[length].predicted_tps,
            "predicted_speedup": found[length].predicted_speedup,
            "best_draft_tokens": predict.best(found).draft_tokens,
        }
        for kind, found in foretold.by_class.items()
    }


def _sampled(studies: Sequence[Study]) -> dict[str, float]:
    places = sum(each.sampled.places for each in studies)
    mean = {
        rule: sum(getattr(each.sampled, rule) * each.sampled.places for each in studies) / places
        for rule in ("greedy", "matching", "rejection")
    }
    return {**asdict(studies[0].sampled), **mean, "places": places}


def _notes(foretold: _Foretold, confirmed: _Confirmed, baseline: float) -> Iterator[str]:
    if confirmed.runs is None:
        yield "not confirmed by real runs: another draft is faster, or the time was up"
    elif unequal := confirmed.runs.unequal():
        why = (
            f"; the main all but ties between two tokens in {confirmed.near_ties} places, where "
            "rounding decides"
            if confirmed.near_ties
            else ""
        )
        yield f"{len(unequal)} answers with the draft differ from the one without{why}"
    predicted = foretold.lengths[0].predicted_tps
    if abs(predicted / baseline - 1) > FAR_OFF:
        yield (
            f"the steps alone predict {predicted:.1f} tokens/s without a draft, and "
            f"{baseline:.1f} were measured: something else was using the machine"
        )
