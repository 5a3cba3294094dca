"""One benchmark of a main and its drafts: generate, replay, predict, then confirm with real runs.

The main answers every prompt once. Each draft processes those answers once, which gives the counts
of every draft length; with the step costs they predict each speed. Real runs confirm the best
draft, and the next best while its prediction exceeds the best measured speed-up.

Runs in the worker only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from specd.bench import best, costs, predict
from specd.bench.confirm import (
    ANSWERING,
    ANSWERING_TWICE,
    Runs,
    answer_alone,
    confirm_as_used,
    cut_down,
    of_mix,
)
from specd.bench.costs import Costs
from specd.bench.engine import Replayable, Timed
from specd.bench.predict import StudiedAnswer
from specd.bench.result import (
    DEFAULT_LENGTH,
    AtTemperature,
    BenchRequest,
    BenchResult,
    Best,
    EngineName,
    LengthResult,
)

STEPS = (1, 2, 3, 5, 9, 17)
"""The verify cost is first measured for these token counts."""

PRICING = 0.4
"""Measuring ``STEPS`` takes about this share of the time of the main's own answers."""

FURTHER = 0.07
"""The same for each further count, measured because its length could be the best …"""

PRICING_AT_MOST = 0.6
"""… and for all of them together."""

FAR_OFF = 0.15
"""A predicted main's speed that is off by more than this gets a note."""

STILL_RIGHT = 0.1
"""Earlier costs are used again if their error on the main's own speed is at most this."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A draft to measure.

    ``bytes``: size of its weights. ``open`` loads it with its main, and raises the engine's own
    exceptions. ``known``: costs that were measured earlier on this machine with the same files and
    versions, None without any.
    """

    name: str
    bytes: int
    open: Callable[[], Replayable]
    known: Costs | None = None


@dataclass(frozen=True, slots=True)
class _Foretold:
    """The predictions for a draft, and the ``seconds`` spent on them.

    ``lengths`` are greedy, ``used`` at the temperature; both are the same without a temperature.
    """

    draft: Candidate
    costs: Costs
    lengths: tuple[LengthResult, ...]
    used: tuple[LengthResult, ...]
    by_class: dict[str, tuple[LengthResult, ...]]
    seconds: float

    @property
    def promise(self) -> float:
        """The predicted speed-up of the fastest length above 0."""
        return best.fastest(self.used).predicted_speedup


def benchmark(request: BenchRequest, drafts: Sequence[Candidate]) -> Iterator[BenchResult]:
    """Measure every draft; yields each result when it is ready, the highest prediction first."""
    request.progress({"step": "loading", "done": 0.0})
    engine = drafts[0].open()
    begun = engine.clock()
    engine.warm_up()
    prompts, alone = answer_alone(
        engine,
        request.prompts,
        seconds=request.seconds * (ANSWERING_TWICE if request.temperature else ANSWERING),
        weights=request.weights,
        say=lambda done: request.progress({"step": "generating", "done": 0.05 + 0.25 * done}),
    )
    answered = replace(request, prompts=prompts)
    drawn = _draw(engine, answered, alone)
    shared = (engine.clock() - begun) / len(drafts)
    foretold: list[_Foretold] = []
    for number, draft in enumerate(drafts):
        request.progress({"step": "replaying", "done": 0.3 + 0.2 * number / len(drafts)})
        if number:
            engine = draft.open()
            engine.warm_up()
        foretold.append(_foretell(engine, draft, answered, alone, drawn))
    measured = 0.0
    for number, each in enumerate(sorted(foretold, key=_promise)):
        found = _unconfirmed(answered, each, alone, engine.name, drawn=bool(drawn))
        found = replace(
            found,
            model_seconds=shared + each.seconds,
            notes=(*found.notes, *cut_down(request.prompts, prompts, request.weights)),
            of_mix=of_mix(request.prompts, prompts, request.weights),
        )
        if number == 0 or each.promise > max(1.0, measured):
            if len(drafts) > 1:
                engine = each.draft.open()
                engine.warm_up()
            left = request.seconds - (engine.clock() - begun)
            found = _confirm(engine, each, replace(answered, seconds=left), alone, drawn, found)
        if found.confirmation is None:
            why = "not confirmed by real runs: another draft is faster, or the time was up"
            found = replace(found, notes=(why, *found.notes))
        measured = max(measured, found.used.measured_speedup or 0.0)
        yield found


def _draw(engine: Replayable, request: BenchRequest, alone: Sequence[Timed]) -> tuple[Timed, ...]:
    """The main's answers at the temperature; () without a temperature or without time for them."""
    once = sum(each.seconds for each in alone)
    if not request.temperature or once > request.seconds * ANSWERING * 2:
        return ()
    return tuple(engine.answer(each, 0) for each in request.sampled())


def _foretell(
    engine: Replayable,
    draft: Candidate,
    request: BenchRequest,
    alone: Sequence[Timed],
    drawn: Sequence[Timed],
) -> _Foretold:
    begun = engine.clock()
    answers = [
        engine.study(prompt, answer) for prompt, answer in zip(request.prompts, alone, strict=True)
    ]
    # The length is chosen by its speed at the temperature, if that is measured.
    sampled = zip(request.sampled(), drawn, strict=False)
    used = [engine.study(prompt, answer) for prompt, answer in sampled] or answers
    once = sum(each.seconds for each in alone)
    until = engine.clock() + once * PRICING_AT_MOST
    speed = _measured(request, alone)
    known = draft.known and predict.lengths(answers, draft.known, request.weights)[0].predicted_tps
    if draft.known is not None and known and abs(known / speed - 1) <= STILL_RIGHT:
        measured = draft.known
        until = engine.clock()
    else:
        measured = engine.costs(request.prompts[0], verifying=STEPS, seconds=once * PRICING)
    lengths = predict.lengths(used, measured, request.weights)
    while engine.clock() < until and (
        more := _worth_measuring(used, measured, lengths, request.weights)
    ):
        measured = engine.costs(
            request.prompts[0], verifying=more, seconds=once * FURTHER, known=measured
        )
        lengths = predict.lengths(used, measured, request.weights)
    return _Foretold(
        draft,
        measured,
        predict.lengths(answers, measured, request.weights),
        lengths,
        {
            kind: predict.over(found, _measured(request, alone, kind))
            for kind, found in predict.by_class(answers, measured).items()
        },
        engine.clock() - begun,
    )


def _worth_measuring(
    answers: Sequence[StudiedAnswer],
    measured: Costs,
    lengths: Sequence[LengthResult],
    weights: Mapping[str, float],
) -> tuple[int, ...]:
    """The token count to measure next, because its length could be the fastest; () if none could.

    A pass over more tokens is never cheaper, but on many chips its cost rises in steps. So each
    count is first assumed to cost as much as the measured one below it.
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
    """Sort key of drafts: the fastest first; among ties, the smallest."""
    step = predict.TIE
    return -round(foretold.promise / step) * step, foretold.draft.bytes


def _confirm(
    engine: Replayable,
    foretold: _Foretold,
    request: BenchRequest,
    alone: Sequence[Timed],
    drawn: Sequence[Timed],
    found: BenchResult,
) -> BenchResult:
    """``found`` with real runs, also at the temperature, as far as the time allows."""
    begun = engine.clock()
    runs, used_runs = confirm_as_used(
        engine,
        request,
        best.to_run(foretold.used),
        {each.draft_tokens: each.predicted_speedup for each in foretold.lengths},
        alone=alone,
        drawn=drawn,
    )
    unequal = () if runs is None else runs.unequal()
    ties = sum(
        engine.same_but_for_rounding(request.prompts[at], alone[at], answer)
        for at, answer in unequal
    )
    chosen = best.decide(foretold.lengths, runs, foretold.used, used_runs)
    found = replace(found, best=chosen)
    if runs is not None:
        found = best.with_runs(found, runs, len(unequal) - ties)
        found = replace(found, by_class=_by_class(foretold.by_class, chosen, runs))
    if found.at_temperature is not None:
        sampled = best.at_temperature(found.at_temperature, used_runs)
        found = replace(found, at_temperature=sampled)
    if unequal:
        note = (
            f"answers with the draft that differ from the one without: {len(unequal)}; "
            f"{ties} where rounding decides between two tokens, {len(unequal) - ties} elsewhere"
        )
        found = replace(found, notes=(note, *found.notes))
    seconds = found.model_seconds + engine.clock() - begun
    return replace(found, model_seconds=seconds)


def _unconfirmed(
    request: BenchRequest,
    foretold: _Foretold,
    alone: Sequence[Timed],
    engine: EngineName,
    *,
    drawn: bool,
) -> BenchResult:
    """The predictions as a result; the caller adds the time."""
    chosen = best.decide(foretold.lengths, None, foretold.used)
    baseline = _measured(request, alone)
    predicted = foretold.lengths[0].predicted_tps
    used = best.fastest(foretold.used)
    disturbed = (
        f"the steps alone predict {predicted:.1f} tokens/s without a draft, and "
        f"{baseline:.1f} were measured: something else was using the machine"
    )
    return BenchResult(
        main=request.main,
        draft=foretold.draft.name,
        engine=engine,
        suite=request.suite,
        started_at=request.started_at,
        baseline_tps=baseline,
        lengths=predict.over(foretold.used, baseline),
        best=chosen,
        text_equal=True,
        model_seconds=0.0,
        by_class=_by_class(foretold.by_class, chosen),
        notes=(disturbed,) if abs(predicted / baseline - 1) > FAR_OFF else (),
        costs=costs.to_json(foretold.costs),
        at_temperature=AtTemperature(
            request.temperature,
            used.draft_tokens,
            used.acceptance if drawn else None,
            used.predicted_speedup if drawn else None,
        )
        if request.temperature
        else None,
        draft_bytes=foretold.draft.bytes,
    )


def _measured(request: BenchRequest, alone: Sequence[Timed], kind: str = "") -> float:
    """The main's own speed, over all answers or those of one class."""
    answers = zip(request.prompts, alone, strict=True)
    taken = [(p.kind, a.tokens, a.seconds) for p, a in answers if kind in ("", p.kind)]
    return predict.tokens_per_second(taken, request.weights)


def _by_class(
    predicted: Mapping[str, Sequence[LengthResult]], chosen: Best, runs: Runs | None = None
) -> dict[str, dict[str, float]]:
    """Figures of each class at the tried length, and the best length for that class alone."""
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
