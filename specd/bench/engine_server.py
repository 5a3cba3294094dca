"""Real answers from a server, timed with and without the draft: LM Studio's, or another's.

A server is asked as any program would ask it. What it does with a draft is its own business, so
nothing is taken for granted: that the draft ran is read from the answer's statistics, and so is the
length it drafted with; that there was none when none was asked for, too, because a default config
may name one. LM Studio tells statistics and takes the length from the model's config. Plain OpenAI
servers such as ``mlx_lm.server`` tell nothing and take ``num_draft_tokens`` from the request; there
the time to the first token is measured on the stream.

Lengths are tried where requests may name one, and the best is confirmed as with any other engine.
Servers load and drop models when the draft comes or goes, so that each time an answer is asked for
that is not counted. Runs in the worker only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from specd.bench import best, predict, silence
from specd.bench.confirm import ANSWERING, Runs, answer_alone, confirm, cut_down
from specd.bench.engine import Timed
from specd.bench.prompts import Prompt
from specd.bench.result import AtTemperature, BenchResult, Best, EngineName, LengthResult
from specd.bench.silence import Circumstances
from specd.bench.use import Probe
from specd.lmstudio.server import Answer, DraftRefused, Server

LENGTHS: Final = (2, 4, 1, 3, 6, 8)
"""Draft lengths tried, the most promising first, where the server takes one with the request."""

SWEEP_SHARE: Final = 0.5
"""Of the time, what trying lengths may take."""

GREEDY_SHARE: Final = 0.6
"""Of the time for real runs, what greedy ones may take where the temperature is measured too."""

WARM_TEXT: Final = "Count from one to ten."
WARM_TOKENS: Final = 12
ANSWER_S: Final = 600.0

FREED_S: Final = 120
"""How long a model that was loaded only to be measured may stay in memory unused."""

DEFAULT_CONTEXT: Final = 4096
"""Tokens of context with which LM Studio loads a model unless it is told otherwise."""

DEFAULT_LENGTH: Final = {"mlx": 2, "gguf": 16}
"""What LM Studio drafts with unless it is told otherwise."""


class CannotMeasure(Exception):
    """The server makes a comparison impossible; the message says why and what to do."""


class DraftSilent(Exception):
    """The draft that was asked for did not run. ``probe`` holds what was seen, and the causes."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe.finding)
        self.probe = probe


@dataclass(frozen=True, slots=True)
class Named:
    """A model: what specd calls it, and what a request to this server calls it."""

    name: str
    served: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured. ``draft_tokens`` is the configured length, None for the default.

    ``weights`` are the classes' shares of what the user generates (``predict.lengths``). ``ttl`` is
    after how many unused seconds the server is to drop the main again; None leaves that to it.
    ``longest`` is the context the main is loaded with, None where it is not known. With a
    ``temperature`` above 0 the chosen length is measured there as well.
    """

    main: Named
    draft: Named
    known: Circumstances
    draft_tokens: int | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    ttl: int | None = None
    longest: int | None = None
    temperature: float = 0.0


@dataclass(slots=True)
class ServerEngine:
    """The server, how it is to be asked, and what it has said.

    ``tells`` is whether answers hold statistics, ``without`` what to name as the draft where none
    is wanted, ``fixed`` the length in force where requests cannot change it, ``drafting`` whether
    the last request asked for a draft.
    """

    server: Server
    asked: Asked
    clock: Callable[[], float] = time.monotonic
    tells: bool = False
    without: str | None = None
    fixed: int | None = None
    drafting: bool | None = None
    seconds: float = 0.0
    probe: list[Answer] = field(default_factory=list)

    @property
    def name(self) -> EngineName:
        """How it is called in results."""
        return "server"

    @property
    def longest(self) -> int:
        """The context that the main is loaded with, or LM Studio's default."""
        return self.asked.longest or DEFAULT_CONTEXT

    def ask(
        self,
        text: str,
        max_tokens: int,
        draft_tokens: int,
        *,
        stream: bool = False,
        temperature: float = 0.0,
    ) -> Answer:
        """One answer; ``draft_tokens`` 0 is without the draft."""
        answer = self.server.chat(
            self.asked.main.served,
            [{"role": "user", "content": text}],
            draft_model=self.asked.draft.served if draft_tokens else self.without,
            num_draft_tokens=draft_tokens or None,
            max_tokens=max_tokens,
            temperature=temperature,
            ttl=self.asked.ttl,
            stream=stream or not self.tells,
            timeout=ANSWER_S,
        )
        self.seconds += answer.seconds
        self.drafting = draft_tokens > 0
        if draft_tokens:
            self.probe.append(answer)
        return answer

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        """A whole answer, after one that is not counted where the draft comes or goes.

        Raises:
            CannotMeasure: there is nothing in it.
        """
        if self.drafting != (draft_tokens > 0):
            self.ask(WARM_TEXT, 1, draft_tokens)
        heard = self.ask(
            prompt.text,
            prompt.max_tokens,
            draft_tokens,
            stream=prompt.stream,
            temperature=prompt.temperature,
        )
        if not heard.tokens:
            raise CannotMeasure(
                f"{self.server.base_url} answers the prompt of the class {prompt.kind!r} with "
                "nothing, so there is nothing to time; measure with --engine mlx"
            )
        return Timed(
            heard.text,
            heard.tokens,
            heard.seconds,
            from_draft=heard.draft.accepted if heard.draft else None,
            drafted=heard.draft.total if heard.draft else None,
            first_token_s=heard.time_to_first_token,
        )

    def seen(self, finding: str | None = None) -> Probe:
        """What all answers with the draft have shown of it."""
        told = [answer.draft for answer in self.probe if answer.draft is not None]
        return Probe(
            self.asked.main.name,
            self.asked.draft.name,
            time.time(),
            len(self.probe),
            sum(each.accepted if each.total is None else each.total for each in told),
            sum(each.accepted for each in told),
            finding,
        )


def benchmark(
    server: Server,
    asked: Asked,
    prompts: Sequence[Prompt],
    suite: str,
    *,
    seconds: float,
    progress: Callable[[dict[str, Any]], None],
    clock: Callable[[], float] = time.monotonic,
) -> tuple[BenchResult, Probe]:
    """Measure a pair on a server within about ``seconds``; the result, and the draft's proof.

    ``clock`` tells seconds from an arbitrary start.

    Raises:
        DraftSilent: the draft did not run.
        CannotMeasure: with and without cannot be told apart.
        specd.lmstudio.server.ServerError: the server does not answer, or not as it should.
    """
    started_at = datetime.now().astimezone().isoformat(timespec="seconds")
    begun = clock()
    progress({"step": "loading", "done": 0.0})
    engine = _acquainted(ServerEngine(server, asked, clock, tells=True))
    progress({"step": "generating", "done": 0.05})
    answered, alone = answer_alone(engine, prompts, seconds=seconds * ANSWERING)
    lengths = _sweep(engine, answered, alone, begun + seconds * SWEEP_SHARE, progress)
    until = begun + seconds
    share = GREEDY_SHARE if asked.temperature else 1.0
    left = (until - clock()) * share
    runs = _confirm(engine, answered, alone, lengths, left, _part(progress, 0.5, share / 2))
    chosen = best.decide(lengths, runs)
    sampled = None
    if asked.temperature and runs is not None and runs.passes > 1:
        sampled = _sample(engine, answered, alone, chosen, until, progress)
    result = BenchResult(
        main=asked.main.name,
        draft=asked.draft.name,
        engine=engine.name,
        suite=suite,
        started_at=started_at,
        baseline_tps=_tps(answered, alone, asked.weights),
        lengths=lengths,
        best=chosen,
        text_equal=runs is None or not runs.unequal(),
        model_seconds=engine.seconds,
        by_class={}
        if runs is None
        else best.by_class(runs, chosen.tried or lengths[1].draft_tokens),
        notes=(*_notes(engine, runs), *cut_down(prompts, answered)),
        at_temperature=sampled,
        confirmation=None if runs is None else best.confirmation(runs),
    )
    return result, engine.seen()


def _acquainted(engine: ServerEngine) -> ServerEngine:
    """Load both models, and find out what the server tells and whether the draft runs."""
    asked = engine.asked
    first = engine.ask(WARM_TEXT, WARM_TOKENS, 0)
    engine.tells = first.tokens_per_second is not None
    if _drafted(first):
        # The model's own default config names a draft: no name at all is to mean none.
        engine.without = ""
        if _drafted(engine.ask(WARM_TEXT, WARM_TOKENS, 0)):
            raise CannotMeasure(
                f"{engine.server.base_url} drafts for {asked.main.served} also when no draft is "
                "asked for, so there is nothing to compare with; measure with --engine mlx"
            )
    length = asked.draft_tokens or DEFAULT_LENGTH.get((asked.known.formats or ("mlx",))[0], 2)
    try:
        answer = engine.ask(WARM_TEXT, WARM_TOKENS, length)
    except DraftRefused as error:
        raise DraftSilent(engine.seen(_finding(engine, str(error)))) from error
    if engine.tells and not _drafted(answer):
        raise DraftSilent(
            engine.seen(_finding(engine, "the answer's statistics count no draft tokens"))
        )
    return engine


def _finding(engine: ServerEngine, said: str) -> str:
    likely = "; or ".join(silence.causes(engine.asked.known))
    names = f"{engine.asked.main.name} ← {engine.asked.draft.name}"
    return f"{names}: the draft was asked for and did not run: {said}. Likely: {likely}"


def _drafted(answer: Answer) -> bool:
    return answer.draft is not None and bool(answer.draft.total or answer.draft.accepted)


def _sweep(
    engine: ServerEngine,
    prompts: Sequence[Prompt],
    alone: Sequence[Timed],
    until: float,
    progress: Callable[[dict[str, Any]], None],
) -> tuple[LengthResult, ...]:
    """Try draft lengths while there is time, at least one; by length, 0 first."""
    weights = engine.asked.weights
    baseline = _tps(prompts, alone, weights)
    found = {0: LengthResult(0, 0.0, 0, sum(each.tokens for each in alone), baseline, 1.0)}
    configured = engine.asked.draft_tokens
    wanted = tuple(dict.fromkeys((configured, *LENGTHS) if configured else LENGTHS))
    begun = engine.clock()
    for number, draft_tokens in enumerate(wanted):
        each_s = (engine.clock() - begun) / number if number else 0.0
        if number and engine.clock() + each_s > until:
            break
        answers = [engine.answer(each, draft_tokens) for each in prompts]
        in_force = _in_force(engine, answers, draft_tokens)
        speed = _tps(prompts, answers, weights)
        found[in_force] = _length(in_force, answers, speed, baseline)
        progress({"step": "generating", "done": 0.05 + 0.45 * (number + 1) / len(wanted)})
        if engine.fixed is not None:
            break
    return tuple(found[length] for length in sorted(found))


def _in_force(engine: ServerEngine, answers: Sequence[Timed], asked: int) -> int:
    """The length that was drafted with, which may be another than the one asked for."""
    if (engine.asked.known.formats or ("mlx",))[0] == "gguf":
        # llama.cpp ends a draft early where it is unsure; the configured length is only the most.
        engine.fixed = engine.asked.draft_tokens or DEFAULT_LENGTH["gguf"]
        return engine.fixed
    told = [each for each in answers if each.drafted is not None]
    if engine.tells and not told:
        # The MLX engine counts accepted tokens alone, and takes the length from the main's config.
        engine.fixed = engine.asked.draft_tokens or DEFAULT_LENGTH["mlx"]
        return engine.fixed
    # A round ends with one token of the main's own, so that these are the rounds, give or take one
    # for each answer. It drafts the whole length, or as much as the answer's limit leaves.
    rounds = sum(each.tokens - (each.from_draft or 0) for each in told)
    drafted = sum(each.drafted or 0 for each in told)
    cut_short = len(told) * (asked * (asked + 1) // 2)
    if not engine.tells or (rounds * asked - cut_short <= drafted <= (rounds + len(told)) * asked):
        return asked
    engine.fixed = max(1, round(drafted / max(1, rounds)))
    return engine.fixed


def _length(
    draft_tokens: int, answers: Sequence[Timed], speed: float, baseline: float
) -> LengthResult:
    told = [each for each in answers if each.drafted is not None]
    drafted = sum(each.drafted or 0 for each in told)
    accepted = sum(each.from_draft or 0 for each in told)
    return LengthResult(
        draft_tokens=draft_tokens,
        acceptance=(accepted / drafted if drafted else 0.0) if told else None,
        accepted=accepted if told else None,
        rounds=sum(each.tokens for each in told) - accepted if told else None,
        predicted_tps=speed,
        predicted_speedup=speed / baseline,
    )


def _tps(
    prompts: Sequence[Prompt], answers: Sequence[Timed], weights: Mapping[str, float]
) -> float:
    return predict.tokens_per_second(
        [(p.kind, a.tokens, a.seconds) for p, a in zip(prompts, answers, strict=True)], weights
    )


def _confirm(
    engine: ServerEngine,
    prompts: Sequence[Prompt],
    alone: Sequence[Timed],
    lengths: Sequence[LengthResult],
    seconds: float,
    say: Callable[[float], None],
) -> Runs | None:
    return confirm(
        engine,
        prompts,
        best.to_run(lengths),
        alone=alone,
        weights=engine.asked.weights,
        seconds=seconds,
        say=say,
    )


def _part(
    progress: Callable[[dict[str, Any]], None], begun: float, share: float
) -> Callable[[float], None]:
    return lambda done: progress({"step": "confirming", "done": begun + share * done})


def _sample(
    engine: ServerEngine,
    prompts: Sequence[Prompt],
    alone: Sequence[Timed],
    chosen: Best,
    until: float,
    progress: Callable[[dict[str, Any]], None],
) -> AtTemperature:
    """Measure the chosen length at the temperature, as far as the time allows."""
    length = chosen.tried or 1
    drawn = [replace(each, temperature=engine.asked.temperature) for each in prompts]
    runs = confirm(
        engine,
        drawn,
        {0: 1.0, length: chosen.measured_speedup or 1.0},
        alone=alone,
        weights=engine.asked.weights,
        seconds=until - engine.clock(),
        say=_part(progress, 0.5 + GREEDY_SHARE / 2, (1 - GREEDY_SHARE) / 2),
    )
    return best.measured_at(AtTemperature(engine.asked.temperature, length, None, None, None), runs)


def _notes(engine: ServerEngine, runs: Runs | None) -> tuple[str, ...]:
    notes: list[str] = []
    if runs is None:
        notes.append("there was no time left to measure the chosen length against none")
    elif unequal := runs.unequal():
        notes.append(f"{len(unequal)} answers with the draft differ from the one without")
        if not engine.tells:
            notes.append(
                "mlx_lm.server keeps the prompts it answered, and goes on wrongly from one that it "
                "answered with a draft: start it with --prompt-cache-size 0"
            )
    if not engine.tells:
        notes.append(
            "this server tells no statistics: that the draft ran, and that it did not where none "
            "was asked for, cannot be seen"
        )
    if engine.fixed is not None:
        notes.append(
            f"this server takes no draft length with a request: measured with {engine.fixed}, "
            "as configured"
        )
    return tuple(notes)


def on_demand(server: Server) -> frozenset[str]:
    """The models that LM Studio would load only because a request names them.

    Empty where the server does not tell what it has in memory: only LM Studio's own lists do, and
    they are also the ones that tell a model's format.

    Raises:
        specd.lmstudio.server.ServerError: as ``Server.models``.
    """
    return frozenset(each.key for each in server.models() if each.format and not each.loaded)
