"""Real answers from a server, timed with and without the draft: LM Studio's, or another's.

A server is asked as any program would ask it. What it does with a draft is its own business, so
nothing is taken for granted: that the draft ran is read from the answer's statistics, and so is the
length it drafted with; that there was none when none was asked for, too, because a default config
may name one. LM Studio tells statistics and takes the length from the model's config. Plain OpenAI
servers such as ``mlx_lm.server`` tell nothing and take ``num_draft_tokens`` from the request; there
the time to the first token is measured on the stream.

With and without take turns by passes over all prompts, each after an answer that is not counted:
servers load and drop models when the draft changes. Runs in the worker only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from specd.bench import predict, silence, statistics
from specd.bench.observed import Probe
from specd.bench.prompts import Prompt
from specd.bench.result import BenchResult, Best, LengthResult
from specd.bench.silence import Circumstances
from specd.bench.statistics import LEVEL_OF_A_LOOK, Paired
from specd.lmstudio.server import Answer, DraftRefused, Server

PASSES: Final = 4
"""How often all prompts are asked with and without the draft, unless it is decided before."""

LENGTHS: Final = (2, 4, 1, 3, 6, 8)
"""Draft lengths tried, the most promising first, where the server takes one with the request."""

SWEEP_SHARE: Final = 0.5
"""Of the time, what trying lengths may take."""

WARM_TEXT: Final = "Count from one to ten."
WARM_TOKENS: Final = 12
ANSWER_S: Final = 600.0

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
    """What is to be measured. ``draft_tokens`` is the configured length, None for the default."""

    main: Named
    draft: Named
    known: Circumstances
    draft_tokens: int | None = None


@dataclass(slots=True)
class _Talk:
    """The server, how it is to be asked, and what it has said.

    ``tells`` is whether answers hold statistics, ``without`` what to name as the draft where none
    is wanted, ``fixed`` the length in force where requests cannot change it.
    """

    server: Server
    asked: Asked
    tells: bool = False
    without: str | None = None
    fixed: int | None = None
    seconds: float = 0.0
    probe: list[Answer] = field(default_factory=list)

    def ask(self, text: str, max_tokens: int, draft_tokens: int) -> Answer:
        """One answer; ``draft_tokens`` 0 is without the draft."""
        answer = self.server.chat(
            self.asked.main.served,
            [{"role": "user", "content": text}],
            draft_model=self.asked.draft.served if draft_tokens else self.without,
            num_draft_tokens=draft_tokens or None,
            max_tokens=max_tokens,
            stream=not self.tells,
            timeout=ANSWER_S,
        )
        self.seconds += answer.seconds
        if draft_tokens:
            self.probe.append(answer)
        return answer

    def pass_over(self, prompts: Sequence[Prompt], draft_tokens: int) -> list[Answer]:
        """Every prompt once, after an answer that is not counted."""
        self.ask(WARM_TEXT, 1, draft_tokens)
        return [self.ask(each.text, each.max_tokens, draft_tokens) for each in prompts]

    def seen(self, finding: str | None = None) -> Probe:
        """What all answers with the draft have shown of it."""
        told = [answer.draft for answer in self.probe if answer.draft is not None]
        return Probe(
            self.asked.main.name,
            self.asked.draft.name,
            time.time(),
            len(self.probe),
            sum(each.total for each in told),
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
) -> tuple[BenchResult, Probe]:
    """Measure a pair on a server within about ``seconds``; the result, and the draft's proof.

    Raises:
        DraftSilent: the draft did not run.
        CannotMeasure: with and without cannot be told apart.
        specd.lmstudio.server.ServerError: the server does not answer, or not as it should.
    """
    started_at = datetime.now().astimezone().isoformat(timespec="seconds")
    started = time.monotonic()
    progress({"step": "loading", "done": 0.0})
    talk = _acquainted(server, asked)
    progress({"step": "generating", "done": 0.05})
    plain = talk.pass_over(prompts, 0)
    lengths = _sweep(talk, prompts, plain, started + seconds * SWEEP_SHARE, progress)
    chosen = predict.best([each for each in lengths if each.draft_tokens > 0])
    one_s = 2 * sum(each.seconds for each in plain)
    rounds = _confirm(talk, prompts, chosen.draft_tokens, one_s, started + seconds, progress)
    best = _decide(chosen, lengths, rounds)
    notes = _notes(talk, rounds)
    result = BenchResult(
        main=asked.main.name,
        draft=asked.draft.name,
        engine="server",
        suite=suite,
        started_at=started_at,
        baseline_tps=_tps(plain + [each for one, _ in rounds for each in one]),
        lengths=lengths,
        best=best,
        text_equal=_equal(rounds),
        model_seconds=talk.seconds,
        by_class=_by_class(prompts, rounds),
        notes=notes,
    )
    return result, talk.seen()


def _acquainted(server: Server, asked: Asked) -> _Talk:
    """Load both models, and find out what the server tells and whether the draft runs."""
    talk = _Talk(server, asked, tells=True)
    first = talk.ask(WARM_TEXT, WARM_TOKENS, 0)
    talk.tells = first.tokens_per_second is not None
    if _drafted(first):
        # The model's own default config names a draft: no name at all is to mean none.
        talk.without = ""
        if _drafted(talk.ask(WARM_TEXT, WARM_TOKENS, 0)):
            raise CannotMeasure(
                f"{server.base_url} drafts for {asked.main.served} also when no draft is asked "
                "for, so there is nothing to compare with; measure with --engine mlx"
            )
    length = asked.draft_tokens or DEFAULT_LENGTH.get((asked.known.formats or ("mlx",))[0], 2)
    try:
        answer = talk.ask(WARM_TEXT, WARM_TOKENS, length)
    except DraftRefused as error:
        raise DraftSilent(talk.seen(_finding(talk, str(error)))) from error
    if talk.tells and not _drafted(answer):
        raise DraftSilent(
            talk.seen(_finding(talk, "the answer's statistics count no draft tokens"))
        )
    return talk


def _finding(talk: _Talk, said: str) -> str:
    likely = "; or ".join(silence.causes(talk.asked.known))
    names = f"{talk.asked.main.name} ← {talk.asked.draft.name}"
    return f"{names}: the draft was asked for and did not run: {said}. Likely: {likely}"


def _drafted(answer: Answer) -> bool:
    return answer.draft is not None and answer.draft.total > 0


def _sweep(
    talk: _Talk,
    prompts: Sequence[Prompt],
    plain: Sequence[Answer],
    until: float,
    progress: Callable[[dict[str, Any]], None],
) -> tuple[LengthResult, ...]:
    """Try draft lengths while there is time, at least one; by length, 0 first."""
    baseline = _tps(plain)
    found = {0: _length(0, plain, baseline, tells=True)}
    configured = talk.asked.draft_tokens
    wanted = tuple(dict.fromkeys((configured, *LENGTHS) if configured else LENGTHS))
    begun = time.monotonic()
    for number, draft_tokens in enumerate(wanted):
        each_s = (time.monotonic() - begun) / number if number else 0.0
        if number and time.monotonic() + each_s > until:
            break
        answers = talk.pass_over(prompts, draft_tokens)
        in_force = _in_force(talk, answers, draft_tokens)
        found[in_force] = _length(in_force, answers, baseline, tells=talk.tells)
        progress({"step": "generating", "done": 0.05 + 0.45 * (number + 1) / len(wanted)})
        if talk.fixed is not None:
            break
    return tuple(found[length] for length in sorted(found))


def _in_force(talk: _Talk, answers: Sequence[Answer], asked: int) -> int:
    """The length that was drafted with, which may be another than the one asked for."""
    if (talk.asked.known.formats or ("mlx",))[0] == "gguf":
        # llama.cpp ends a draft early where it is unsure; the configured length is only the most.
        talk.fixed = talk.asked.draft_tokens or DEFAULT_LENGTH["gguf"]
        return talk.fixed
    told = [(answer.tokens, answer.draft) for answer in answers if answer.draft is not None]
    # A round ends with one token of the main's own, so that these are the rounds, give or take one
    # for each answer. It drafts the whole length, or as much as the answer's limit leaves.
    rounds = sum(tokens - draft.accepted for tokens, draft in told)
    drafted = sum(draft.total for _, draft in told)
    cut_short = len(told) * (asked * (asked + 1) // 2)
    if not talk.tells or (rounds * asked - cut_short <= drafted <= (rounds + len(told)) * asked):
        return asked
    talk.fixed = max(1, round(drafted / max(1, rounds)))
    return talk.fixed


def _length(
    draft_tokens: int, answers: Sequence[Answer], baseline: float, *, tells: bool
) -> LengthResult:
    told = [answer.draft for answer in answers if answer.draft is not None]
    drafted = sum(each.total for each in told)
    accepted = sum(each.accepted for each in told)
    tokens = sum(answer.tokens for answer in answers)
    speed = _tps(answers)
    return LengthResult(
        draft_tokens=draft_tokens,
        acceptance=(accepted / drafted if drafted else 0.0) if tells else None,
        accepted=accepted if tells else None,
        rounds=tokens - accepted if tells else None,
        predicted_tps=speed,
        predicted_speedup=speed / baseline,
    )


def _tps(answers: Sequence[Answer]) -> float:
    return sum(each.tokens for each in answers) / sum(each.seconds for each in answers)


_Rounds = list[tuple[list[Answer], list[Answer]]]
"""Passes over all prompts, (without, with) the draft."""


def _confirm(
    talk: _Talk,
    prompts: Sequence[Prompt],
    draft_tokens: int,
    one_s: float,
    deadline: float,
    progress: Callable[[dict[str, Any]], None],
) -> _Rounds:
    """Passes with and without the draft in turn, until it is decided or the time is up.

    Begins none that would not end before ``deadline``; ``one_s`` is how long the first may take.
    """
    rounds: _Rounds = []
    begun = time.monotonic()
    for number in range(PASSES):
        each_s = (time.monotonic() - begun) / number if number else one_s
        if time.monotonic() + each_s > deadline:
            break
        order = (0, draft_tokens) if number % 2 == 0 else (draft_tokens, 0)
        both = {length: talk.pass_over(prompts, length) for length in order}
        rounds.append((both[0], both[draft_tokens]))
        progress({"step": "confirming", "done": 0.5 + 0.5 * (number + 1) / PASSES})
        bounds = _interval(rounds)
        if bounds is not None and (bounds[0] > 1 or bounds[1] < 1) and number > 0:
            break
    return rounds


def _pairs(rounds: _Rounds) -> list[Paired]:
    """Seconds per token by prompt, (without, with): lengths differ where texts do."""
    found: list[Paired] = []
    for place in range(len(rounds[0][0]) if rounds else 0):
        pairs = [(one[place], other[place]) for one, other in rounds]
        spent = [(a, b) for a, b in pairs if a.tokens and b.tokens]
        if spent:
            found.append(
                Paired(
                    spent[0][0].tokens,
                    tuple(a.seconds / a.tokens for a, _ in spent),
                    tuple(b.seconds / b.tokens for _, b in spent),
                )
            )
    return found


def _interval(rounds: _Rounds) -> tuple[float, float] | None:
    return statistics.interval(_pairs(rounds), level=LEVEL_OF_A_LOOK)


def _decide(chosen: LengthResult, lengths: Sequence[LengthResult], rounds: _Rounds) -> Best:
    """No speculation wins when it is measured slower, or nothing says that it is faster."""
    measured = statistics.speedup(pairs) if (pairs := _pairs(rounds)) else None
    bounds = _interval(rounds)
    slower = bounds is not None and bounds[1] < 1
    none_is_best = predict.best(lengths).draft_tokens == 0 and (bounds is None or bounds[0] <= 1)
    draft_tokens = 0 if slower or none_is_best else chosen.draft_tokens
    return Best(draft_tokens, chosen.predicted_speedup, measured, bounds, chosen.draft_tokens)


def _equal(rounds: _Rounds) -> bool:
    return all(
        without.text == drafted.text
        for one, other in rounds
        for without, drafted in zip(one, other, strict=True)
    )


def _by_class(prompts: Sequence[Prompt], rounds: _Rounds) -> dict[str, dict[str, float]]:
    """Per class of prompts: speeds, speed-up, seconds to the first token, acceptance."""
    found: dict[str, dict[str, float]] = {}
    if not rounds:
        return found
    for kind in dict.fromkeys(each.kind for each in prompts):
        places = [n for n, each in enumerate(prompts) if each.kind == kind]
        without = [one[n] for one, _ in rounds for n in places]
        drafted = [other[n] for _, other in rounds for n in places]
        told = [answer.draft for answer in drafted if answer.draft is not None]
        figures: dict[str, float | None] = {
            "baseline_tps": _tps(without),
            "measured_tps": _tps(drafted),
            "measured_speedup": _tps(drafted) / _tps(without),
            "baseline_first_token_s": _mean([each.time_to_first_token for each in without]),
            "first_token_s": _mean([each.time_to_first_token for each in drafted]),
            "acceptance": sum(each.accepted for each in told) / max(1, sum(t.total for t in told))
            if told
            else None,
        }
        found[kind] = {name: value for name, value in figures.items() if value is not None}
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _notes(talk: _Talk, rounds: _Rounds) -> tuple[str, ...]:
    notes: list[str] = []
    if not rounds:
        notes.append("there was no time left to measure the chosen length against none")
    if not _equal(rounds):
        notes.append("the text with the draft differs from the one without")
        if not talk.tells:
            notes.append(
                "mlx_lm.server keeps the prompts it answered, and goes on wrongly from one that it "
                "answered with a draft: start it with --prompt-cache-size 0"
            )
    if not talk.tells:
        notes.append(
            "this server tells no statistics: that the draft ran, and that it did not where none "
            "was asked for, cannot be seen"
        )
    if talk.fixed is not None:
        notes.append(
            f"this server takes no draft length with a request: measured with {talk.fixed}, "
            "as configured"
        )
    return tuple(notes)
