"""One benchmark of a main and its drafts: generate, replay, predict, then confirm for real.

The main answers every prompt once. Each draft reads those answers once, which tells what every
draft length would do with them; with what steps cost that predicts the speed of each. Only the best
of the drafts is run, and the next best as long as it promises more than was measured so far.

Runs in the worker only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from specd.bench import best, costs, predict
from specd.bench.confirm import ANSWERING, Runs, answer_alone, confirm, cut_down
from specd.bench.costs import Costs
from specd.bench.engine import Replayable, Timed
from specd.bench.predict import Answer
from specd.bench.prompts import Prompt
from specd.bench.result import (
    DEFAULT_LENGTH,
    AtTemperature,
    BenchResult,
    Best,
    LengthResult,
)

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

GREEDY_SHARE = 0.4
"""Of the time for real runs, what greedy ones may take where the temperature is measured too."""

STILL_RIGHT = 0.1
"""Costs that were measured earlier stand while they predict the main's own speed this well."""

Progress = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A draft to be tried.

    ``bytes`` is the size of its weights; ``open`` loads it beside its main, and raises what the
    engine raises for models it refuses. ``known`` are the costs that were measured earlier on this
    machine with the same files and versions.
    """

    name: str
    bytes: int
    open: Callable[[], Replayable]
    known: Costs | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured: a main, with which prompts, in about how many ``seconds``.

    ``weights`` are the classes' shares of what the user generates (``predict.lengths``). With a
    ``temperature`` above 0 the chosen length is measured there as well.
    """

    main: str
    prompts: tuple[Prompt, ...]
    suite: str
    weights: Mapping[str, float]
    seconds: float
    started_at: str
    temperature: float = 0.0
    progress: Progress = lambda _: None


@dataclass(frozen=True, slots=True)
class _Foretold:
    """What a draft promises, and the seconds it took to find out.

    ``lengths`` are greedy, ``used`` at the temperature, or the same where there is none.
    """

    draft: Candidate
    costs: Costs
    lengths: tuple[LengthResult, ...]
    used: tuple[LengthResult, ...]
    by_class: dict[str, tuple[LengthResult, ...]]
    seconds: float

    @property
    def promise(self) -> float:
        """The predicted speed-up of the fastest length that drafts at all."""
        return best.fastest(self.used).predicted_speedup


@dataclass(frozen=True, slots=True)
class _Confirmed:
    """Real runs, if there were any, and the seconds they took.

    Of the answers that came out otherwise with a draft, ``near_ties`` parted where rounding decides
    between two tokens, and ``other_text`` did not.
    """

    runs: Runs | None = None
    near_ties: int = 0
    other_text: int = 0
    at_temperature: AtTemperature | None = None
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
    drawn = _draw(engine, answered, alone)
    shared = (engine.clock() - begun) / len(drafts)
    foretold: list[_Foretold] = []
    for number, draft in enumerate(drafts):
        asked.progress({"step": "replaying", "done": 0.3 + 0.2 * number / len(drafts)})
        if number:
            engine = draft.open()
            engine.warm_up()
        foretold.append(_foretell(engine, draft, answered, alone, drawn))
    measured = 0.0
    for number, each in enumerate(sorted(foretold, key=_promise)):
        confirmed = _Confirmed()
        if number == 0 or each.promise > max(1.0, measured):
            if len(drafts) > 1:
                engine = each.draft.open()
                engine.warm_up()
            left = asked.seconds - (engine.clock() - begun)
            confirmed = _run(engine, each, replace(answered, seconds=left), alone, drawn)
        found = _result(answered, each, confirmed, alone)
        measured = max(measured, found.best.measured_speedup or 0.0)
        yield replace(
            found,
            engine=engine.name,
            model_seconds=shared + each.seconds + confirmed.seconds,
            notes=(*found.notes, *cut_down(asked.prompts, prompts)),
        )


def _draw(engine: Replayable, asked: Asked, alone: Sequence[Timed]) -> tuple[Timed, ...]:
    """The main's answers at the temperature; none where there is none, or no time for them."""
    once = sum(each.seconds for each in alone)
    if not asked.temperature or once > asked.seconds * ANSWERING * 2:
        return ()
    return tuple(engine.answer(each, 0) for each in _hot(asked))


def _hot(asked: Asked) -> list[Prompt]:
    return [replace(each, temperature=asked.temperature) for each in asked.prompts]


def _foretell(
    engine: Replayable,
    draft: Candidate,
    asked: Asked,
    alone: Sequence[Timed],
    drawn: Sequence[Timed],
) -> _Foretold:
    begun = engine.clock()
    answers = [
        engine.study(prompt, answer) for prompt, answer in zip(asked.prompts, alone, strict=True)
    ]
    # Chosen is what is fastest as it is used: at the temperature, where that is measured.
    used = [engine.study(p, each) for p, each in zip(_hot(asked), drawn, strict=False)] or answers
    once = sum(each.seconds for each in alone)
    until = engine.clock() + once * PRICING_AT_MOST
    if draft.known is not None and _still_right(answers, alone, draft.known, asked.weights):
        measured = draft.known
        until = engine.clock()
    else:
        measured = engine.costs(asked.prompts[0], checking=STEPS, seconds=once * PRICING)
    lengths = predict.lengths(used, measured, asked.weights)
    while engine.clock() < until and (
        more := _worth_measuring(used, measured, lengths, asked.weights)
    ):
        measured = engine.costs(
            asked.prompts[0], checking=more, seconds=once * FURTHER, known=measured
        )
        lengths = predict.lengths(used, measured, asked.weights)
    return _Foretold(
        draft,
        measured,
        predict.lengths(answers, measured, asked.weights),
        lengths,
        predict.by_class(answers, measured),
        engine.clock() - begun,
    )


def _still_right(
    answers: Sequence[Answer], alone: Sequence[Timed], known: Costs, weights: Mapping[str, float]
) -> bool:
    """Whether costs that were measured earlier predict how long the main took just now."""
    predicted = predict.lengths(answers, known, weights)[0].predicted_tps
    measured = predict.tokens_per_second(
        [(a.kind, t.tokens, t.seconds) for a, t in zip(answers, alone, strict=True)], weights
    )
    return abs(predicted / measured - 1) <= STILL_RIGHT


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
    engine: Replayable,
    foretold: _Foretold,
    asked: Asked,
    alone: Sequence[Timed],
    drawn: Sequence[Timed],
) -> _Confirmed:
    begun = engine.clock()
    share = GREEDY_SHARE if drawn else 1.0
    to_run = best.to_run(foretold.used)
    promised = {each.draft_tokens: each.predicted_speedup for each in foretold.lengths}
    runs = confirm(
        engine,
        asked.prompts,
        {each: promised[each] for each in (list(to_run)[:2] if drawn else to_run)},
        alone=alone,
        weights=asked.weights,
        seconds=asked.seconds * share,
        say=lambda done: asked.progress({"step": "confirming", "done": 0.5 + 0.5 * share * done}),
    )
    unequal = () if runs is None else runs.unequal()
    ties = [
        engine.same_but_for_rounding(asked.prompts[at], alone[at], answer) for at, answer in unequal
    ]
    confirmed = _Confirmed(runs, sum(ties), len(ties) - sum(ties))
    if drawn:
        left = replace(asked, seconds=asked.seconds - (engine.clock() - begun))
        confirmed = replace(confirmed, at_temperature=_sample(engine, foretold, left, drawn))
    asked.progress({"step": "confirming", "done": 1.0})
    return replace(confirmed, seconds=engine.clock() - begun)


def _sample(
    engine: Replayable, foretold: _Foretold, asked: Asked, drawn: Sequence[Timed]
) -> AtTemperature:
    """Measure the chosen length at the temperature, as far as the time allows."""
    tried = best.fastest(foretold.used)
    runs = confirm(
        engine,
        _hot(asked),
        {0: 1.0, tried.draft_tokens: tried.predicted_speedup},
        alone=drawn,
        weights=asked.weights,
        seconds=asked.seconds,
        say=lambda done: asked.progress(
            {"step": "sampling", "done": 0.5 + 0.5 * (GREEDY_SHARE + (1 - GREEDY_SHARE) * done)}
        ),
    )
    found = AtTemperature(
        asked.temperature,
        tried.draft_tokens,
        tried.acceptance,
        tried.predicted_speedup,
        predict.best(foretold.used).draft_tokens,
    )
    return best.measured_at(found, runs)


def _result(
    asked: Asked, foretold: _Foretold, confirmed: _Confirmed, alone: Sequence[Timed]
) -> BenchResult:
    """Everything but the engine and the time it took, which whoever ran it knows."""
    runs = confirmed.runs
    chosen = best.in_use(
        best.decide(foretold.lengths, runs, foretold.used), confirmed.at_temperature
    )
    taken = [(p.kind, a.tokens, a.seconds) for p, a in zip(asked.prompts, alone, strict=True)]
    baseline = predict.tokens_per_second(taken, asked.weights)
    by_class = {
        kind: predict.over(found, predict.tokens_per_second([t for t in taken if t[0] == kind], {}))
        for kind, found in foretold.by_class.items()
    }
    return BenchResult(
        main=asked.main,
        draft=foretold.draft.name,
        engine="mlx",
        suite=asked.suite,
        started_at=asked.started_at,
        baseline_tps=baseline,
        lengths=predict.over(foretold.lengths, baseline),
        best=chosen,
        text_equal=runs is None or not runs.unequal(),
        model_seconds=0.0,
        by_class=_by_class(by_class, runs, chosen),
        notes=tuple(_notes(foretold, confirmed, baseline)),
        tps_by_class={
            kind: tuple(round(each.predicted_tps, 3) for each in found)
            for kind, found in by_class.items()
        },
        confirmation=None if runs is None else best.confirmation(runs),
        costs=costs.to_json(foretold.costs),
        at_temperature=confirmed.at_temperature,
        near_ties=confirmed.near_ties,
        other_text=confirmed.other_text,
        draft_bytes=foretold.draft.bytes,
    )


def _by_class(
    predicted: Mapping[str, Sequence[LengthResult]], runs: Runs | None, chosen: Best
) -> dict[str, dict[str, float]]:
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
        for kind, found in predicted.items()
    }


def _notes(foretold: _Foretold, confirmed: _Confirmed, baseline: float) -> Iterator[str]:
    if confirmed.runs is None:
        yield "not confirmed by real runs: another draft is faster, or the time was up"
    elif unequal := confirmed.runs.unequal():
        yield (
            f"{len(unequal)} answers with the draft differ from the one without: "
            f"{confirmed.near_ties} part where rounding decides between two tokens, "
            f"{confirmed.other_text} do not"
        )
    predicted = foretold.lengths[0].predicted_tps
    if abs(predicted / baseline - 1) > FAR_OFF:
        yield (
            f"the steps alone predict {predicted:.1f} tokens/s without a draft, and "
            f"{baseline:.1f} were measured: something else was using the machine"
        )
