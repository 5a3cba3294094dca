"""An engine that answers in no time: costs, agreement and noise are set, and its clock is its own.

It walks through mlx-lm's rounds one by one, each step at the price of its place in the context, and
knows nothing of how specd predicts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from types import MappingProxyType

from specd.bench.costs import Costs, Steps
from specd.bench.engine import Timed
from specd.bench.predict import StudiedAnswer
from specd.bench.prompts import Prompt
from specd.bench.replay import replay
from specd.bench.result import EngineName
from specd.lmstudio import server
from specd.lmstudio.answers import Completion, DraftStats
from specd.lmstudio.server import Message

PROMPT_TOKENS = 30
LONG = 512


@dataclass(frozen=True)
class Setting:
    """``verifying(k)`` is a pass of the main over k tokens, in its plain steps; ``draft`` a guess.

    ``acceptance`` is how often a guess is right after a right one in the most predictable class;
    each further class has ``spread`` less. ``sticky`` is how much likelier right follows right.
    """

    verifying: Callable[[int], float]
    draft: float
    acceptance: float
    spread: float = 0.1
    sticky: float = 0.0
    step: float = 0.02
    growth: float = 0.0002
    noise: float = 0.03
    disturbed: float = 0.01


@dataclass
class SimulatedEngine:
    """A pair that behaves as ``setting`` says; ``truth`` asks without noise and without time.

    At a temperature a right guess is still right with the chance ``hot``.
    """

    setting: Setting
    prompts: Sequence[Prompt]
    seed: int = 0
    now: float = 0.0
    repeats: int = 2
    differs: bool = False
    rounds: bool = False
    hot: float = 1.0
    agrees: dict[str, list[bool]] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)  # noqa: S311 - for tests
        for number, prompt in enumerate(self.prompts):
            self.agrees[prompt.kind] = self._agreements(number, prompt.max_tokens)

    @property
    def name(self) -> EngineName:
        return "mlx"

    def clock(self) -> float:
        return self.now

    def truth(self, draft_tokens: int) -> float:
        """Tokens per second over all prompts, each a class of its own, every class alike."""
        per_token = [self.seconds(p, draft_tokens) / p.max_tokens for p in self.prompts]
        return len(per_token) / sum(per_token)

    def seconds(self, prompt: Prompt, draft_tokens: int) -> float:
        """One answer, round by round."""
        agrees, tokens = self._as_drawn(prompt), prompt.max_tokens
        taken = 10 * self.setting.step
        if draft_tokens == 0:
            return taken + sum(self._step(1, at) for at in range(tokens))
        taken *= 1 + self.setting.draft
        at, behind = 0, False
        while at < tokens:
            guesses = min(draft_tokens, tokens - at)
            taken += guesses * self._draft(at) + (behind and guesses > 0) * 0.5 * self._draft(at)
            taken += self._step(guesses + 1, at)
            right = 0
            while right < guesses and agrees[at + right]:
                right += 1
            behind = right == guesses
            at += right + 1
        return taken

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        self.asked.append((prompt.kind, draft_tokens))
        seconds = self._noisy(self.seconds(prompt, draft_tokens))
        said = (draft_tokens > 0 and self.differs, *range(prompt.max_tokens - 1))
        return Timed(said, prompt.max_tokens, self._spend(seconds))

    def _as_drawn(self, prompt: Prompt) -> list[bool]:
        agrees = self.agrees[prompt.kind]
        if not prompt.temperature:
            return agrees
        chance = random.Random(prompt.kind)  # noqa: S311 - for tests
        return [each and chance.random() < self.hot for each in agrees]

    def warm_up(self) -> None:
        self._spend(10 * self.setting.step)

    def fits(self, prompt: Prompt) -> bool:
        return prompt.context + prompt.max_tokens <= 1_000

    def study(self, prompt: Prompt, answer: Timed) -> StudiedAnswer:
        assert answer.tokens == prompt.max_tokens
        agrees = tuple(self._as_drawn(prompt)[: prompt.max_tokens])
        self._spend(20 * self.setting.step * (1 + self.setting.draft))
        return StudiedAnswer(prompt.kind, PROMPT_TOKENS, agrees, prompt.max_tokens)

    def same_but_for_rounding(self, prompt: Prompt, alone: Timed, drafted: Timed) -> bool:
        assert prompt.kind in self.agrees
        assert alone.output != drafted.output
        return self.rounds

    def costs(
        self,
        prompt: Prompt,
        *,
        verifying: Sequence[int],
        seconds: float,
        known: Costs | None = None,
    ) -> Costs:
        assert prompt.kind in self.agrees
        measured = len(verifying) + (0 if known else 6)
        self.repeats = max(2, min(9, round(seconds / (5 * self.setting.step * measured))))
        if known is None:
            return Costs(self._steps(PROMPT_TOKENS, verifying), self._steps(LONG, verifying))
        return Costs(*(self._also(each, verifying) for each in (known.short, known.long)))

    def _steps(self, context: int, verifying: Sequence[int]) -> Steps:
        at = context - PROMPT_TOKENS
        prefill = 10 * self.setting.step * context / PROMPT_TOKENS
        return Steps(
            context,
            plain=self._measure(self._step(1, at)),
            main=self._checks(at, verifying),
            draft=self._measure(self._draft(at)),
            catch_up=self._measure(0.5 * self._draft(at)),
            main_prefill=self._prefill(prefill),
            draft_prefill=self._prefill(prefill * self.setting.draft),
        )

    def _also(self, known: Steps, verifying: Sequence[int]) -> Steps:
        more = self._checks(known.context - PROMPT_TOKENS, verifying)
        return replace(known, main={**known.main, **more})

    def _checks(self, at: int, verifying: Sequence[int]) -> dict[int, float]:
        return {count: self._measure(self._step(count, at)) for count in verifying}

    def _measure(self, seconds: float) -> float:
        # One more for warming up, as the real engine takes.
        self._spend(seconds)
        return median([self._spend(self._noisy(seconds)) for _ in range(self.repeats)])

    def _prefill(self, seconds: float) -> float:
        # As the real engine does: long ones once.
        taken: list[float] = []
        while len(taken) < 3 and sum(taken) < 1.0:
            taken.append(self._spend(self._noisy(seconds)))
        return median(taken[1:] or taken)

    def _step(self, tokens: int, at: int) -> float:
        cost = 1.0 if tokens == 1 else self.setting.verifying(tokens)
        return self.setting.step * cost * (1 + self.setting.growth * at)

    def _draft(self, at: int) -> float:
        return self.setting.step * self.setting.draft * (1 + self.setting.growth * at)

    def _noisy(self, seconds: float) -> float:
        disturbed = self.chance.random() < self.setting.disturbed
        factor = self.chance.uniform(1.3, 3.0) if disturbed else 1.0
        return seconds * factor * self.chance.lognormvariate(0, self.setting.noise)

    def _spend(self, seconds: float) -> float:
        self.now += seconds
        return seconds

    def _agreements(self, number: int, tokens: int) -> list[bool]:
        share = max(0.0, self.setting.acceptance - number * self.setting.spread)
        agrees = [self.chance.random() < share]
        while len(agrees) < tokens:
            if self.chance.random() < self.setting.sticky:
                agrees.append(agrees[-1])
            else:
                agrees.append(self.chance.random() < share)
        return agrees


class SimulatedServer(server.Server):
    """LM Studio's server over a simulated pair; ``switching`` seconds pass when the draft changes.

    ``fixed`` is the length of the model's own config, where requests have no say.
    """

    def __init__(
        self, pair: SimulatedEngine, *, switching: float = 0.0, fixed: int | None = None
    ) -> None:
        super().__init__("http://simulated")
        self.pair = pair
        self.switching = switching
        self.fixed = fixed
        self.drafting = False
        self.asked: list[tuple[str, int]] = []
        self.texts: dict[bool, list[str]] = {True: [], False: []}
        self.ttls: set[int | None] = set()
        self.narrowed: list[tuple[float, dict[str, float]]] = []

    def models(self, timeout: float = 10.0) -> tuple[server.ServedModel, ...]:
        assert timeout > 0
        return ()

    def chat(
        self,
        model: str,
        messages: Sequence[Message],
        *,
        draft_model: str | None = None,
        num_draft_tokens: int | None = None,
        max_tokens: int = 256,
        temperature: float = 0.0,
        narrowed: Mapping[str, float] = MappingProxyType({}),
        ttl: int | None = None,
        stream: bool = False,
        timeout: float = 600.0,
    ) -> Completion:
        assert model
        assert timeout > 0
        self.ttls.add(ttl)
        self.narrowed.append((temperature, dict(narrowed)))
        length = (self.fixed or num_draft_tokens or 2) if draft_model else 0
        said = messages[0]["content"]
        prompt = next((p for p in self.pair.prompts if said.endswith(p.text)), None)
        kind = prompt.kind if prompt else self.pair.prompts[0].kind
        self.asked.append((prompt.kind if prompt else "", length))
        if prompt is not None and max_tokens == prompt.max_tokens:
            self.texts[length > 0].append(said)
        late = self.switching if self.drafting != (length > 0) else 0.0
        self.drafting = length > 0
        self.pair.now += late
        timed = self.pair.answer(
            Prompt(kind, "", max_tokens, stream=stream, temperature=temperature), length
        )
        counts = replay(self.pair.agrees[kind][:max_tokens], length, max_tokens)
        return Completion(
            str(timed.output),
            timed.tokens,
            PROMPT_TOKENS,
            timed.seconds + late,
            tokens_per_second=timed.tokens / timed.seconds,
            draft=DraftStats("draft", counts.drafted, counts.accepted) if length else None,
        )
