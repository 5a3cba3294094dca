"""Real runs of several draft lengths in turn: 0, the length to confirm, and close competitors.

First the main answers alone (``answer_alone``); drafts are studied on these answers, and their
times are not compared. Then ``confirm`` makes passes. In a pass every prompt is answered with each
length, one directly after the other; every pass has a random order of prompts and lengths. So a
change of the machine's speed affects all lengths alike, and a load that comes and goes affects no
length every time. The interval is evaluated after some passes, and the runs end as soon as it
excludes 1. This works with any ``Engine``.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from types import MappingProxyType

from specd.bench import energy, statistics
from specd.bench.engine import Engine, Timed, TimeUp
from specd.bench.predict import token_shares
from specd.bench.prompts import CONTEXTS, KINDS, QUICK_TOKENS, Prompt
from specd.bench.result import MIX_NEEDED, BenchRequest, Ending, Outlier
from specd.bench.statistics import LEVEL_OF_A_LOOK, LOOKS, Paired

ANSWERING = 1 / 8
"""The share of the time for the main's own answers. Then two passes of three lengths and the work
before them fit into the time even with a slow main."""

ANSWERING_TWICE = 1 / 12
"""The same if a temperature is measured too: one pass of two lengths, and two passes there."""

GREEDY_SHARE = 1 / 3
"""Greedy runs take at most this share of the time for real runs if there is a temperature."""

READING = 0.2
"""One answer to a long context takes at most this share of the time for the main's answers, or the
context's share of the user's mix where that is more."""

TIES = 0.02
"""The largest share of a main's tokens at which rounding may decide between two equal ones."""

SURE = 0.001
"""The probability that answers which differ only by rounding count as another text."""

FEWEST = 8
"""The runs end early only after this many answers of each length that count (``Runs.counting``): a
few answers that the same disturbance hit would look certain."""

Say = Callable[[float], None]
"""Progress callback: the share done, 0 to 1. It never falls and ends with 1."""


@dataclass(frozen=True, slots=True)
class Runs:
    """Answers by draft length and prompt, one for every pass with that length."""

    prompts: tuple[Prompt, ...]
    answers: Mapping[int, tuple[tuple[Timed, ...], ...]]
    ended: Ending
    weights: Mapping[str, float]

    @property
    def passes(self) -> int:
        """How many times every prompt was answered without a draft."""
        return len(self.answers[0][0])

    @property
    def counting(self) -> float:
        """The answers with each length, less those with little weight: n of equal weight are n."""
        shares = [each.share for each in self.pairs(0, 0)]
        return self.passes * sum(shares) ** 2 / sum(each**2 for each in shares)

    def pairs(self, one: int, other: int) -> tuple[Paired, ...]:
        """Seconds per token with two draft lengths, by prompt, over the passes with both."""
        tokens = [(p.kind, a[0].tokens) for p, a in zip(self.prompts, self.answers[0], strict=True)]
        shares = token_shares(tokens, self.weights)
        found: list[Paired] = []
        for at, (share, (_, count)) in enumerate(zip(shares, tokens, strict=True)):
            both = list(zip(self.answers[one][at], self.answers[other][at], strict=False))
            found.append(
                Paired(
                    share * count,
                    tuple(each.seconds / each.tokens for each, _ in both),
                    tuple(each.seconds / each.tokens for _, each in both),
                )
            )
        return tuple(found)

    def speedup(self, one: int, other: int) -> float:
        """The speed with ``other`` draft tokens over that with ``one``."""
        return statistics.speedup(self.pairs(one, other))

    def typical(self, one: int, other: int) -> float:
        """The same from medians, for choices that the interval leaves open."""
        return statistics.typical(self.pairs(one, other))

    def energy(self, other: int) -> float | None:
        """Joules per token with ``other`` draft tokens over those without; None: not counted."""
        per_token: list[float] = []
        for length in (0, other):
            answers = [each for of_prompt in self.answers[length] for each in of_prompt]
            joules = [each.joules for each in answers if each.joules is not None]
            if len(joules) < len(answers) or not sum(joules):
                return None
            per_token.append(sum(joules) / sum(each.tokens for each in answers))
        return per_token[1] / per_token[0]

    def interval(self, one: int, other: int) -> tuple[float, float] | None:
        """The speed-up's interval; its level allows for the several evaluations."""
        return statistics.interval(self.pairs(one, other), level=LEVEL_OF_A_LOOK)

    def unequal(self) -> tuple[tuple[int, Timed], ...]:
        """Greedy answers with a draft that differ from the one without, with the prompt's index."""
        found: dict[tuple[int, object], Timed] = {}
        for at, alone, answer in self._compared():
            if answer.output != alone.output:
                found.setdefault((at, answer.output), answer)
        return tuple((at, answer) for (at, _), answer in found.items())

    def _compared(self) -> Iterator[tuple[int, Timed, Timed]]:
        """Greedy answers without and with a draft of one pass, with the prompt's index."""
        for length, of_length in self.answers.items():
            for at, prompt in enumerate(self.prompts):
                if length and not prompt.temperature:
                    for alone, answer in zip(self.answers[0][at], of_length[at], strict=False):
                        yield at, alone, answer

    def other_text(self) -> int:
        """How many of ``unequal`` are another text: all, if rounding cannot explain their number.

        For engines that do not give the main's logits where two answers differ.
        """
        parted, together = 0, 0.0
        for _, alone, answer in self._compared():
            parted += alone.output != answer.output
            both = zip(alone.output, answer.output, strict=False)
            shared = sum(1 for _ in takewhile(lambda each: each[0] == each[1], both))
            together += alone.tokens * shared / max(1, len(alone.output)) + 1
        chance = statistics.at_least(parted, TIES * together)
        return len(self.unequal()) if parted and chance < SURE else 0

    def outliers(self) -> tuple[Outlier, ...]:
        """Answers with unusual times; the figures include them."""
        found = {
            Outlier(self.prompts[prompt].kind, run + 1, times)
            for length in self.answers
            for prompt, run, times in statistics.outliers(self.pairs(length, length))
        }
        return tuple(sorted(found, key=lambda each: (each.run, each.kind, each.times)))


def answer_alone(
    engine: Engine,
    prompts: Sequence[Prompt],
    *,
    seconds: float,
    weights: Mapping[str, float] = MappingProxyType({}),
    say: Say = lambda _: None,
) -> tuple[tuple[Prompt, ...], tuple[Timed, ...]]:
    """The prompts as used and the main's own answers, within about ``seconds``.

    With a slow main all answers are cut shorter. If they would have less than ``QUICK_TOKENS``
    each, fewer prompts are used, at least one: after the first, those with the most weight. Long
    contexts come last, as long as each takes at most ``READING`` of the time, or its share of the
    mix.
    """
    short = _short(prompts, weights)
    asked: list[Prompt] = []
    answers: list[Timed] = []
    begun = engine.clock()
    for number, prompt in enumerate(short):
        if answers:
            spent = engine.clock() - begun
            affordable = sum(each.tokens for each in answers) * (seconds - spent) / spent
            prompt = _shortened(prompt, short[number:], affordable)  # noqa: PLW2901
            if prompt.max_tokens > affordable:
                break
        asked.append(prompt)
        answers.append(engine.answer(asked[-1], 0))
        say(len(answers) / len(prompts))
    if len(asked) == len(short):
        _answer_long(engine, prompts, weights, seconds, asked, answers)
    say(1.0)
    return tuple(asked), tuple(answers)


def _short(prompts: Sequence[Prompt], weights: Mapping[str, float]) -> list[Prompt]:
    """The short prompts, cut short where they have no weight and long contexts carry the mix."""
    first, *others = [each for each in prompts if not each.context]
    short = [first, *sorted(others, key=lambda each: -weights.get(each.kind, 1.0))]
    mix = _mix(prompts, weights)
    if sum(share for kind, share in mix.items() if kind in CONTEXTS) < MIX_NEEDED:
        return short
    return [
        each if mix[each.kind] else replace(each, max_tokens=min(QUICK_TOKENS, each.max_tokens))
        for each in short
    ]


def _mix(prompts: Sequence[Prompt], weights: Mapping[str, float]) -> dict[str, float]:
    """The share of the user's mix (0..1) of each class, also of contexts that no prompt has."""
    kinds = [each.kind for each in prompts] + [kind for kind in CONTEXTS if kind in weights]
    found = {kind: weights.get(kind, 1.0) for kind in kinds}
    total = sum(found.values())
    return {kind: weight / total if total else 0.0 for kind, weight in found.items()}


def of_mix(
    prompts: Sequence[Prompt], asked: Sequence[Prompt], weights: Mapping[str, float]
) -> float:
    """The share (0..1) of the user's mix that the classes of ``asked`` hold; 1 without a mix.

    Short classes that figures do not tell apart stand for each other.
    """

    def group(kind: str) -> str:
        return kind if kind in (*CONTEXTS, *KINDS) else "plain"

    mix = _mix(prompts, weights)
    if not weights or not any(mix.values()):
        return 1.0
    measured = {group(each.kind) for each in asked}
    return sum(share for kind, share in mix.items() if group(kind) in measured)


def _answer_long(
    engine: Engine,
    prompts: Sequence[Prompt],
    weights: Mapping[str, float],
    seconds: float,
    asked: list[Prompt],
    answers: list[Timed],
) -> None:
    """Append the prompts of long context and their answers, the shortest first, while they fit."""
    mix = _mix(prompts, weights) if weights else {}
    long = [each for each in prompts if each.context]
    limits = [seconds * max(READING, mix.get(each.kind, 0.0)) for each in long]
    # Before the first long answer, only the pace of the short ones can predict its time.
    pace = sum(each.seconds for each in answers) / sum(each.tokens for each in answers)
    second_per_token = 0.0
    for at, (prompt, limit) in enumerate(zip(long, limits, strict=True)):
        expected = second_per_token * prompt.context or pace * prompt.max_tokens
        # A prompt too long for its weight still shows the time of a longer one with more weight.
        if expected > max(limits[at:]) or not engine.fits(prompt):
            break
        if second_per_token and expected > limit:
            continue
        answer = engine.answer(prompt, 0)
        second_per_token = answer.seconds / prompt.context
        if answer.seconds <= limit:
            asked.append(prompt)
            answers.append(answer)


def _shortened(prompt: Prompt, to_come: Sequence[Prompt], tokens: float) -> Prompt:
    """``prompt``, the first of ``to_come``, with its share of the affordable ``tokens``."""
    least = min(QUICK_TOKENS, prompt.max_tokens)
    more = [max(0, each.max_tokens - QUICK_TOKENS) for each in to_come]
    left = tokens - sum(min(QUICK_TOKENS, each.max_tokens) for each in to_come)
    share = min(1.0, max(0.0, left / sum(more))) if any(more) else 1.0
    return replace(prompt, max_tokens=least + int(more[0] * share))


def cut_down(
    prompts: Sequence[Prompt],
    asked: Sequence[Prompt],
    weights: Mapping[str, float] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Notes on prompts that were left out or cut short."""
    notes: list[str] = []
    kinds = {each.kind for each in asked}
    short = [each for each in prompts if not each.context]
    shorter = [each for each in asked if not each.context]
    if len(shorter) < len(short):
        notes.append(
            f"only {len(shorter)} of {len(short)} prompts were asked: the main is too slow for "
            "all of them in the time given"
        )
    whole = {each.kind: each.max_tokens for each in short if weights.get(each.kind, 1.0)}
    counted = [each for each in shorter if each.kind in whole]
    if sum(each.max_tokens for each in counted) < sum(whole[each.kind] for each in counted):
        share = sum(e.max_tokens for e in counted) / sum(whole[e.kind] for e in counted)
        notes.append(
            f"answers were cut to {share:.0%} of their length: the main is too slow for whole ones "
            "in the time given"
        )
    left_out = [each.kind for each in prompts if each.context and each.kind not in kinds]
    if left_out:
        notes.append(
            f"contexts of {', '.join(left_out)} tokens were left out: the model, its memory or the "
            "time allow no more"
        )
    return tuple(notes)


def confirm_as_used(
    engine: Engine,
    request: BenchRequest,
    lengths: Mapping[int, float],
    greedy: Mapping[int, float],
    *,
    alone: Sequence[Timed],
    drawn: Sequence[Timed],
) -> tuple[Runs | None, Runs | None]:
    """Confirm at temperature 0, then at that of the request, within its seconds.

    ``lengths`` are to be run, with the speed-ups predicted there; ``greedy`` has those predicted at
    0. ``alone`` and ``drawn`` are the main's own answers at both; without ``drawn`` the second runs
    are left out.
    """
    until = engine.clock() + request.seconds
    share = GREEDY_SHARE if drawn else 1.0
    two = dict(list(lengths.items())[:2])

    def say(step: str, begun: float, share: float) -> Say:
        return lambda done: request.progress(
            {"step": step, "done": 0.5 + 0.5 * (begun + share * done)}
        )

    runs = confirm(
        engine,
        request.prompts,
        {each: greedy[each] for each in (two if drawn else lengths)},
        alone=alone,
        weights=request.weights,
        seconds=request.seconds * share,
        say=say("confirming", 0.0, share),
    )
    if not drawn:
        return runs, None
    return runs, confirm(
        engine,
        request.sampled(),
        two,
        alone=drawn,
        weights=request.weights,
        seconds=until - engine.clock(),
        say=say("sampling", share, 1 - share),
    )


def confirm(
    engine: Engine,
    prompts: Sequence[Prompt],
    lengths: Mapping[int, float],
    *,
    alone: Sequence[Timed],
    weights: Mapping[str, float],
    seconds: float,
    say: Say = lambda _: None,
) -> Runs | None:
    """Answer every prompt with each of ``lengths`` (length → predicted speed-up), pass by pass.

    The first length is 0, the second the one to confirm. Further lengths are compared with the
    second until that comparison is decided; the runs do not end while one of them looks faster. No
    pass begins that would not end within ``seconds``: the first pass's time is predicted from
    ``alone`` (the main's own answers) and the speed-ups. A pass that takes longer than that is
    broken off and left out. None if there is no time for one pass.
    """
    until = engine.clock() + seconds
    answers: dict[int, list[list[Timed]]] = {length: [[] for _ in prompts] for length in lengths}
    once = sum(each.seconds for each in alone)
    # Measured times differ from run to run, and so does the order that they seed.
    chance = random.Random(once)  # noqa: S311 - an order, not a secret
    expected = sum(once / promised for promised in lengths.values())
    running = list(lengths)
    _, tried, *_ = running
    with contextlib.suppress(TimeUp):
        for length in running if expected <= seconds else ():
            # Warm-up: the first answer with a length also loads it, or compiles its kernels.
            engine.answer(replace(prompts[0], max_tokens=2 * (length + 1)), length)
    begun = engine.clock()
    affordable = min(LOOKS[-1], int((until - begun) / expected))
    ended: Ending = "enough"
    runs: Runs | None = None
    with energy.meter() as joules:
        for number in range(LOOKS[-1]):
            if number:
                expected = (engine.clock() - begun) / number
            if engine.clock() + expected > until:
                ended = "time"
                break
            made: list[tuple[int, int, Timed]] = []
            order = _order(chance, len(prompts), running)
            with contextlib.suppress(TimeUp):
                for at, length in takewhile(lambda _: engine.clock() <= until, order):
                    made.append((length, at, _answer(engine, prompts[at], length, joules)))
                    done = len(made) / len(prompts) / len(running)
                    say(min(1.0, (number + done) / max(1, affordable)))
            if len(made) < len(prompts) * len(running):
                ended = "time"
                break
            for length, at, answer in made:
                answers[length][at].append(answer)
            runs = _runs(prompts, answers, "enough", weights)
            if number + 1 in LOOKS and round(runs.counting, 6) >= FEWEST:
                others = [each for each in running[2:] if not _decided(runs.interval(each, tried))]
                running = [0, tried, *others]
                if _decided(runs.interval(0, tried)) and all(
                    runs.speedup(each, tried) >= 1 for each in others
                ):
                    ended = "decided"
                    break
    say(1.0)
    return runs and _runs(prompts, answers, ended, weights)


def _order(
    chance: random.Random, prompts: int, lengths: Sequence[int]
) -> Iterator[tuple[int, int]]:
    """One pass: each prompt in a random order, with each length in a random order."""
    for at in chance.sample(range(prompts), prompts):
        for length in chance.sample(lengths, len(lengths)):
            yield at, length


def _answer(
    engine: Engine, prompt: Prompt, length: int, joules: Callable[[], float | None]
) -> Timed:
    before = joules()
    answer = engine.answer(prompt, length)
    after = joules()
    if before is None or after is None or after < before:  # the counter wraps around
        return answer
    return replace(answer, joules=after - before)


def _runs(
    prompts: Sequence[Prompt],
    answers: Mapping[int, Sequence[Sequence[Timed]]],
    ended: Ending,
    weights: Mapping[str, float],
) -> Runs:
    kept = {length: tuple(map(tuple, each)) for length, each in answers.items()}
    return Runs(tuple(prompts), kept, ended, weights)


def _decided(interval: tuple[float, float] | None) -> bool:
    return interval is not None and (interval[0] > 1 or interval[1] < 1)
