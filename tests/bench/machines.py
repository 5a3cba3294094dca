"""Machines on which a pair with a known speed-up is measured: quiet, drifting, disturbed.

Every answer takes its true time, times what the machine does at that moment, times noise. The real
``confirm`` decides what is run, in which order, and when it ends.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from specd.bench import best
from specd.bench.confirm import confirm
from specd.bench.engine import Timed
from specd.bench.prompts import BASIC, Prompt
from specd.bench.result import EngineName, LengthResult
from specd.bench.statistics import LOOKS

TOKENS_PER_S = 20.0


@dataclass(frozen=True, slots=True)
class Moment:
    """``at`` is how far a run of all passes has come, 0 to 1; ``kept`` is the machine's memory."""

    at: float
    chance: random.Random
    kept: dict[str, float]


Machine = Callable[[Moment], float]
"""The logarithm of how much longer an answer takes at a moment, noise included."""


def steady(noise: float) -> Machine:
    return lambda now: now.chance.gauss(0, noise)


def step(size: float, noise: float = 0.01) -> Machine:
    """Slower by ``size`` from a random moment on."""

    def machine(now: Moment) -> float:
        when = now.kept.setdefault("when", now.chance.random())
        return now.chance.gauss(0, noise) + (size if now.at > when else 0.0)

    return machine


def step_after_first(size: float, noise: float = 0.01) -> Machine:
    """Slower by ``size`` once the main has answered alone."""
    return lambda now: now.chance.gauss(0, noise) + (size if now.at > 0 else 0.0)


def drift(size: float, noise: float = 0.01) -> Machine:
    """Slower by ``size`` at the end of all passes than at their beginning, steadily."""
    return lambda now: now.chance.gauss(0, noise) + size * now.at


def bursts(share: float, noise: float = 0.01) -> Machine:
    """Something else uses the machine for ``share`` of the time, some answers long."""

    def machine(now: Moment) -> float:
        left = now.kept.get("left", 0.0)
        if left < 1 and now.chance.random() < share / 3:
            left = now.chance.expovariate(1 / 3) + 1
            now.kept["factor"] = now.chance.uniform(0.2, 0.7)
        now.kept["left"] = left - 1
        return now.chance.gauss(0, noise) + (now.kept["factor"] if left >= 1 else 0.0)

    return machine


def correlated(spread: float, stays: float, noise: float = 0.005) -> Machine:
    """Noise of which ``stays`` is left at the next answer."""

    def machine(now: Moment) -> float:
        before = now.kept.get("level", now.chance.gauss(0, spread))
        fresh = now.chance.gauss(0, spread * (1 - stays**2) ** 0.5)
        now.kept["level"] = stays * before + fresh
        return before + now.chance.gauss(0, noise)

    return machine


def periodic(size: float, share: float = 0.3, noise: float = 0.01) -> Machine:
    """Slower by ``size`` for ``share`` of every period of one to six answers."""

    def machine(now: Moment) -> float:
        period = now.kept.setdefault("period", now.chance.uniform(1, 6))
        phase = now.kept.setdefault("phase", now.chance.random())
        now.kept["phase"] = phase + 1 / period
        return now.chance.gauss(0, noise) + (size if phase % 1 < share else 0.0)

    return machine


MACHINES: Mapping[str, Machine] = {
    "steady, noise 1 %": steady(0.01),
    "steady, noise 5 %": steady(0.05),
    "a step of +4 %": step(0.04),
    "a step of -4 %": step(-0.04),
    "a step of +4 % after the first answers": step_after_first(0.04),
    "a slow drift of 10 %": drift(0.10),
    "bursts, 5 % of the time": bursts(0.05),
    "bursts, 20 % of the time": bursts(0.20),
    "a load of 20 % that comes and goes": periodic(0.2),
    "correlated noise 3 %, 0.5": correlated(0.03, 0.5),
    "correlated noise 3 %, 0.95": correlated(0.03, 0.95),
}


@dataclass
class MachineEngine:
    """An engine whose true seconds are set: ``speedups`` by draft length, alike for every prompt.

    ``unlike`` makes the speed-up differ from prompt to prompt by that much.
    """

    machine: Machine
    speedups: Mapping[int, float]
    prompts: Sequence[Prompt]
    seed: int
    unlike: float = 0.0
    now: float = 0.0
    kept: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - for tests
        self.own = [
            self.unlike * (at / max(1, len(self.prompts) - 1) - 0.5)
            for at in range(len(self.prompts))
        ]
        self.whole = LOOKS[-1] * sum(
            self.seconds(at, length) for at in range(len(self.prompts)) for length in self.speedups
        )

    @property
    def name(self) -> EngineName:
        return "mlx"

    def fits(self, prompt: Prompt) -> bool:
        return prompt.context + prompt.max_tokens <= 1_000

    def clock(self) -> float:
        return self.now

    def seconds(self, at: int, length: int) -> float:
        gain = self.speedups[length] * (1 + (self.own[at] if length else 0.0))
        return self.prompts[at].max_tokens / TOKENS_PER_S / gain

    def truth(self, one: int, other: int) -> float:
        """How much faster ``other`` is, every class alike."""
        sums = [
            sum(self.seconds(at, each) / p.max_tokens for at, p in enumerate(self.prompts))
            for each in (one, other)
        ]
        return sums[0] / sums[1]

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        at = next(n for n, each in enumerate(self.prompts) if each.kind == prompt.kind)
        moment = Moment(min(1.0, self.now / self.whole), self.chance, self.kept)
        seconds = self.seconds(at, draft_tokens) * 2.718281828459045 ** self.machine(moment)
        self.now += seconds
        return Timed((0,), prompt.max_tokens, seconds)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Shares of trials, and the mean number of passes."""

    covered: float
    called_faster: float
    passes: float
    decided: float


def coverage(
    machine: Machine,
    truth: float,
    *,
    trials: int,
    prompts: Sequence[Prompt] = BASIC,
    unlike: float = 0.0,
    usual: bool = False,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> Coverage:
    """Measure ``trials`` times; with ``usual`` beside the usual length, which is as fast."""
    covered = faster = passes = decided = 0
    speedups = {0: 1.0, 5: truth} | ({2: truth} if usual else {})
    # The prediction promises a gain: what then calls it faster is the interval alone.
    promised = tuple(
        LengthResult(each, 0.8, 8, 10, 1.3 if each else 1.0, 1.3 if each else 1.0)
        for each in sorted(speedups)
    )
    for seed in range(trials):
        engine = MachineEngine(machine, speedups, prompts, seed, unlike)
        alone = [engine.answer(each, 0) for each in prompts]
        runs = confirm(engine, prompts, speedups, alone=alone, weights=weights, seconds=1e9)
        assert runs is not None
        chosen = best.decide(promised, runs)
        bounds = runs.interval(0, chosen.tried or 5)
        assert bounds is not None
        covered += bounds[0] <= engine.truth(0, 5) <= bounds[1]
        faster += chosen.draft_tokens > 0 and bounds[0] > 1
        passes += runs.passes
        decided += runs.ended == "decided"
    return Coverage(covered / trials, faster / trials, passes / trials, decided / trials)
