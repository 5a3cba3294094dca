"""Real answers from a server, timed with and without the draft: LM Studio's, or another's.

specd sends requests like any other program, and verifies in the answer's statistics whether the
draft ran and with which length; also that none ran without a request for it, because the model's
defaults may name one. LM Studio reports statistics and takes the length from the model's config.
Plain OpenAI servers such as ``mlx_lm.server`` report none and take ``num_draft_tokens`` from the
request; for them the time to the first token is measured on the stream.

If requests can set the length, several lengths are tried; the best is confirmed as with any other
engine. Servers load and unload models when the draft changes, so the first answer after each change
is not counted. Runs in the worker only.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from specd.bench import silence, tried
from specd.bench.confirm import Runs
from specd.bench.engine import Timed
from specd.bench.prompts import Prompt
from specd.bench.result import BenchRequest, BenchResult, EngineName
from specd.bench.silence import Circumstances
from specd.bench.tried import Repeated
from specd.bench.use import Probe
from specd.lmstudio.answers import Completion
from specd.lmstudio.chat_settings import ChatSettings
from specd.lmstudio.connection import DraftRefused, ServerError
from specd.lmstudio.server import Server

LENGTHS: Final = (2, 4, 1, 3, 6, 8)
"""Draft lengths tried, in this order, if requests can set the length."""

WAITING: Final = 1.5
WAITING_S: Final = 0.5
"""If an answer takes this much longer than the server's own time, it waited for another request."""

WARM_TEXT: Final = "Count from one to ten."
WARM_TOKENS: Final = 12
ANSWER_S: Final = 600.0

FREED_S: Final = 120
"""How long a model that was loaded only for the benchmark may stay in memory unused."""

DEFAULT_CONTEXT: Final = 4096
"""LM Studio's default context length in tokens."""

DEFAULT_LENGTH: Final = {"mlx": 2, "gguf": 16}
"""LM Studio's default draft length."""


class CannotMeasure(Exception):
    """The server makes a comparison impossible; the message says why and what to do."""


class DraftSilent(Exception):
    """The requested draft did not run. ``probe`` holds the counts and the likely causes."""

    def __init__(self, probe: Probe) -> None:
        super().__init__(probe.finding)
        self.probe = probe


@dataclass(frozen=True, slots=True)
class Named:
    """A model's name in specd and its name in requests to this server."""

    name: str
    served: str


@dataclass(frozen=True, slots=True)
class ServedPair:
    """A pair to measure. ``draft_tokens`` is the configured length, None for the default.

    ``ttl``: the server unloads the main after this many unused seconds; None for its default.
    ``settings``: those of chats with the main.
    """

    main: Named
    draft: Named
    known: Circumstances
    draft_tokens: int | None = None
    ttl: int | None = None
    settings: ChatSettings = ChatSettings()  # noqa: RUF009 - frozen


@dataclass(slots=True)
class ServerEngine:
    """A server, the request parameters, and what its answers have shown.

    ``has_statistics``: answers contain them. ``without``: the draft's name in a request without
    a draft. ``fixed``: the length in force if requests cannot change it. ``drafting``: the last
    request named a draft. ``waited``: how many answers waited for another program's request.
    """

    server: Server
    pair: ServedPair
    clock: Callable[[], float] = time.monotonic
    has_statistics: bool = False
    without: str | None = None
    fixed: int | None = None
    drafting: bool | None = None
    seconds: float = 0.0
    probe: list[Completion] = field(default_factory=list)
    waited: int = 0
    repeated: Repeated = field(default_factory=Repeated)

    name: ClassVar[EngineName] = "server"

    def fits(self, prompt: Prompt) -> bool:
        """Whether the loaded main's context holds about as many tokens; unknown: the default's."""
        known = [length for length, _ in _loaded_with(self) if length is not None]
        return prompt.context + prompt.max_tokens <= min(known, default=DEFAULT_CONTEXT)

    def ask(
        self,
        text: str,
        max_tokens: int,
        draft_tokens: int,
        *,
        stream: bool = False,
        temperature: float = 0.0,
    ) -> Completion:
        """One answer; ``draft_tokens`` 0 is without the draft."""
        answer = self.server.chat(
            self.pair.main.served,
            [{"role": "user", "content": text}],
            draft_model=self.pair.draft.served if draft_tokens else self.without,
            num_draft_tokens=draft_tokens or None,
            max_tokens=max_tokens,
            temperature=temperature,
            narrowed=self.pair.settings.narrowed if temperature else {},
            ttl=self.pair.ttl,
            stream=stream or not self.has_statistics,
            timeout=ANSWER_S,
        )
        self.seconds += answer.seconds
        self.drafting = draft_tokens > 0
        if draft_tokens:
            self.probe.append(answer)
        return answer

    def answer(self, prompt: Prompt, draft_tokens: int) -> Timed:
        """A whole answer; if the draft changes, one uncounted answer comes first.

        Raises:
            CannotMeasure: the answer is empty.
        """
        if self.drafting != (draft_tokens > 0):
            self.ask(WARM_TEXT, 1, draft_tokens)
        heard = self.ask(
            self.repeated.text(prompt, draft_tokens),
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
        self.waited += _waited(heard)
        return Timed(
            heard.text,
            heard.tokens,
            heard.seconds,
            from_draft=heard.draft.accepted if heard.draft else None,
            drafted=heard.draft.total if heard.draft else None,
            first_token_s=heard.time_to_first_token,
        )

    def in_force(self, answers: Sequence[Timed], requested: int) -> int:
        """The draft length of ``answers``; the server may have ignored the requested one."""
        found = self._in_force(answers, requested)
        if found != requested:
            self.repeated.count_as(requested, found)
        return found

    def _in_force(self, answers: Sequence[Timed], requested: int) -> int:
        if (self.pair.known.formats or ("mlx",))[0] == "gguf":
            # llama.cpp ends a draft early when it is unsure; the configured length is the maximum.
            self.fixed = self.pair.draft_tokens or DEFAULT_LENGTH["gguf"]
            return self.fixed
        counted = [each for each in answers if each.drafted is not None]
        if self.has_statistics and not counted:
            # The MLX engine counts only accepted tokens, and takes the length from the config.
            self.fixed = self.pair.draft_tokens or DEFAULT_LENGTH["mlx"]
            return self.fixed
        # Each round ends with one token of the main, so this counts the rounds, ±1 per answer.
        # A round drafts the whole length, or fewer tokens at the answer's limit.
        rounds = sum(each.tokens - (each.from_draft or 0) for each in counted)
        drafted = sum(each.drafted or 0 for each in counted)
        cut_short = len(counted) * (requested * (requested + 1) // 2)
        most = (rounds + len(counted)) * requested
        if not self.has_statistics or rounds * requested - cut_short <= drafted <= most:
            return requested
        self.fixed = max(1, round(drafted / max(1, rounds)))
        return self.fixed

    def seen(self, finding: str | None = None) -> Probe:
        """The counts over all answers with the draft."""
        counted = [answer.draft for answer in self.probe if answer.draft is not None]
        return Probe(
            self.pair.main.name,
            self.pair.draft.name,
            time.time(),
            len(self.probe),
            sum(each.accepted if each.total is None else each.total for each in counted),
            sum(each.accepted for each in counted),
            finding,
        )


def benchmark(
    server: Server,
    pair: ServedPair,
    request: BenchRequest,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[BenchResult, Probe]:
    """Measure a pair on a server: the result, and the draft's counts.

    ``clock`` returns seconds from an arbitrary start.

    Raises:
        DraftSilent: the draft did not run.
        CannotMeasure: the server cannot run with and without the draft on request.
        specd.lmstudio.connection.ServerError: the server does not answer, or answers wrongly.
    """
    begun = clock()
    engine = _acquainted(ServerEngine(server, pair, clock, has_statistics=True))
    before = _loaded_with(engine)
    configured = pair.draft_tokens
    result, runs = tried.measure(
        engine,
        replace(request, seconds=request.seconds - (clock() - begun)),
        pair.draft.name,
        tuple(dict.fromkeys((configured, *LENGTHS) if configured else LENGTHS)),
    )
    result = replace(
        result,
        model_seconds=engine.seconds,
        notes=(*_notes(engine, runs), *result.notes),
        broken=_broken(engine, before),
    )
    return result, engine.seen()


def _loaded_with(engine: ServerEngine) -> frozenset[tuple[int | None, int | None]]:
    """(context length, parallel requests) of the main's instances; empty if unknown."""
    try:
        models = engine.server.models()
    except ServerError:
        return frozenset()
    return frozenset(
        (each.context_length, each.parallel)
        for model in models
        if model.key == engine.pair.main.served
        for each in model.loaded_instances
    )


def _broken(
    engine: ServerEngine, before: frozenset[tuple[int | None, int | None]]
) -> tuple[str, ...]:
    """Sentences on why the result is invalid; an invalid result is stored but decides nothing."""
    found: list[str] = []
    if engine.waited:
        found.append(
            f"{engine.waited} answers had to wait: another program used the server meanwhile"
        )
    if _loaded_with(engine) != before:
        found.append("the main was loaded otherwise during the benchmark")
    return tuple(found)


def _acquainted(engine: ServerEngine) -> ServerEngine:
    """Load both models, and find out whether the server reports statistics and the draft runs."""
    pair = engine.pair
    first = engine.ask(WARM_TEXT, WARM_TOKENS, 0)
    engine.has_statistics = first.tokens_per_second is not None
    if _drafted(first):
        # The model's defaults name a draft; an empty name in the request turns it off.
        engine.without = ""
        if _drafted(engine.ask(WARM_TEXT, WARM_TOKENS, 0)):
            raise CannotMeasure(
                f"{engine.server.base_url} drafts for {pair.main.served} also when a request "
                "names no draft, so there is nothing to compare with; measure with --engine mlx"
            )
    length = pair.draft_tokens or DEFAULT_LENGTH.get((pair.known.formats or ("mlx",))[0], 2)
    try:
        answer = engine.ask(WARM_TEXT, WARM_TOKENS, length)
    except DraftRefused as error:
        if error.at_load_only:  # the draft may still run once it is loaded with the main
            raise CannotMeasure(
                f"{engine.server.base_url} takes a draft for {pair.main.served} only when it "
                "loads the model; specd measures GGUF pairs with a llama.cpp of its own "
                "(--engine auto)"
            ) from error
        raise DraftSilent(engine.seen(_finding(engine, str(error)))) from error
    if engine.has_statistics and not _drafted(answer):
        raise DraftSilent(
            engine.seen(_finding(engine, "the answer's statistics count no draft tokens"))
        )
    return engine


def _waited(heard: Completion) -> bool:
    """Whether an answer took far longer than its own figures: it waited for another request."""
    if heard.tokens_per_second is None or heard.time_to_first_token is None:
        return False
    own = heard.time_to_first_token + heard.tokens / heard.tokens_per_second
    return heard.seconds > WAITING * own + WAITING_S


def _finding(engine: ServerEngine, reason: str) -> str:
    likely = "; or ".join(silence.causes(engine.pair.known))
    names = f"{engine.pair.main.name} ← {engine.pair.draft.name}"
    return (
        f"{names}: the draft was asked for and did not run: {reason.rstrip('.')}. Likely: {likely}"
    )


def _drafted(answer: Completion) -> bool:
    return answer.draft is not None and bool(answer.draft.total or answer.draft.accepted)


def _notes(engine: ServerEngine, runs: Runs | None) -> tuple[str, ...]:
    notes: list[str] = []
    if runs is None:
        notes.append("there was no time left to measure the chosen length against none")
    elif unequal := runs.unequal():
        notes.append(f"answers with the draft that differ from the one without: {len(unequal)}")
        if not engine.has_statistics:
            notes.append(
                "mlx_lm.server keeps the prompts it answered, and goes on wrongly from one that it "
                "answered with a draft: start it with --prompt-cache-size 0"
            )
    if not engine.has_statistics:
        notes.append(
            "this server reports no statistics, so specd cannot see whether the draft ran, or "
            "whether one ran without a request"
        )
    if engine.fixed is not None:
        notes.append(
            f"this server takes no draft length with a request: measured with {engine.fixed}, "
            "as configured"
        )
    return tuple(notes)


def on_demand(server: Server) -> frozenset[str]:
    """The models that are not loaded, which LM Studio loads when a request names them.

    Empty if the server does not list loaded models: only LM Studio's own API does, and only it
    gives a model's format. Empty also if it does not answer, which each pair meets and reports.
    """
    with contextlib.suppress(ServerError):
        return frozenset(each.key for each in server.models() if each.format and not each.loaded)
    return frozenset()
